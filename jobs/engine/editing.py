"""Making, changing and deleting schedules, and refusing what could never work.

The admin, the command line and everything to come use these checks, so that a schedule is refused with
the same sentence everywhere. Nothing is changed when something is refused.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from celery import current_app
from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction
from django_celery_beat.models import ClockedSchedule, CrontabSchedule, IntervalSchedule, PeriodicTask

from jobs.engine import auditing, depending, payload, permitting
from jobs.engine.clock import database_now
from jobs.engine.compiling import PERIODS, CompileError, compile_schedule
from jobs.models import Schedule
from jobs.rules import redaction, secret_references
from jobs.rules.crontab import CronError, CronSpec, parse_expression
from jobs.rules.dependencies import DependencyCycle
from jobs.rules.timing import CalendarIntervalSpec, next_after

POLICY_FIELDS = frozenset(
    {
        "overlap", "catch_up", "catchup_window", "max_catchup", "jitter", "day_match", "month_end", "dst_gap",
        "dst_fold", "cron_day_of_month", "cron_day_of_week", "calendar_every", "calendar_unit", "max_runs",
        "deadline", "on_complete", "max_attempts", "backoff_base", "backoff_factor", "backoff_cap", "timeout",
        "note", "pause_note", "paused_until", "calendar", "roll", "group", "concurrency_key", "after",
        "after_mode", "after_on", "after_within", "pause_after_failures", "manager",
        "once_wall", "once_tz",
    }
)  # fmt: skip


NO_CALENDAR_INTERVAL: dict[str, Any] = {"calendar_every": None, "calendar_unit": ""}

MOST_PERIODS = 2_147_483_647
"""What the column of an interval holds."""

NEVER = datetime(1970, 1, 1, tzinfo=UTC)
"""The time of a schedule that only another one's end starts: every row needs one, and this one is over."""


class EditError(ValueError):
    """A schedule that is refused; the message is one sentence that says why."""


class NameTakenError(EditError):
    """There is a schedule of that name already."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """A schedule as a person describes it.

    Exactly one of `cron`, `every`, `every_calendar` and `at` is given; none for one that only another
    schedule's end starts (`policy` has `after`). A calendar interval counts from `start_time`.
    """

    name: str
    task: str
    cron: CronSpec | None = None
    every: timedelta | None = None
    every_calendar: CalendarIntervalSpec | None = None
    at: datetime | None = None
    tz: str = "UTC"
    """The zone in which `at` was said."""
    queue: str | None = None
    priority: int | None = None
    args: list[Any] = field(default_factory=list)
    kwargs: dict[str, Any] = field(default_factory=dict)
    enabled: bool = True
    description: str = ""
    start_time: datetime | None = None
    end_time: datetime | None = None
    policy: Mapping[str, Any] = field(default_factory=dict)
    """Values for the columns in `POLICY_FIELDS`."""


def create(draft: Draft) -> Schedule:
    """Store a new schedule and return its policy row.

    Raises `EditError` with the reason; `NameTakenError` when the name is in use.
    """
    check_task(draft.task)
    given_back({"args": draft.args, "kwargs": draft.kwargs}, {})
    check_arguments(draft.task, draft.args, draft.kwargs)
    if draft.at is not None:
        check_future(draft.at)
    try:
        with transaction.atomic():
            timing_row = _timing_row(draft)
            row = PeriodicTask(
                name=draft.name,
                task=draft.task,
                queue=draft.queue,
                priority=draft.priority,
                args=json.dumps(draft.args),
                kwargs=json.dumps(draft.kwargs),
                enabled=draft.enabled,
                one_off="clocked" in timing_row,
                description=draft.description,
                start_time=draft.start_time,
                expires=draft.end_time,
                **timing_row,
            )
            if PeriodicTask.objects.filter(name=draft.name).exists():
                raise NameTakenError(f"There is a schedule named {draft.name!r} already.")
            row.save()
            timing = (
                calendar_policy(draft.every_calendar)
                or cron_policy(draft.cron)
                or once_policy(draft.at, draft.tz)
            )
            return set_policy(Schedule.objects.get(pk=row.pk), {**timing, **draft.policy})
    except (ValidationError, IntegrityError) as exc:
        raise EditError(sentence(exc)) from exc


def once_policy(at: datetime | None, tz: str) -> dict[str, Any]:
    """Return the policy columns that keep how a one-shot's instant was said (SEMANTICS 9)."""
    if at is None:
        return {}
    return {"once_wall": at.astimezone(ZoneInfo(tz)).replace(tzinfo=None).isoformat(), "once_tz": tz}


def set_policy(schedule: Schedule, values: Mapping[str, Any]) -> Schedule:
    """Change columns of the policy and see that the whole still makes sense.

    Raises `EditError`; the caller's transaction is then to be rolled back.
    """
    unknown = set(values) - POLICY_FIELDS
    if unknown:
        raise EditError(f"A schedule has no setting named {', '.join(sorted(unknown))}.")
    changes = {name: [getattr(schedule, name), value] for name, value in values.items()}
    for name, value in values.items():
        setattr(schedule, name, value)
    try:
        schedule.clean_fields(exclude=["periodic_task"])
    except ValidationError as exc:
        raise EditError(sentence(exc)) from exc
    Schedule.objects.filter(pk=schedule.pk).update(**values)
    check_compiles(schedule)
    changes = {name: pair for name, pair in changes.items() if pair[0] != pair[1]}
    if changes:
        auditing.record([schedule.periodic_task], "change policy", changes=changes)
    return schedule


def check_compiles(schedule: Schedule) -> None:
    """Raise `EditError` if this schedule could never fire, or would wait for itself."""
    try:
        compile_schedule(schedule)
        depending.check_acyclic(schedule, schedule.after)
    except (CompileError, DependencyCycle) as exc:
        raise EditError(str(exc)) from exc


def check_task(task: str) -> None:
    """Raise `EditError` if no such task is registered, or if nobody may schedule it."""
    objection = permitting.judge(task).objection
    if not objection:
        return
    if permitting.is_known(task):
        raise EditError(objection)
    known = permitting.offered()
    close = difflib.get_close_matches(task, known, n=1)
    hint = f" Did you mean {close[0]!r}?" if close else f" Known tasks: {', '.join(known)}."
    raise EditError(f"There is no task named {task!r}.{hint}")


def check_arguments(
    task: str, args: list[Any], kwargs: dict[str, Any], headers: Mapping[str, Any] | None = None
) -> None:
    """Raise `EditError` if `task` cannot be called with these arguments, or no job may carry them.

    What a task takes that only workers of other code have is known there.
    """
    if not isinstance(args, list):
        raise EditError("The positional arguments must be a JSON list.")
    if not isinstance(kwargs, dict):
        raise EditError("The keyword arguments must be a JSON object.")
    for problem in secret_references.problems([args, kwargs]):
        raise EditError(problem)
    try:
        payload.check_size(args, kwargs, headers or {})
        if permitting.is_known(task):
            current_app.tasks[task].__header__(*args, **kwargs)
    except payload.PayloadTooLarge as exc:
        raise EditError(str(exc)) from exc
    except TypeError as exc:
        reason = str(exc).split("()", 1)[-1].strip()
        raise EditError(f"The arguments do not fit the task {task!r}: {reason}.") from exc


def given_back(given: Mapping[str, Any], stored: Mapping[str, Any]) -> dict[str, Any]:
    """Return a payload with what is stored wherever it was shown masked, and so is given back masked.

    Raises `EditError` where nothing is stored.
    """
    try:
        return {key: redaction.restore(value, stored.get(key), key) for key, value in given.items()}
    except redaction.MaskedError as exc:
        raise EditError(str(exc)) from exc


def check_zone(name: str) -> None:
    """Raise `EditError` if `name` is not an IANA time zone."""
    try:
        ZoneInfo(name)
    except (KeyError, ValueError, OSError) as exc:
        raise EditError(
            f"There is no time zone named {name!r}; use an IANA name such as Europe/Berlin."
        ) from exc


def check_future(at: datetime) -> None:
    """Raise `EditError` if `at` has passed."""
    now = database_now()
    if at <= now:
        raise EditError(
            f"The time {at.isoformat()} has passed; it is {now.isoformat(timespec='seconds')} now."
        )


def parse_cron(text: str, *, tz: str, day_match: str | None = None, dst: str | None = None) -> CronSpec:
    """Return the crontab that `text` says.

    Raises `EditError` with the reason: an impossible field, a time that never comes, an unknown zone.
    """
    check_zone(tz)
    try:
        return parse_expression(text, tz=tz, day_match=day_match, dst=dst)
    except CronError as exc:
        raise EditError(str(exc)) from exc


def cron_policy(cron: CronSpec | None) -> dict[str, Any]:
    """Return the policy columns that complete a crontab row; none for no crontab."""
    if cron is None:
        return {}
    day, weekday = _row_fields(cron)
    return {
        "day_match": cron.day_match,
        "month_end": cron.month_end,
        "dst_gap": cron.gap,
        "dst_fold": cron.fold,
        "cron_day_of_month": "" if day == cron.day_of_month else cron.day_of_month,
        "cron_day_of_week": "" if weekday == cron.day_of_week else cron.day_of_week,
        **NO_CALENDAR_INTERVAL,
    }


def calendar_policy(spec: CalendarIntervalSpec | None) -> dict[str, Any]:
    """Return the columns of the policy that make a calendar interval; its zone is its stand-in's."""
    if spec is None:
        return {}
    return {
        "calendar_every": spec.every,
        "calendar_unit": spec.unit,
        "month_end": spec.month_end,
        "dst_gap": spec.gap,
        "dst_fold": spec.fold,
        "cron_day_of_month": "",
        "cron_day_of_week": "",
    }


def stand_in(spec: CalendarIntervalSpec) -> CrontabSchedule:
    """Return the crontab row that stands in for a calendar interval: its hour, daily, in its zone."""
    hour, minute = str(spec.anchor.hour), str(spec.anchor.minute)
    return crontab_row(CronSpec(minute=minute, hour=hour, tz=spec.tz))


def _row_fields(cron: CronSpec) -> tuple[str, str]:
    """Return what the crontab row can hold of the two day fields; `L`, `W` and `#` live in the policy."""
    day = "*" if any(mark in cron.day_of_month.upper() for mark in "LW") else cron.day_of_month
    weekday = "*" if any(mark in cron.day_of_week.upper() for mark in "L#") else cron.day_of_week
    return day, weekday


def _timing_row(draft: Draft) -> dict[str, Any]:
    times = ("cron", "every", "every_calendar", "at")
    given = [name for name in times if getattr(draft, name) is not None]
    if not given and draft.policy.get("after") and draft.policy.get("after_mode", "trigger") == "trigger":
        return {"clocked": ClockedSchedule.objects.get_or_create(clocked_time=NEVER)[0]}
    if len(given) != 1:
        raise EditError("Give exactly one time: a crontab, an interval, a calendar interval, or an instant.")
    if draft.every_calendar is not None:
        return {"crontab": stand_in(draft.every_calendar)}
    if draft.cron is not None:
        if next_after(draft.cron, database_now()) is None:
            raise EditError("This crontab never fires.")
        return {"crontab": crontab_row(draft.cron)}
    if draft.every is not None:
        return {"interval": interval_row(draft.every)}
    return {"clocked": ClockedSchedule.objects.get_or_create(clocked_time=draft.at)[0]}


def crontab_row(cron: CronSpec) -> CrontabSchedule:
    """Return the row of this crontab; duplicates are tolerated, as django-celery-beat allows them."""
    day, weekday = _row_fields(cron)
    values = {
        "minute": cron.minute,
        "hour": cron.hour,
        "day_of_month": day,
        "month_of_year": cron.month_of_year,
        "day_of_week": weekday,
        "timezone": cron.tz,
    }
    return CrontabSchedule.objects.filter(**values).first() or CrontabSchedule.objects.create(**values)


def interval_row(every: timedelta) -> IntervalSchedule:
    """Return the row of this interval, in the largest unit that holds it exactly.

    Raises `EditError` for an interval that is not positive.
    """
    micros = round(every.total_seconds() * 1e6)
    if micros <= 0:
        raise EditError("An interval must be longer than zero.")
    for period, seconds in PERIODS.items():
        unit = round(seconds * 1e6)
        if micros % unit == 0:
            values = {"every": micros // unit, "period": period}
            if micros // unit > MOST_PERIODS:
                raise EditError(
                    f"An interval of {every.total_seconds():g} s cannot be kept to the microsecond."
                )
            return IntervalSchedule.objects.filter(**values).first() or IntervalSchedule.objects.create(
                **values
            )
    raise EditError("An interval is a whole number of microseconds.")


def delete(schedule: Schedule) -> None:
    """Delete a schedule. Its history stays; jobs it has made run on."""
    schedule.periodic_task.delete()


def sentence(exc: Exception) -> str:
    """Return what Django says of bad values as one sentence."""
    if isinstance(exc, ValidationError):
        if hasattr(exc, "message_dict"):
            parts = [f"{name}: {' '.join(texts)}" for name, texts in exc.message_dict.items()]
            return "; ".join(part.removeprefix("__all__: ") for part in parts)
        return " ".join(exc.messages)
    return " ".join(str(exc).split())
