"""When a schedule fires: one question for every kind of schedule (SEMANTICS 1-10).

All instants returned are aware and in UTC. Searches are bounded: None means "never again".
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import islice

from jobs.rules import calendar_interval, cron_search, solar, zones
from jobs.rules.calendar_interval import CalendarIntervalSpec
from jobs.rules.crontab import CronSpec
from jobs.rules.nominal import DST_FOLD, DST_GAP, Nominal
from jobs.rules.solar import SOLAR_EVENTS, SolarSpec

__all__ = [
    "DST_FOLD",
    "DST_GAP",
    "SOLAR_EVENTS",
    "CalendarIntervalSpec",
    "CronSpec",
    "IntervalSpec",
    "Nominal",
    "OneShotSpec",
    "SolarSpec",
    "TimingSpec",
    "count_between",
    "next_after",
    "nominals",
    "prev_before",
    "zone_name",
]


@dataclass(frozen=True, slots=True)
class IntervalSpec:
    """Every so much elapsed time, on the grid ``anchor + phase + n * every`` (SEMANTICS 8).

    Raises ValueError for an interval that is not positive, a negative phase, a naive anchor.
    """

    every: timedelta
    anchor: datetime
    phase: timedelta = timedelta(0)

    def __post_init__(self) -> None:
        if self.every <= timedelta(0):
            raise ValueError(f"An interval of {self.every} never fires: it must be above zero.")
        if self.phase < timedelta(0):
            raise ValueError(f"The phase {self.phase} of an interval must not be negative.")
        object.__setattr__(self, "anchor", zones.to_instant(self.anchor))


@dataclass(frozen=True, slots=True)
class OneShotSpec:
    """Once, at an instant (SEMANTICS 9). Raises ValueError for a naive datetime."""

    at: datetime

    def __post_init__(self) -> None:
        object.__setattr__(self, "at", zones.to_instant(self.at))


TimingSpec = CronSpec | IntervalSpec | OneShotSpec | SolarSpec | CalendarIntervalSpec

_TICK = timedelta(microseconds=1)
_END = datetime(zones.LAST_YEAR, 12, 31, tzinfo=UTC)


def next_after(spec: TimingSpec, after: datetime) -> Nominal | None:
    """Return the first nominal strictly after an aware instant; None: never again."""
    if after >= _END:
        return None
    match spec:
        case CronSpec():
            return _nominal(cron_search.next_hit(spec, zones.floor_seconds(after) + 1))
        case IntervalSpec():
            first = spec.anchor + spec.phase
            if after < first:
                return Nominal(first)
            return _on_grid(spec, (after - first) // spec.every + 1)
        case OneShotSpec():
            return Nominal(spec.at) if spec.at > after else None
        case SolarSpec():
            return solar.next_after(spec, after)
        case CalendarIntervalSpec():
            return calendar_interval.next_after(spec, after)


def prev_before(spec: TimingSpec, before: datetime) -> Nominal | None:
    """Return the last nominal strictly before an aware instant; None: there was none."""
    match spec:
        case CronSpec():
            latest = zones.floor_seconds(before - _TICK)
            return _nominal(cron_search.previous_hit(spec, latest))
        case IntervalSpec():
            index = (before - _TICK - spec.anchor - spec.phase) // spec.every
            return _on_grid(spec, index) if index >= 0 else None
        case OneShotSpec():
            return Nominal(spec.at) if spec.at < before else None
        case SolarSpec():
            return solar.previous_before(spec, before)
        case CalendarIntervalSpec():
            return calendar_interval.previous_before(spec, before)


def count_between(spec: TimingSpec, after: datetime, until: datetime) -> int:
    """Return how many nominals there are in ``(after, until]``.

    Arithmetic for intervals and cron schedules; the others fire a few times a day at most.
    """
    match spec:
        case CronSpec():
            start, end = zones.floor_seconds(after) + 1, zones.floor_seconds(until) + 1
            return cron_search.count_hits(spec, start, end)
        case IntervalSpec():
            first = spec.anchor + spec.phase
            before = max((after - first) // spec.every + 1, 0)
            return max((until - first) // spec.every + 1 - before, 0)
        case _:
            return sum(1 for _ in nominals(spec, after, until))


def nominals(
    spec: TimingSpec, after: datetime, until: datetime | None = None, limit: int | None = None
) -> Iterator[Nominal]:
    """Yield the nominals of ``(after, until]`` in order, at most ``limit`` of them."""
    return islice(_nominals(spec, after, until), limit)


def zone_name(spec: TimingSpec) -> str:
    """Return the zone a schedule is written in; UTC where it has none."""
    match spec:
        case CronSpec() | CalendarIntervalSpec():
            return spec.tz
        case _:
            return "UTC"


def _nominals(spec: TimingSpec, after: datetime, until: datetime | None) -> Iterator[Nominal]:
    found = next_after(spec, after)
    while found is not None and (until is None or found.at <= until):
        yield found
        found = next_after(spec, found.at)


def _nominal(hit: cron_search.Hit | None) -> Nominal | None:
    return None if hit is None else Nominal(zones.from_seconds(hit.at), hit.note)


def _on_grid(spec: IntervalSpec, index: int) -> Nominal | None:
    try:
        return Nominal(spec.anchor + spec.phase + index * spec.every)
    except OverflowError:
        return None
