"""The same wall time every N days, weeks, months or years (SEMANTICS 4, 8)."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal, get_args

from jobs.rules import zones
from jobs.rules.cron_days import month_length
from jobs.rules.crontab import Fold, Gap, MonthEnd, check_choice, check_zone
from jobs.rules.nominal import DST_FOLD, DST_GAP, Nominal
from jobs.rules.zones import UNCOMPENSATED_SHIFT

Unit = Literal["day", "week", "month", "year"]
MONTH_END = "month_end"

_LONGEST_WAIT = 100
"""Steps to try: a step that has no day (31st, 29 Feb with `skip`) or no hour is passed over."""


@dataclass(frozen=True, slots=True)
class CalendarIntervalSpec:
    """Every N calendar units from an anchor, at the anchor's wall time.

    ``anchor`` is a naive local datetime; occurrence n is ``anchor + n * every units``, never a
    step from the last fire: 31 Jan, 28 Feb, 31 Mar. Raises CronError.
    """

    every: int
    unit: Unit
    anchor: datetime
    tz: str = "UTC"
    month_end: MonthEnd = "clamp"
    gap: Gap = "next_valid"
    fold: Fold = "first"

    def __post_init__(self) -> None:
        check_choice("unit", self.unit, get_args(Unit))
        check_choice("month end", self.month_end, get_args(MonthEnd))
        check_choice("gap", self.gap, get_args(Gap))
        check_choice("fold", self.fold, get_args(Fold))
        check_zone(self.tz)
        if self.every < 1:
            raise ValueError(f"An interval of {self.every} {self.unit}s never fires: use 1 or up.")
        if self.anchor.tzinfo is not None:
            raise ValueError("The anchor of a calendar interval is a local time without a zone.")


def next_after(spec: CalendarIntervalSpec, after: datetime) -> Nominal | None:
    """Return the first occurrence strictly after an instant."""
    index = max(_index_near(spec, after) - 2, 0)
    for step in range(index, index + _LONGEST_WAIT):
        for nominal in of_step(spec, step):
            if nominal.at > after:
                return nominal
    return None


def previous_before(spec: CalendarIntervalSpec, before: datetime) -> Nominal | None:
    """Return the last occurrence strictly before an instant."""
    index = _index_near(spec, before) + 2
    for step in range(index, max(index - _LONGEST_WAIT, -1), -1):
        for nominal in reversed(list(of_step(spec, step))):
            if nominal.at < before:
                return nominal
    return None


def resolve(wall: datetime, tz: str, gap: Gap, fold: Fold) -> tuple[Nominal, ...]:
    """Return the instants of one fixed wall time: none, one, or two with ``fold="both"``.

    SEMANTICS 7. ``wall`` is naive.
    """
    zone = zones.load(tz)
    early = wall.replace(tzinfo=zone, fold=0)
    late = wall.replace(tzinfo=zone, fold=1)
    shift = _offset(late) - _offset(early)
    if not shift:
        return (Nominal(zones.to_instant(early)),)
    if shift > timedelta(0):
        return _in_gap(zones.to_instant(early), shift, tz, gap)
    both = (Nominal(zones.to_instant(early), DST_FOLD), Nominal(zones.to_instant(late), DST_FOLD))
    if fold == "both" or -shift.total_seconds() >= UNCOMPENSATED_SHIFT:
        return both
    return both[:1] if fold == "first" else both[1:]


def _in_gap(shifted: datetime, shift: timedelta, tz: str, gap: Gap) -> tuple[Nominal, ...]:
    """Return the occurrence of a wall time that does not exist; ``shifted`` is beyond the gap."""
    if gap == "skip" or shift.total_seconds() >= UNCOMPENSATED_SHIFT:
        return ()
    if gap == "shift":
        return (Nominal(shifted, DST_GAP),)
    segment = zones.segment_at(tz, zones.floor_seconds(shifted))
    return (Nominal(zones.from_seconds(segment.start), DST_GAP),)


def _offset(moment: datetime) -> timedelta:
    offset = moment.utcoffset()
    assert offset is not None
    return offset


def _index_near(spec: CalendarIntervalSpec, instant: datetime) -> int:
    """Return the step whose occurrence is near an instant, two steps exact."""
    local = instant.astimezone(zones.load(spec.tz)).replace(tzinfo=None)
    if spec.unit in ("day", "week"):
        return (local - spec.anchor).days // (spec.every * (7 if spec.unit == "week" else 1))
    months = (local.year - spec.anchor.year) * 12 + local.month - spec.anchor.month
    return months // (spec.every * (12 if spec.unit == "year" else 1))


def of_step(spec: CalendarIntervalSpec, step: int) -> Iterator[Nominal]:
    """Yield the instants of one step: none where its day or its hour does not exist."""
    wall = _wall(spec, step)
    if wall is None:
        return
    clamped = spec.unit in ("month", "year") and wall.day != spec.anchor.day
    for nominal in resolve(wall, spec.tz, spec.gap, spec.fold):
        yield Nominal(nominal.at, nominal.note or (MONTH_END if clamped else None))


def _wall(spec: CalendarIntervalSpec, step: int) -> datetime | None:
    count = step * spec.every
    if spec.unit in ("day", "week"):
        days = count * (7 if spec.unit == "week" else 1)
        if spec.anchor.toordinal() + days > zones.LAST_ORDINAL:
            return None
        return spec.anchor + timedelta(days=days)
    months = spec.anchor.month - 1 + count * (12 if spec.unit == "year" else 1)
    year, month = spec.anchor.year + months // 12, months % 12 + 1
    if year > zones.LAST_YEAR:
        return None
    last = month_length(year, month)
    if spec.anchor.day > last and spec.month_end == "skip":
        return None
    return spec.anchor.replace(year=year, month=month, day=min(spec.anchor.day, last))
