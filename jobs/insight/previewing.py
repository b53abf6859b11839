"""Fire times to come, by the rules that beat follows."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import datetime
from typing import Any

from jobs.engine.compiling import CompileError, Timing, compile_schedule, read_timing
from jobs.insight.formats import instant
from jobs.models import Schedule
from jobs.rules import zones
from jobs.rules.crontab import CronSpec
from jobs.rules.planning import FiringPolicy, Preview, preview
from jobs.rules.timing import OneShotSpec, TimingSpec


def timing_of(schedule: Schedule) -> Timing:
    """Return what `schedule` means now, edits that no beat has seen yet included.

    Raises `CompileError` for one that makes no sense.
    """
    if schedule.stale or schedule.spec is None:
        return read_timing(json.dumps(compile_schedule(schedule).spec))
    return read_timing(json.dumps(schedule.spec))


def upcoming(
    schedule: Schedule,
    *,
    after: datetime,
    limit: int,
    until: datetime | None = None,
    include_skipped: bool = False,
    cron: dict[str, Any] | None = None,
) -> list[Preview]:
    """Return how `schedule` will fire in `(after, until]`, as if it were not paused.

    `cron` replaces fields of a crontab, to see what a change would do. Raises `CompileError`, and
    `CronError` for a change that makes no sense.
    """
    timing = timing_of(schedule)
    spec = timing.spec
    if cron and isinstance(spec, CronSpec):
        spec = replace(spec, **cron)
    return preview(
        str(schedule.pk),
        spec,
        timing.policy,
        after=after,
        limit=limit,
        until=until,
        include_skipped=include_skipped,
        runs=_runs(schedule, spec),
    )


def firings(
    spec: TimingSpec,
    *,
    after: datetime,
    limit: int,
    until: datetime | None = None,
    include_skipped: bool = False,
) -> list[Preview]:
    """Return how a schedule with this timing and nothing else would fire. Needs no database."""
    return preview(
        "", spec, FiringPolicy(), after=after, limit=limit, until=until, include_skipped=include_skipped
    )


def next_run_at(schedule: Schedule) -> datetime | None:
    """Return when `schedule` is due next; None when it is paused, over, or cannot fire.

    What no beat has compiled yet is worked out as beat will: from the edit on, past all that is decided.
    """
    if not schedule.stale:
        # One that may not run has a time too: when a beat looks at it again.
        return None if schedule.problem else schedule.next_run_at
    if not schedule.periodic_task.enabled:
        return None
    if schedule.after_id and schedule.after_mode == schedule.AfterMode.TRIGGER:
        return None  # only the other one's end starts it
    try:
        found = upcoming(schedule, after=max(schedule.edited_at, schedule.decided_through), limit=1)
    except CompileError:
        return None
    return found[0].scheduled_for if found else None


def preview_document(item: Preview, *, tz: str | None = None) -> dict[str, Any]:
    """Return one firing as JSON; `tz` shows its local time in another zone than the schedule's."""
    local = item.local.astimezone(zones.load(tz)) if tz else item.local
    document = {
        "scheduled_for": instant(item.scheduled_for),
        "local": local.isoformat(),
        "runs_at": instant(item.runs_at),
        "note": item.note,
    }
    if item.skipped:
        document["skipped"] = item.skipped
    return document


def _runs(schedule: Schedule, spec: TimingSpec) -> int:
    # A one-shot whose time lies ahead has not run for that time, whatever it did before.
    return 0 if isinstance(spec, OneShotSpec) else schedule.runs
