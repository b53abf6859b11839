"""From the rows people edit to the values the rules decide with.

A `PeriodicTask`, its crontab, interval, clocked or solar row and its policy are compiled into two plain
documents: `spec` (when: for `rules.planning`) and `template` (what: a job's fields at birth). They are
stored with the schedule, so that claiming reads one row.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any
from zoneinfo import ZoneInfo

from celery import current_app
from django.db.models import Q, QuerySet
from django_celery_beat.models import PeriodicTask

from jobs.models import Blackout, Schedule
from jobs.models.calendar import read_blackout, read_calendar
from jobs.rules.crontab import CronSpec
from jobs.rules.planning import FiringPolicy
from jobs.rules.timing import (
    CalendarIntervalSpec,
    IntervalSpec,
    OneShotSpec,
    SolarSpec,
    TimingSpec,
    next_after,
)

PERIODS = {"days": 86_400.0, "hours": 3_600.0, "minutes": 60.0, "seconds": 1.0, "microseconds": 1e-6}
EPOCH = datetime.fromisoformat("1970-01-01T00:00:00+00:00")


class CompileError(ValueError):
    """A schedule that cannot fire; the message says why in one sentence for a person."""


@dataclass(frozen=True, slots=True)
class Compiled:
    """A schedule ready to be decided about."""

    spec: dict[str, Any]
    template: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Timing:
    """The values `rules.planning.plan` takes, read back from a stored spec."""

    spec: TimingSpec
    policy: FiringPolicy
    overlap: str
    once: bool
    on_complete: str


def compile_schedule(schedule: Schedule) -> Compiled:
    """Return what `schedule` and its rows mean.

    Raises `CompileError` when they make no sense: no timing or several, an impossible crontab, arguments
    that are not a list and a mapping.
    """
    row = schedule.periodic_task
    timing = _timing(row, schedule)
    spec = {
        "timing": timing,
        "catch_up": schedule.catch_up,
        "catchup_window": schedule.catchup_window.total_seconds(),
        "max_catchup": schedule.max_catchup,
        "jitter": schedule.jitter.total_seconds(),
        "start": row.start_time.isoformat() if row.start_time else None,
        "end": row.expires.isoformat() if row.expires else None,
        "max_runs": 1 if row.one_off and not row.clocked_id else schedule.max_runs,
        "overlap": schedule.overlap,
        "once": bool(row.one_off or row.clocked_id),
        "on_complete": schedule.on_complete,
        "calendar": schedule.calendar.document() if schedule.calendar else None,
        "roll": schedule.roll,
        "blackouts": [blackout.document() for blackout in blackouts_of(schedule)],
    }
    try:
        next_after(read_timing(json.dumps(spec)).spec, EPOCH)
    except ValueError as exc:
        raise CompileError(str(exc)) from exc
    return Compiled(spec, _template(row, schedule))


def blackouts_of(schedule: Schedule) -> QuerySet[Blackout]:
    """Return the blackouts that apply to a schedule: its own, its group's, its queue's, and the general ones."""
    row = schedule.periodic_task
    mine = Q(schedule=None, group="", queue="")
    if schedule.pk is not None:  # a form compiles what it is about to save
        mine |= Q(schedule_id=schedule.pk)
    mine |= Q(schedule=None, queue=queue_for(row.task, row.queue))
    if schedule.group:
        mine |= Q(schedule=None, group=schedule.group)
    return Blackout.objects.filter(mine).order_by("name")


def _timing(row: PeriodicTask, schedule: Schedule) -> dict[str, Any]:
    given = [kind for kind in ("crontab", "interval", "clocked", "solar") if getattr(row, f"{kind}_id")]
    if len(given) != 1:
        raise CompileError(
            "It has no crontab, interval, clocked or solar time."
            if not given
            else f"It has more than one kind of time: {', '.join(given)}."
        )
    return _TIMINGS[given[0]](row, schedule)


def _cron(row: PeriodicTask, schedule: Schedule) -> dict[str, Any]:
    cron = row.crontab
    if schedule.calendar_every:
        return _calendar_interval(row, schedule)
    return {
        "kind": "cron",
        "minute": cron.minute,
        "hour": cron.hour,
        "day_of_month": schedule.cron_day_of_month or cron.day_of_month,
        "month_of_year": cron.month_of_year,
        "day_of_week": schedule.cron_day_of_week or cron.day_of_week,
        "tz": str(cron.timezone),
        "day_match": schedule.day_match,
        "month_end": schedule.month_end,
        "gap": schedule.dst_gap,
        "fold": schedule.dst_fold,
    }


def _calendar_interval(row: PeriodicTask, schedule: Schedule) -> dict[str, Any]:
    """The crontab row only stands in, and names the zone: every django-celery-beat row has a time."""
    if row.start_time is None:
        raise CompileError("A calendar interval counts from its start time, and it has none.")
    tz = str(row.crontab.timezone)
    return {
        "kind": "calendar_interval",
        "every": schedule.calendar_every,
        "unit": schedule.calendar_unit,
        "anchor": row.start_time.astimezone(ZoneInfo(tz)).replace(tzinfo=None).isoformat(),
        "tz": tz,
        "month_end": schedule.month_end,
        "gap": schedule.dst_gap,
        "fold": schedule.dst_fold,
    }


def _interval(row: PeriodicTask, schedule: Schedule) -> dict[str, Any]:
    seconds = row.interval.every * PERIODS[row.interval.period]
    if seconds <= 0:
        raise CompileError("Its interval is zero.")
    # Whole seconds, for people who read the times; the first one is still a whole interval after creation.
    anchor = row.start_time or schedule.anchor.replace(microsecond=0)
    return {"kind": "interval", "every": seconds, "anchor": anchor.isoformat()}


def _clocked(row: PeriodicTask, schedule: Schedule) -> dict[str, Any]:
    return {"kind": "once", "at": row.clocked.clocked_time.isoformat()}


def _solar(row: PeriodicTask, schedule: Schedule) -> dict[str, Any]:
    solar = row.solar
    return {
        "kind": "solar",
        "event": solar.event,
        "latitude": float(solar.latitude),
        "longitude": float(solar.longitude),
    }


_TIMINGS = {"crontab": _cron, "interval": _interval, "clocked": _clocked, "solar": _solar}


def _template(row: PeriodicTask, schedule: Schedule) -> dict[str, Any]:
    args, kwargs, headers = (
        _json(row.args, "args", list),
        _json(row.kwargs, "kwargs", dict),
        _json(row.headers, "headers", dict),
    )
    deadline = schedule.deadline.total_seconds() if schedule.deadline else row.expire_seconds
    backoff = {
        name: value.total_seconds() if isinstance(value, timedelta) else value
        for name, value in (
            ("base", schedule.backoff_base),
            ("factor", schedule.backoff_factor),
            ("cap", schedule.backoff_cap),
        )
        if value is not None
    }
    return {
        "name": row.name,
        "gate": bool(schedule.after_id and schedule.after_mode == schedule.AfterMode.GATE),
        "concurrency_key": schedule.concurrency_key,
        "task": row.task,
        "queue": queue_for(row.task, row.queue),
        "args": args,
        "kwargs": kwargs,
        "headers": headers,
        "priority": row.priority,
        "deadline": deadline,
        "max_attempts": schedule.max_attempts,
        "backoff": backoff or None,
        "timeout": schedule.timeout.total_seconds() if schedule.timeout else None,
    }


def _json(text: str, what: str, kind: type) -> Any:
    try:
        value = json.loads(text or ("[]" if kind is list else "{}"))
    except ValueError as exc:
        raise CompileError(f"Its {what} are not valid JSON: {exc}.") from exc
    if not isinstance(value, kind):
        raise CompileError(f"Its {what} must be a JSON {'list' if kind is list else 'object'}.")
    return value


def queue_for(task: str, queue: str | None = None) -> str:
    """Return the queue a job of `task` goes to: the one asked for, else where Celery's routes send it."""
    if queue:
        return queue
    app = current_app
    known = app.tasks.get(task)
    if known is not None and getattr(known, "queue", None):
        return str(known.queue)
    route = app.amqp.router.route({}, task)
    target = route.get("queue")
    return str(getattr(target, "name", target) or app.conf.task_default_queue)


@lru_cache(maxsize=2_000)
def read_timing(document: str) -> Timing:
    """Return the values in a stored `spec` document. Cached: schedules change rarely."""
    raw = json.loads(document)
    seconds = timedelta
    return Timing(
        spec=_spec(raw["timing"]),
        policy=FiringPolicy(
            catch_up=raw["catch_up"],
            catchup_window=seconds(seconds=raw["catchup_window"]),
            max_catchup=raw["max_catchup"],
            start=_when(raw["start"]),
            end=_when(raw["end"]),
            max_runs=raw["max_runs"],
            jitter=seconds(seconds=raw["jitter"]),
            calendar=read_calendar(raw["calendar"]) if raw["calendar"] else None,
            roll=raw["roll"],
            blackouts=tuple(read_blackout(one) for one in raw["blackouts"]),
        ),
        overlap=raw["overlap"],
        once=raw["once"],
        on_complete=raw["on_complete"],
    )


def _when(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None


def _spec(raw: dict[str, Any]) -> TimingSpec:
    match raw:
        case {"kind": "cron", **fields}:
            return CronSpec(**fields)
        case {"kind": "calendar_interval", "anchor": anchor, **fields}:
            return CalendarIntervalSpec(anchor=datetime.fromisoformat(anchor), **fields)
        case {"kind": "interval", "every": every, "anchor": anchor}:
            return IntervalSpec(every=timedelta(seconds=every), anchor=datetime.fromisoformat(anchor))
        case {"kind": "once", "at": at}:
            return OneShotSpec(at=datetime.fromisoformat(at))
        case {"kind": "solar", "event": event, "latitude": latitude, "longitude": longitude}:
            return SolarSpec(event=event, latitude=latitude, longitude=longitude)
    raise CompileError(f"Its stored timing is of an unknown kind: {raw.get('kind')}.")
