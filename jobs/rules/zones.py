"""Time zones as stretches of constant UTC offset (SEMANTICS 6, 7).

Times here are whole seconds: *instants* since the Unix epoch, *walls* the same count read off a
local clock (``wall = instant + offset``). Inside one segment the two differ by a constant, so a
search that goes segment by segment needs no other knowledge of daylight saving time.
"""

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

DAY = 86_400
HOUR = 3_600
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
EPOCH_ORDINAL = date(1970, 1, 1).toordinal()

UNCOMPENSATED_SHIFT = 3 * HOUR
"""A change of the clock this large is a correction, not daylight saving time (SEMANTICS 7)."""

LAST_YEAR = 9998
"""No occurrence is sought after it, so that local times always fit a datetime."""

SAMPLE = 5 * DAY
"""Zones are sampled this often: since 1970 no zone has changed twice within six days."""

LAST_ORDINAL = date(LAST_YEAR, 12, 31).toordinal()
LAST_INSTANT = (LAST_ORDINAL - EPOCH_ORDINAL) * DAY


class UnknownZone(ValueError):
    """A name that is not in the IANA time zone database; the message is one sentence."""


@dataclass(frozen=True, slots=True)
class Segment:
    """A stretch ``[start, end)`` of instants with one UTC offset, all in seconds.

    ``before`` and ``after`` are the offsets just outside; equal to ``offset`` where the segment
    ends only because a year does.
    """

    start: int
    end: int
    offset: int
    before: int
    after: int

    @property
    def gap(self) -> int:
        """Seconds of local time that do not exist just before ``start`` (0: none)."""
        return max(self.offset - self.before, 0)


_FOREVER = Segment(-(1 << 60), 1 << 60, 0, 0, 0)
_FIXED_UTC = frozenset({"UTC", "Etc/UTC", "Etc/UCT", "UCT", "Zulu", "Etc/Zulu"})


@lru_cache(maxsize=1024)
def load(name: str) -> ZoneInfo:
    """Return the zone of this IANA name.

    Raises UnknownZone.
    """
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        message = f"The time zone {name!r} is unknown: use an IANA name such as Europe/Berlin."
        raise UnknownZone(message) from error


def to_instant(moment: datetime) -> datetime:
    """Return an aware datetime in UTC.

    Raises ValueError for a naive one.
    """
    if moment.tzinfo is None:
        raise ValueError(f"The time {moment.isoformat()} has no time zone.")
    return moment.astimezone(UTC)


def from_seconds(instant: int) -> datetime:
    """Return the UTC datetime of an instant in seconds."""
    return EPOCH + timedelta(seconds=instant)


def floor_seconds(moment: datetime) -> int:
    """Return the whole second an aware datetime falls in."""
    elapsed = moment - EPOCH
    return elapsed.days * DAY + elapsed.seconds


def segment_at(tz: str, instant: int) -> Segment:
    """Return the segment of a zone that contains an instant."""
    if tz in _FIXED_UTC:
        return _FOREVER
    year = date.fromordinal(instant // DAY + EPOCH_ORDINAL).year
    for segment in segments(tz, year):
        if instant < segment.end:
            return segment
    raise AssertionError("the segments of a year cover it")


@lru_cache(maxsize=8192)
def segments(tz: str, year: int) -> tuple[Segment, ...]:
    """Return the segments of a zone in one UTC year, in order.

    Changes are found by sampling and bisection, since `zoneinfo` does not list them.
    """
    zone = load(tz)
    start = (date(year, 1, 1).toordinal() - EPOCH_ORDINAL) * DAY
    end = (date(year + 1, 1, 1).toordinal() - EPOCH_ORDINAL) * DAY
    samples = [*range(start, end - 1, SAMPLE), end - 1]
    offsets = [_offset(zone, instant) for instant in samples]
    changes = [
        _change_between(zone, samples[index - 1], samples[index])
        for index in range(1, len(samples))
        if offsets[index] != offsets[index - 1]
    ]
    edges = [start, *changes, end]
    around = [_offset(zone, start - 1), *(_offset(zone, edge) for edge in edges)]
    return tuple(
        Segment(edges[i], edges[i + 1], around[i + 1], around[i], around[i + 2])
        for i in range(len(edges) - 1)
    )


def _offset(zone: ZoneInfo, instant: int) -> int:
    offset = datetime.fromtimestamp(instant, zone).utcoffset()
    assert offset is not None
    return offset.days * DAY + offset.seconds


def _change_between(zone: ZoneInfo, low: int, high: int) -> int:
    """Return the first instant in (low, high] that has the offset of ``high``."""
    target = _offset(zone, high)
    while high - low > 1:
        middle = (low + high) // 2
        if _offset(zone, middle) == target:
            high = middle
        else:
            low = middle
    return high
