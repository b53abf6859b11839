"""What a person entered about *when*, and the django-celery-beat rows that hold it.

Rows are shared between schedules, so they are never edited in place: the row that says the same is found,
or made.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

from django_celery_beat.models import (
    ClockedSchedule,
    CrontabSchedule,
    IntervalSchedule,
    PeriodicTask,
    SolarSchedule,
)

from jobs.engine import editing
from jobs.engine.compiling import PERIODS
from jobs.rules.crontab import CronSpec, restricts_both_days

KINDS = (
    ("cron", "Crontab"),
    ("every", "Every so often"),
    ("once", "Once"),
    ("solar", "By the sun"),
)
UNITS = (("seconds", "seconds"), ("minutes", "minutes"), ("hours", "hours"), ("days", "days"))


@dataclass(frozen=True, slots=True)
class Solar:
    """An event of the sun at a place."""

    event: str
    latitude: Decimal
    longitude: Decimal


Entry = CronSpec | timedelta | datetime | Solar
"""A crontab, an interval, an instant, or the sun."""


def stored_rows(entry: Entry) -> dict[str, Any]:
    """Return values for the four timing columns of a `PeriodicTask`, with the row of `entry` in one."""
    rows: dict[str, Any] = dict.fromkeys(("crontab", "interval", "clocked", "solar"))
    match entry:
        case CronSpec():
            rows["crontab"] = editing.crontab_row(entry)
        case timedelta():
            rows["interval"] = editing.interval_row(entry)
        case datetime():
            found = ClockedSchedule.objects.filter(clocked_time=entry).first()
            rows["clocked"] = found or ClockedSchedule.objects.create(clocked_time=entry)
        case Solar(event=event, latitude=latitude, longitude=longitude):
            values = {"event": event, "latitude": latitude, "longitude": longitude}
            rows["solar"] = SolarSchedule.objects.filter(**values).first() or SolarSchedule.objects.create(
                **values
            )
    return rows


def unsaved_rows(entry: Entry) -> dict[str, Any]:
    """Return the same, with a row that is in no database: enough to compile and to preview."""
    rows: dict[str, Any] = dict.fromkeys(("crontab", "interval", "clocked", "solar"))
    match entry:
        case CronSpec():
            rows["crontab"] = CrontabSchedule(
                pk=-1,
                minute=entry.minute,
                hour=entry.hour,
                day_of_month=entry.day_of_month,
                month_of_year=entry.month_of_year,
                day_of_week=entry.day_of_week,
                timezone=entry.tz,
            )
        case timedelta():
            micros = round(entry.total_seconds() * 1_000_000)
            rows["interval"] = IntervalSchedule(pk=-1, every=micros, period="microseconds")
        case datetime():
            rows["clocked"] = ClockedSchedule(pk=-1, clocked_time=entry)
        case Solar(event=event, latitude=latitude, longitude=longitude):
            rows["solar"] = SolarSchedule(pk=-1, event=event, latitude=latitude, longitude=longitude)
    return rows


def cron_columns(spec: CronSpec, row: CrontabSchedule) -> dict[str, Any]:
    """Return what the policy has to hold of `spec` beside its crontab row."""
    day, weekday = spec.day_of_month, spec.day_of_week
    return {
        "day_match": spec.day_match,
        "month_end": spec.month_end,
        "dst_gap": spec.gap,
        "dst_fold": spec.fold,
        "cron_day_of_month": "" if row.day_of_month == day else day,
        "cron_day_of_week": "" if row.day_of_week == weekday else weekday,
    }


def instant(wall: datetime, tz: str) -> datetime:
    """Return the instant of a wall time in a zone; of two, the first.

    Raises ValueError for a wall time that a change of the clock leaves out.
    """
    moment = wall.replace(tzinfo=ZoneInfo(tz)).astimezone(UTC)
    if moment.astimezone(ZoneInfo(tz)).replace(tzinfo=None) != wall:
        raise ValueError(f"{wall:%Y-%m-%d %H:%M} does not exist in {tz}: the clocks are set forward then.")
    return moment


def wall(moment: datetime | None, tz: str) -> datetime | None:
    """Return an instant as a wall time in a zone, in whole seconds."""
    if moment is None:
        return None
    return moment.astimezone(ZoneInfo(tz)).replace(tzinfo=None, microsecond=0)


def initial(row: PeriodicTask, default_zone: str) -> dict[str, Any]:
    """Return the form's values for the timing of an existing schedule."""
    policy = row.policy
    values: dict[str, Any] = {"timezone": default_zone, "kind": "cron"}
    if row.crontab_id:
        cron = row.crontab
        day = policy.cron_day_of_month or cron.day_of_month
        weekday = policy.cron_day_of_week or cron.day_of_week
        fields = (cron.minute, cron.hour, day, cron.month_of_year, weekday)
        values["cron"] = " ".join("".join(field.split()) for field in fields)
        values["timezone"] = str(cron.timezone)
        values["day_match"] = policy.day_match if restricts_both_days(day, weekday) else ""
    elif row.interval_id:
        values |= _interval(row.interval)
    elif row.clocked_id:
        zone = policy.once_tz or default_zone
        values |= {"kind": "once", "timezone": zone, "at": wall(row.clocked.clocked_time, zone)}
    elif row.solar_id:
        sun = row.solar
        values |= {
            "kind": "solar",
            "solar_event": sun.event,
            "latitude": sun.latitude,
            "longitude": sun.longitude,
        }
    zone = values["timezone"]
    return values | {"starts": wall(row.start_time, zone), "ends": wall(row.expires, zone)}


def _interval(row: IntervalSchedule) -> dict[str, Any]:
    if row.period in dict(UNITS):
        return {"kind": "every", "every": row.every, "unit": row.period}
    return {"kind": "every", "every": row.every * PERIODS[row.period], "unit": "seconds"}
