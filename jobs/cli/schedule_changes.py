"""From flags to the engine's verbs: a new schedule, or a change of what is named and nothing else.

Imported by the verbs that need it only: with the engine comes the broker's client, and `preview` starts fast.
"""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import datetime
from typing import Any

from django.db import transaction
from django_celery_beat.models import ClockedSchedule, PeriodicTask

from jobs.cli import calendar_intervals
from jobs.cli.failures import usage
from jobs.cli.instants import Instant
from jobs.cli.link_flags import NOTHING
from jobs.cli.schedule_flags import ScheduleFlags
from jobs.engine import editing, limiting, permitting, triggering
from jobs.engine.clock import database_now
from jobs.engine.compiling import CompileError
from jobs.engine.editing import Draft, EditError
from jobs.insight.previewing import timing_of
from jobs.models import Calendar, Limit, Schedule
from jobs.rules.crontab import DST_PRESETS, CronSpec, restricts_both_days
from jobs.rules.timing import CalendarIntervalSpec, OneShotSpec, TimingSpec, zone_name

NAME_LENGTH = 200
NEEDS_A_TIME = "A schedule needs a time: add --cron, --every, --every-calendar, --at or --in."


def create(name: str, flags: ScheduleFlags) -> list[str]:
    """Store a new schedule; return what a person should know. Raises `Failure` or `EditError`."""
    now = database_now()
    flags.check()
    _check_name(name)
    if flags.task is None:
        raise usage("A schedule needs a task: add --task NAME.")
    if not flags.has_timing and not _is_only_triggered(flags):
        raise usage(NEEDS_A_TIME)
    tz = flags.tz or "UTC"
    editing.check_zone(tz)
    at, bounds = flags.instant(now, tz), flags.bounds(tz)
    notes = [instant.note for instant in (at, *bounds.values()) if instant is not None and instant.note]
    _check_bounds(_at(bounds.get("start_time")), _at(bounds.get("expires")))
    end = _at(bounds.get("expires"))
    if end is not None and end <= now:
        raise usage(f"--end {flags.end} has passed: it would never fire.")
    row, payload = flags.row(), flags.payload()
    draft = Draft(
        name=name,
        task=flags.task,
        cron=None if flags.cron is None else _new_cron(flags, tz),
        every=flags.interval(),
        every_calendar=calendar_intervals.of_flags(flags, tz, _at(bounds.get("start_time"))),
        at=_at(at),
        tz=tz,
        start_time=_at(bounds.get("start_time")),
        end_time=end,
        policy={**flags.policy(), **_links(flags)},
        **row,
        **payload,
    )
    limit = flags.limit()
    with transaction.atomic():
        schedule = editing.create(draft)
        _set_limit(schedule, limit)
    return notes


def change(schedule: Schedule, flags: ScheduleFlags) -> list[str]:
    """Change what `flags` names of `schedule`; return what a person should know.

    All of it or nothing. Raises `Failure`, `EditError` or `NotPermittedError`.
    """
    now = database_now()
    flags.check()
    if flags == ScheduleFlags():
        raise usage("Nothing to change: name what is to be different, such as --cron or --queue.")
    with transaction.atomic():
        row = PeriodicTask.objects.select_for_update().get(pk=schedule.pk)
        columns, policy, notes = _new_times(schedule, flags, now)
        columns |= {**flags.row(), **_new_work(row, flags)}
        permitting.ensure_task(columns.get("task", row.task))
        _check_bounds(columns.get("start_time", row.start_time), columns.get("expires", row.expires))
        for name, value in columns.items():
            setattr(row, name, value)
        if columns:
            row.save(update_fields=[*columns, "date_changed"])
        fresh = Schedule.objects.get(pk=schedule.pk)
        values = {**policy, **flags.policy(), **_links(flags)}
        if values:
            editing.set_policy(fresh, values)
        else:
            editing.check_compiles(fresh)
        _set_limit(fresh, flags.limit())
    return notes


def _is_only_triggered(flags: ScheduleFlags) -> bool:
    """Whether it has no times of its own: another schedule's end starts it."""
    return flags.after not in (None, NOTHING) and flags.after_mode in (None, "trigger")


def _links(flags: ScheduleFlags) -> dict[str, Any]:
    """Return the calendar and the schedule before that are named, as rows. Raises `EditError`."""
    values: dict[str, Any] = {}
    if flags.calendar is not None:
        values["calendar"] = None
        if flags.calendar != NOTHING:
            values["calendar"] = Calendar.objects.filter(name=flags.calendar).first()
            if values["calendar"] is None:
                raise EditError(
                    f"There is no calendar named {flags.calendar!r}: see 'manage.py calendars list'."
                )
    if flags.after is not None:
        values["after"] = None
        if flags.after != NOTHING:
            values["after"] = Schedule.objects.filter(periodic_task__name=flags.after).first()
            if values["after"] is None:
                raise EditError(
                    f"--after: there is no schedule named {flags.after!r}: see 'manage.py schedules list'."
                )
    return values


def _set_limit(schedule: Schedule, named: dict[str, Any]) -> None:
    """Change what is named of the schedule's own limit; what is not named stays."""
    if not named:
        return
    name = f"schedule:{schedule.pk}"
    kept: dict[str, Any] = {}
    for limit in Limit.objects.filter(name=name):
        kept = {"max_active": limit.max_active, "max_per_second": limit.max_per_second}
    limiting.set_limit(name, **{**kept, **named})


def delete(schedule: Schedule) -> None:
    """Delete a schedule; its history stays."""
    editing.delete(schedule)


def run(schedule: Schedule, *, overlap: str) -> str:
    """Make a job of a schedule at once and return its id.

    Raises `OverlappingError`, `NotPermittedError` or `CompileError`.
    """
    return triggering.run_now(schedule, overlap=overlap)


def _new_work(row: PeriodicTask, flags: ScheduleFlags) -> dict[str, Any]:
    """Return the task and its arguments as columns, checked together with what stays."""
    payload = flags.payload()
    if flags.task is None and not payload:
        return {}
    task = flags.task or row.task
    stored = {"args": _stored(row.args, []), "kwargs": _stored(row.kwargs, {})}
    given = {**stored, **editing.given_back(payload, stored)}
    args, kwargs = given["args"], given["kwargs"]
    editing.check_task(task)
    editing.check_arguments(task, args, kwargs, _stored(row.headers, {}))
    return {"task": task, "args": json.dumps(args), "kwargs": json.dumps(kwargs)}


def _new_times(
    schedule: Schedule, flags: ScheduleFlags, now: datetime
) -> tuple[dict[str, Any], dict[str, Any], list[str]]:
    """Return the columns of the row and of the policy that say when, and notes."""
    old = _old_timing(schedule)
    tz = flags.tz or (zone_name(old) if old else "UTC")
    editing.check_zone(tz)
    bounds = flags.bounds(tz)
    columns: dict[str, Any] = {name: _at(value) for name, value in bounds.items()}
    notes = [value.note for value in bounds.values() if value is not None and value.note]
    policy: dict[str, Any] = {}
    if flags.has_timing:
        start = columns.get("start_time", schedule.periodic_task.start_time)
        timing, policy, note = _replacement(old, flags, now, tz, start)
        columns |= {"crontab": None, "interval": None, "clocked": None, "solar": None, **timing}
        notes += [note] if note else []
        if "clocked" in timing and _has_fired(schedule, old, now):
            columns["enabled"] = True
            notes.append(f"{schedule} has fired before: it is armed again.")
    elif isinstance(old, CalendarIntervalSpec) and (flags.tz or flags.month_end or flags.dst or bounds):
        changed, policy = calendar_intervals.changed(old, flags, columns.get("start_time"))
        columns |= changed
    elif flags.tz or flags.day_match or flags.month_end or flags.dst:
        if isinstance(old, CronSpec):
            cron = _changed_cron(old, flags)
            columns["crontab"], policy = editing.crontab_row(cron), editing.cron_policy(cron)
        elif flags.day_match or flags.month_end or flags.dst or not bounds:
            raise usage(
                "--tz, --day-match, --month-end and --dst are for a crontab, and this schedule has none."
            )
    return columns, policy, notes


def _replacement(
    old: TimingSpec | None, flags: ScheduleFlags, now: datetime, tz: str, start: datetime | None
) -> tuple[dict[str, Any], dict[str, Any], str]:
    """Return the row's columns for a new timing, the policy that belongs to it, and a note."""
    no_days = {"cron_day_of_month": "", "cron_day_of_week": "", **editing.NO_CALENDAR_INTERVAL}
    if flags.cron is not None:
        cron = _new_cron(flags, tz, old if isinstance(old, CronSpec) else None)
        return {"crontab": editing.crontab_row(cron), "one_off": False}, editing.cron_policy(cron), ""
    interval = flags.interval()
    if interval is not None:
        return {"interval": editing.interval_row(interval), "one_off": False}, no_days, ""
    repeated = calendar_intervals.of_flags(flags, tz, start)
    if repeated is not None:
        timing = {"crontab": editing.stand_in(repeated), "one_off": False}
        return timing, editing.calendar_policy(repeated), ""
    instant = flags.instant(now, tz)
    if instant is None:
        raise usage(NEEDS_A_TIME)
    editing.check_future(instant.at)
    clocked, _ = ClockedSchedule.objects.get_or_create(clocked_time=instant.at)
    said = editing.once_policy(instant.at, tz)
    return {"clocked": clocked, "one_off": True}, {**no_days, **said}, instant.note


def _new_cron(flags: ScheduleFlags, tz: str, old: CronSpec | None = None) -> CronSpec:
    """Return the crontab of --cron. Of an old one it keeps what is not named, a choice of `day_match` too."""
    day_match = flags.day_match
    if day_match is None and old and restricts_both_days(old.day_of_month, old.day_of_week):
        day_match = old.day_match
    cron = editing.parse_cron(flags.cron or "", tz=tz, day_match=day_match, dst=flags.dst)
    if old is not None and flags.dst is None:
        cron = replace(cron, gap=old.gap, fold=old.fold)
    month_end = flags.month_end or (old.month_end if old else "skip")
    return replace(cron, month_end=month_end)


def _changed_cron(old: CronSpec, flags: ScheduleFlags) -> CronSpec:
    gap, fold = DST_PRESETS[flags.dst] if flags.dst else (old.gap, old.fold)
    return replace(
        old,
        tz=flags.tz or old.tz,
        day_match=flags.day_match or old.day_match,
        month_end=flags.month_end or old.month_end,
        gap=gap,
        fold=fold,
    )


def _has_fired(schedule: Schedule, old: TimingSpec | None, now: datetime) -> bool:
    """Whether a one-shot is disabled because it is done, and not because somebody paused it."""
    return schedule.is_paused and schedule.runs > 0 and isinstance(old, OneShotSpec) and old.at <= now


def _old_timing(schedule: Schedule) -> TimingSpec | None:
    try:
        return timing_of(schedule).spec
    except CompileError:
        return None  # it is broken: that may be what the change is about


def _at(instant: Instant | None) -> datetime | None:
    return None if instant is None else instant.at


def _check_bounds(start: datetime | None, end: datetime | None) -> None:
    if start is not None and end is not None and end < start:
        raise EditError("--end is before --start: it would never fire.")


def _check_name(name: str) -> None:
    if not name.strip() or name != name.strip() or not name.isprintable():
        raise usage(
            "A schedule needs a name that is not blank, without spaces around it or control characters."
        )
    if len(name) > NAME_LENGTH:
        raise usage(f"The name has {len(name)} characters: {NAME_LENGTH} is the most.")


def _stored(text: str, empty: Any) -> Any:
    try:
        return json.loads(text) if text else empty
    except ValueError:
        return empty  # unreadable before; the check says so where it matters
