"""Searching a cron schedule: next, previous, count (SEMANTICS 2-7).

Walls (local clock readings in seconds) are searched on the calendar alone; segments of constant
UTC offset (`zones`) turn them into instants and are the only place where daylight saving time
is decided. A search is bounded: the rarest schedule, the 29th of February on one weekday, fires
at least every 40 years.
"""

from bisect import bisect_left, bisect_right
from dataclasses import dataclass
from datetime import date
from functools import lru_cache

from jobs.rules.cron_days import SHORTEST, DayTable, month_length
from jobs.rules.cron_fields import HOUR, MINUTE, MONTH_OF_YEAR, expand
from jobs.rules.crontab import CronSpec
from jobs.rules.nominal import DST_FOLD, DST_GAP
from jobs.rules.zones import (
    DAY,
    EPOCH_ORDINAL,
    LAST_INSTANT,
    LAST_YEAR,
    UNCOMPENSATED_SHIFT,
    Segment,
    segment_at,
)

SEARCH_YEARS = 41
"""29 February falls on a given weekday every 28 years, every 40 across a year such as 2100."""

# Wide enough for any difference between two offsets of one zone (Apia crossed the date line).
_MARGIN = 2 * DAY


@dataclass(frozen=True, slots=True)
class Hit:
    """A found occurrence: its instant in seconds and its note."""

    at: int
    note: str | None = None


@dataclass(frozen=True, slots=True)
class Matcher:
    """A CronSpec made ready to search: minutes of the day, months, days, and DST behaviour.

    ``times`` are seconds after local midnight, ascending.
    """

    times: tuple[int, ...]
    months: tuple[int, ...]
    days: DayTable
    tz: str
    wildcard: bool
    gap: str
    fold: str

    # -- walls: the calendar alone ------------------------------------------------------------

    def next_wall(self, wall: int) -> int | None:
        """Return the first matching wall at or after this one."""
        day, second = divmod(wall, DAY)
        ordinal = day + EPOCH_ORDINAL
        if second <= self.times[-1]:
            found = self._day_from(ordinal)
            if found == ordinal:
                return day * DAY + self.times[bisect_left(self.times, second)]
        else:
            found = self._day_from(ordinal + 1)
        return None if found is None else (found - EPOCH_ORDINAL) * DAY + self.times[0]

    def previous_wall(self, wall: int) -> int | None:
        """Return the last matching wall at or before this one."""
        day, second = divmod(wall, DAY)
        ordinal = day + EPOCH_ORDINAL
        if second >= self.times[0]:
            found = self._day_to(ordinal)
            if found == ordinal:
                return day * DAY + self.times[bisect_right(self.times, second) - 1]
        else:
            found = self._day_to(ordinal - 1)
        return None if found is None else (found - EPOCH_ORDINAL) * DAY + self.times[-1]

    def count_walls(self, start: int, end: int) -> int:
        """Return how many matching walls there are in ``[start, end)``, without visiting them."""
        if end <= start:
            return 0
        first_day, first_second = divmod(start, DAY)
        last_day, last_second = divmod(end, DAY)
        whole = self._count_days(first_day + EPOCH_ORDINAL, last_day + EPOCH_ORDINAL)
        count = whole * len(self.times)
        if self._matches_day(first_day + EPOCH_ORDINAL):
            count -= bisect_left(self.times, first_second)
        if self._matches_day(last_day + EPOCH_ORDINAL):
            count += bisect_left(self.times, last_second)
        return count

    def _matches_day(self, ordinal: int) -> bool:
        day = date.fromordinal(ordinal)
        return day.month in self.months and bool(self.days.in_month(day.year, day.month) >> day.day & 1)

    def _day_from(self, ordinal: int) -> int | None:
        """Return the first matching day at or after this proleptic ordinal."""
        day = date.fromordinal(ordinal)
        year, month = day.year, day.month
        if month in self.months:
            mask = self.days.in_month(year, month) >> day.day
            if mask:
                return ordinal + (mask & -mask).bit_length() - 1
        for later in range(year, min(year + SEARCH_YEARS, LAST_YEAR) + 1):
            for candidate in self.months:
                if later == year and candidate <= month:
                    continue
                first = date(later, candidate, 1).toordinal()
                length = month_length(later, candidate)
                mask = self.days.masks[length - SHORTEST][first % 7]
                if mask:
                    return first + (mask & -mask).bit_length() - 2
        return None

    def _day_to(self, ordinal: int) -> int | None:
        """Return the last matching day at or before this proleptic ordinal."""
        day = date.fromordinal(ordinal)
        year, month = day.year, day.month
        if month in self.months:
            mask = self.days.in_month(year, month) & ((2 << day.day) - 1)
            if mask:
                return ordinal - day.day + mask.bit_length() - 1
        for earlier in range(year, max(year - SEARCH_YEARS, 1), -1):
            for candidate in reversed(self.months):
                if earlier == year and candidate >= month:
                    continue
                mask = self.days.in_month(earlier, candidate)
                if mask:
                    first = date(earlier, candidate, 1).toordinal()
                    return first + mask.bit_length() - 2
        return None

    def _count_days(self, start: int, end: int) -> int:
        """Return how many days match in the ordinals ``[start, end)``."""
        count = 0
        while start < end:
            day = date.fromordinal(start)
            following = start - day.day + 1 + month_length(day.year, day.month)
            if day.month in self.months:
                mask = self.days.in_month(day.year, day.month) >> day.day
                count += (mask & ((1 << (min(following, end) - start)) - 1)).bit_count()
            start = following
        return count

    # -- segments: daylight saving time -------------------------------------------------------

    def own_walls(self, segment: Segment) -> tuple[int, int]:
        """Return the range ``[low, high)`` of walls that fire inside a segment.

        A fixed time in a repeated hour fires once, so the other pass is cut off; a wildcard, and
        any schedule at a shift too large to be compensated, fires in both.
        """
        low, high = segment.start + segment.offset, segment.end + segment.offset
        if self.wildcard:
            return low, high
        if self.fold == "first" and 0 < segment.before - segment.offset < UNCOMPENSATED_SHIFT:
            low = segment.start + segment.before
        if self.fold == "second" and 0 < segment.offset - segment.after < UNCOMPENSATED_SHIFT:
            high = segment.end + segment.after
        return low, high

    def compensates(self, segment: Segment) -> bool:
        """Return whether wall times lost at the start of a segment still fire."""
        return 0 < segment.gap < UNCOMPENSATED_SHIFT and not self.wildcard and self.gap != "skip"

    def next_lost(self, segment: Segment, instant: int) -> int | None:
        """Return the first instant at or after this one at which a lost wall time fires."""
        lost = segment.start + segment.before
        resumed = lost + segment.gap
        if self.gap == "shift":
            wall = self.next_wall(max(lost, instant + segment.before))
            return None if wall is None or wall >= resumed else wall - segment.before
        wall = self.next_wall(lost)
        found = wall is not None and wall < resumed
        return segment.start if found and instant <= segment.start else None

    def previous_lost(self, segment: Segment, instant: int) -> int | None:
        """Return the last instant at or before this one at which a lost wall time fires."""
        lost = segment.start + segment.before
        resumed = lost + segment.gap
        wall = self.previous_wall(resumed - 1)
        if self.gap == "shift":
            wall = self.previous_wall(min(resumed - 1, instant + segment.before))
            return None if wall is None or wall < lost else wall - segment.before
        found = wall is not None and wall >= lost
        return segment.start if found and instant >= segment.start else None

    def is_repeated(self, segment: Segment, wall: int) -> bool:
        """Return whether a wall of this segment happens twice."""
        return wall < segment.start + segment.before or wall >= segment.end + segment.after


@lru_cache(maxsize=16_384)
def matcher(spec: CronSpec) -> Matcher:
    """Return the search form of a spec; kept, because every decision asks for it."""
    return Matcher(
        times=_times(expand(HOUR, spec.hour), expand(MINUTE, spec.minute)),
        months=tuple(sorted(expand(MONTH_OF_YEAR, spec.month_of_year))),
        days=spec.day_table(),
        tz=spec.tz,
        wildcard=spec.is_wildcard,
        gap=spec.gap,
        fold=spec.fold,
    )


@lru_cache(maxsize=1024)
def _times(hours: frozenset[int], minutes: frozenset[int]) -> tuple[int, ...]:
    """Return the chosen seconds of a day; shared, since few combinations are in use."""
    return tuple(hour * 3600 + minute * 60 for hour in sorted(hours) for minute in sorted(minutes))


def next_hit(spec: CronSpec, instant: int) -> Hit | None:
    """Return the first occurrence at or after an instant, or None within the search bound."""
    cron = matcher(spec)
    bound = min(instant + SEARCH_YEARS * 366 * DAY, LAST_INSTANT)
    while instant <= bound:
        segment = segment_at(cron.tz, instant)
        hit, wall = _first_in(cron, segment, instant)
        if hit is not None:
            return hit
        if wall is None:
            return None
        instant = segment.end
        # Nothing matches before `wall`, unless the clock goes back at the end of this segment.
        if segment.after >= segment.offset:
            instant = max(instant, wall - segment.offset - _MARGIN)
    return None


def previous_hit(spec: CronSpec, instant: int) -> Hit | None:
    """Return the last occurrence at or before an instant, or None within the search bound."""
    cron = matcher(spec)
    bound = instant - SEARCH_YEARS * 366 * DAY
    while instant >= bound:
        segment = segment_at(cron.tz, instant)
        hit, wall = _last_in(cron, segment, instant)
        if hit is not None:
            return hit
        if wall is None:
            return None
        instant = segment.start - 1
        if segment.before <= segment.offset:
            instant = min(instant, wall - segment.offset + _MARGIN)
    return None


def count_hits(spec: CronSpec, start: int, end: int) -> int:
    """Return how many occurrences there are in the instants ``[start, end)``."""
    cron = matcher(spec)
    count = 0
    while start < end:
        segment = segment_at(cron.tz, start)
        stop = min(segment.end, end)
        low, high = cron.own_walls(segment)
        low, high = max(low, start + segment.offset), min(high, stop + segment.offset)
        count += cron.count_walls(low, high)
        if cron.compensates(segment):
            count += _count_lost(cron, segment, start, stop)
        start = stop
    return count


def _first_in(cron: Matcher, segment: Segment, instant: int) -> tuple[Hit | None, int | None]:
    """Return the first occurrence of a segment from an instant on, and the wall found."""
    low, high = cron.own_walls(segment)
    wall = cron.next_wall(max(low, instant + segment.offset))
    hit = None
    if wall is not None and wall < high:
        hit = Hit(wall - segment.offset, DST_FOLD if cron.is_repeated(segment, wall) else None)
    if segment.gap and cron.compensates(segment):
        lost = cron.next_lost(segment, instant)
        if lost is not None and (hit is None or lost <= hit.at):
            hit = Hit(lost, DST_GAP)
    return hit, wall


def _last_in(cron: Matcher, segment: Segment, instant: int) -> tuple[Hit | None, int | None]:
    """Return the last occurrence of a segment up to an instant, and the wall found."""
    low, high = cron.own_walls(segment)
    wall = cron.previous_wall(min(high - 1, instant + segment.offset))
    hit = None
    if wall is not None and wall >= low:
        hit = Hit(wall - segment.offset, DST_FOLD if cron.is_repeated(segment, wall) else None)
    if segment.gap and cron.compensates(segment):
        lost = cron.previous_lost(segment, instant)
        if lost is not None and (hit is None or lost >= hit.at):
            hit = Hit(lost, DST_GAP)
    return hit, wall


def _count_lost(cron: Matcher, segment: Segment, start: int, stop: int) -> int:
    """Count lost wall times that fire in ``[start, stop)`` and that no own wall fires at too."""
    count = 0
    lost = cron.next_lost(segment, start)
    while lost is not None and lost < stop:
        wall = lost + segment.offset
        count += cron.next_wall(wall) != wall
        lost = cron.next_lost(segment, lost + 1)
    return count
