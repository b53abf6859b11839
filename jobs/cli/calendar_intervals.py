"""`--every-calendar`: from flags to "the same wall time every N days, weeks, months or years"."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import Any

from jobs.cli.failures import usage
from jobs.cli.schedule_flags import ScheduleFlags
from jobs.engine import editing
from jobs.engine.editing import EditError
from jobs.rules import calendar_interval, zones
from jobs.rules.crontab import DST_PRESETS
from jobs.rules.timing import CalendarIntervalSpec


def of_flags(flags: ScheduleFlags, tz: str, start: datetime | None) -> CalendarIntervalSpec | None:
    """Return the calendar interval of --every-calendar from `start`; None if it is not given.

    Raises `Failure` (usage) when there is nothing to count from.
    """
    given = flags.calendar_interval()
    if given is None:
        return None
    if start is None:
        raise usage("--every-calendar counts from --start: add --start 2027-01-31T09:00.")
    every, unit = given
    gap, fold = DST_PRESETS[flags.dst or "debian"]
    return CalendarIntervalSpec(
        every=every,
        unit=unit,
        anchor=start.astimezone(zones.load(tz)).replace(tzinfo=None),
        tz=tz,
        month_end=flags.month_end or "clamp",
        gap=gap,
        fold=fold,
    )


def changed(
    old: CalendarIntervalSpec, flags: ScheduleFlags, start: datetime | None
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the columns of the row and of the policy for what --tz, --month-end and --dst change.

    A change of the zone alone keeps the wall time, so it moves the start.
    """
    if flags.day_match:
        raise usage("--day-match is for a crontab, and this schedule has none.")
    tz = flags.tz or old.tz
    gap, fold = DST_PRESETS[flags.dst] if flags.dst else (old.gap, old.fold)
    anchor = old.anchor if start is None else start.astimezone(zones.load(tz)).replace(tzinfo=None)
    month_end = flags.month_end or old.month_end
    new = replace(old, tz=tz, gap=gap, fold=fold, anchor=anchor, month_end=month_end)
    columns: dict[str, Any] = {"crontab": editing.stand_in(new)}
    if start is None and flags.tz:
        found = calendar_interval.resolve(anchor, tz, "next_valid", "first")
        if not found:
            raise EditError(f"The start {anchor.isoformat()} does not exist in {tz}: add --start.")
        columns["start_time"] = found[0].at
    return columns, editing.calendar_policy(new)
