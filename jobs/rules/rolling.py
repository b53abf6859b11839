"""Business day conventions: moving a closed nominal to an open day (SEMANTICS 13)."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from functools import lru_cache

from jobs.rules import timing, zones
from jobs.rules.calendar_interval import resolve
from jobs.rules.calendars import Calendar, Roll
from jobs.rules.nominal import Nominal
from jobs.rules.timing import TimingSpec
from jobs.rules.zones import DAY

ROLL_REACH = 92
"""Days a nominal may be moved; a longer closure leaves it excluded."""

ROLLED = "rolled"

_SEARCH_DAYS = 4000
_TICK = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class Rolled:
    """The nominals of a schedule with the closed ones moved to a day open at the same wall time.

    The moved instant is the nominal: it has its own identity, so a roll onto another nominal is one
    run, and a roll to an earlier day does not fire before its nominal. Meant for schedules that
    fire a few times a day: every nominal of a day is visited.
    """

    spec: TimingSpec
    calendar: Calendar
    roll: Roll
    tz: str

    def next_after(self, after: datetime) -> Nominal | None:
        """Return the first nominal strictly after an instant."""
        day = first = _local_day(after, self.tz)
        for _ in range(_SEARCH_DAYS):
            for nominal in _nominals_of(self, day):
                if nominal.at > after:
                    return nominal
            day += 1
            if (day - first) % ROLL_REACH == 0:
                following = timing.next_after(self.spec, _midnight(day, self.tz) - _TICK)
                if following is None:
                    return None
                day = max(day, _local_day(following.at, self.tz) - ROLL_REACH + 1)
                first = day - 1
        return None

    def prev_before(self, before: datetime) -> Nominal | None:
        """Return the last nominal strictly before an instant."""
        day = first = _local_day(before, self.tz)
        for _ in range(_SEARCH_DAYS):
            for nominal in reversed(_nominals_of(self, day)):
                if nominal.at < before:
                    return nominal
            day -= 1
            if (first - day) % ROLL_REACH == 0:
                preceding = timing.prev_before(self.spec, _midnight(day + 1, self.tz))
                if preceding is None:
                    return None
                day = min(day, _local_day(preceding.at, self.tz) + ROLL_REACH - 1)
                first = day + 1
        return None

    def count(self, after: datetime, until: datetime) -> int:
        """Return how many nominals there are in ``(after, until]``."""
        days = range(_local_day(after, self.tz), _local_day(until, self.tz) + 1)
        return sum(after < nominal.at <= until for day in days for nominal in _nominals_of(self, day))


@lru_cache(maxsize=8192)
def _nominals_of(rolled: Rolled, day: int) -> tuple[Nominal, ...]:
    """Return the nominals of one local day (an ordinal), those moved onto it included."""
    found = {}
    for nominal in [*_moved_onto(rolled, day), *_raw(rolled, day)]:
        if rolled.calendar.is_open(nominal.at, rolled.tz):
            found[nominal.at] = nominal
    return tuple(found[at] for at in sorted(found))


def _moved_onto(rolled: Rolled, day: int) -> Iterator[Nominal]:
    """Yield what the closed days next to a day move onto it.

    A day that is open throughout stops every roll, so the walk ends there.
    """
    directions = {"next": (-1,), "previous": (1,), "modified_next": (-1, 1)}
    for direction in directions.get(rolled.roll, ()):
        for distance in range(1, ROLL_REACH + 1):
            source = day + direction * distance
            if rolled.calendar.opens_whole(date.fromordinal(source)):
                break
            for nominal in _raw(rolled, source):
                moved = _target(rolled, nominal)
                if moved is not None and _local_day(moved.at, rolled.tz) == day:
                    yield moved


def _target(rolled: Rolled, nominal: Nominal) -> Nominal | None:
    """Return where the convention moves a nominal; None if it is open or finds no open day."""
    if rolled.calendar.is_open(nominal.at, rolled.tz):
        return None
    wall = nominal.at.astimezone(zones.load(rolled.tz)).replace(tzinfo=None, fold=0)
    if rolled.roll == "previous":
        return _nearest_open(rolled, wall, -1)
    moved = _nearest_open(rolled, wall, 1)
    if rolled.roll == "modified_next" and (moved is None or _leaves_month(rolled, wall, moved)):
        return _nearest_open(rolled, wall, -1)
    return moved


def _leaves_month(rolled: Rolled, wall: datetime, moved: Nominal) -> bool:
    local = moved.at.astimezone(zones.load(rolled.tz))
    return (local.year, local.month) != (wall.year, wall.month)


def _nearest_open(rolled: Rolled, wall: datetime, direction: int) -> Nominal | None:
    for distance in range(1, ROLL_REACH + 1):
        moved = wall + timedelta(days=direction * distance)
        for nominal in resolve(moved, rolled.tz, "next_valid", "first"):
            if rolled.calendar.is_open(nominal.at, rolled.tz):
                return Nominal(nominal.at, ROLLED)
    return None


def _raw(rolled: Rolled, day: int) -> Iterator[Nominal]:
    start, end = _midnight(day, rolled.tz), _midnight(day + 1, rolled.tz)
    return timing.nominals(rolled.spec, start - _TICK, end - _TICK)


def _local_day(instant: datetime, tz: str) -> int:
    return instant.astimezone(zones.load(tz)).toordinal()


def _midnight(day: int, tz: str) -> datetime:
    """Return the first instant of a local day."""
    wall = (day - zones.EPOCH_ORDINAL) * DAY
    segment = zones.segment_at(tz, wall - DAY)
    while wall - segment.offset >= segment.end:
        segment = zones.segment_at(tz, segment.end)
    return zones.from_seconds(max(segment.start, wall - segment.offset))
