"""Calendars and blackouts as JSON-ready dictionaries."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

from jobs.models import Blackout, Calendar, Schedule

Document = dict[str, Any]


def calendar_documents() -> list[Document]:
    """Return every calendar, in two queries."""
    users: dict[int, list[str]] = defaultdict(list)
    used = Schedule.objects.filter(calendar__isnull=False).order_by("periodic_task__name")
    for calendar_id, name in used.values_list("calendar_id", "periodic_task__name"):
        users[calendar_id].append(name)
    return [_calendar(row, users[row.pk]) for row in Calendar.objects.order_by("name")]


def calendar_document(calendar: Calendar) -> Document:
    """Return one calendar with the names of the schedules that use it."""
    used = Schedule.objects.filter(calendar=calendar).order_by("periodic_task__name")
    return _calendar(calendar, list(used.values_list("periodic_task__name", flat=True)))


def _calendar(calendar: Calendar, schedules: list[str]) -> Document:
    return {
        "name": calendar.name,
        "version": calendar.version,
        "tz": calendar.tz or None,
        "exclude_dates": calendar.exclude_dates,
        "include_dates": calendar.include_dates,
        "open": calendar.include_windows,
        "closed": calendar.exclude_windows,
        "note": calendar.note or None,
        "schedules": schedules,
    }


def blackout_document(blackout: Blackout) -> Document:
    """Return one blackout, and what it is for; nothing named there means everything."""
    return {
        "name": blackout.name,
        "mode": blackout.mode,
        "tz": blackout.tz or None,
        "windows": blackout.windows,
        "spans": blackout.spans,
        "enforced": blackout.enforced,
        "schedule": str(blackout.schedule) if blackout.schedule else None,
        "group": blackout.group or None,
        "queue": blackout.queue or None,
    }
