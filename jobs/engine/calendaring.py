"""Making, changing and deleting calendars and blackouts (SEMANTICS 13, 14), and refusing what makes no sense."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.db import IntegrityError, transaction

from jobs.engine.editing import EditError, NameTakenError
from jobs.models import Blackout, Calendar, Schedule
from jobs.models.calendar import read_blackout, read_calendar

NAME_LENGTH = 100


class InUseError(EditError):
    """A calendar that schedules still use."""


class UnknownError(EditError):
    """There is no calendar, or no blackout, of that name."""


def create_calendar(name: str, values: Mapping[str, Any]) -> Calendar:
    """Store a new calendar. Raises `EditError`, also for one that leaves no time open."""
    _check_name(name)
    return _save_calendar(Calendar(name=name, **values))


def change_calendar(name: str, values: Mapping[str, Any]) -> Calendar:
    """Change what is named of a calendar; its schedules follow from now on. Raises `EditError`."""
    with transaction.atomic():
        calendar = Calendar.objects.select_for_update().filter(name=name).first()
        if calendar is None:
            raise _unknown("calendar", name)
        for field, value in values.items():
            setattr(calendar, field, value)
        return _save_calendar(calendar)


def delete_calendar(name: str) -> None:
    """Delete a calendar. Raises `InUseError` naming the schedules that use it."""
    with transaction.atomic():
        calendar = Calendar.objects.select_for_update().filter(name=name).first()
        if calendar is None:
            raise _unknown("calendar", name)
        users = users_of(calendar)
        if users:
            raise InUseError(
                f"The calendar {name!r} is used by {', '.join(users)}: "
                "take it from them first, 'manage.py schedules update NAME --calendar none'."
            )
        calendar.delete()


def users_of(calendar: Calendar) -> list[str]:
    """Return the names of the schedules that use a calendar."""
    used = Schedule.objects.filter(calendar=calendar).order_by("periodic_task__name")
    return list(used.values_list("periodic_task__name", flat=True))


def create_blackout(name: str, values: Mapping[str, Any]) -> Blackout:
    """Store a new blackout. Raises `EditError`, also for one that covers all time."""
    _check_name(name)
    blackout = Blackout(name=name, **values)
    if not blackout.windows and not blackout.spans:
        raise EditError("A blackout needs a time: weekly windows, or a span from one time to another.")
    try:
        read_blackout(blackout.document())
        with transaction.atomic():
            blackout.save(force_insert=True)
    except IntegrityError as exc:
        raise NameTakenError(f"There is a blackout named {name!r} already.") from exc
    except ValueError as exc:
        raise EditError(str(exc)) from exc
    return blackout


def delete_blackout(name: str) -> None:
    """Delete a blackout. Raises `UnknownError`."""
    if not Blackout.objects.filter(name=name).delete()[0]:
        raise _unknown("blackout", name)


def _save_calendar(calendar: Calendar) -> Calendar:
    try:
        read_calendar(calendar.document())
        with transaction.atomic():
            calendar.save()
    except IntegrityError as exc:
        raise NameTakenError(f"There is a calendar named {calendar.name!r} already.") from exc
    except ValueError as exc:
        raise EditError(str(exc)) from exc
    return calendar


def _check_name(name: str) -> None:
    if not name.strip() or name != name.strip() or not name.isprintable() or len(name) > NAME_LENGTH:
        raise EditError(f"A name has 1 to {NAME_LENGTH} characters, without spaces around it.")


def _unknown(what: str, name: str) -> UnknownError:
    return UnknownError(f"There is no {what} named {name!r}: see 'manage.py {what}s list'.")
