"""Points in time as people type them: ISO 8601, with an offset or as wall time in a zone."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal

from jobs.cli.failures import usage
from jobs.rules import zones

Gap = Literal["next_valid", "refuse", "before"]


@dataclass(frozen=True, slots=True)
class Instant:
    """A point in time in UTC, and what a person should know about how it was read."""

    at: datetime
    note: str = ""


def parse_instant(text: str, flag: str, *, tz: str = "UTC", gap: Gap = "next_valid") -> Instant:
    """Return the instant that `text` says. Without an offset it is wall time in `tz`.

    A wall time that a clock change leaves out becomes the first valid one, one that it repeats becomes
    the first of the two, and the note says so. With `gap="refuse"` one that is left out is refused, with
    `gap="before"` it is the last moment before the change. Raises `Failure` (usage) naming `flag`.
    """
    try:
        moment = datetime.fromisoformat(text.strip())
    except ValueError as error:
        raise usage(
            f"{flag} {text!r} is not a time: write 2027-01-31T10:00, with Z or +01:00 if need be."
        ) from error
    if moment.tzinfo is not None:
        return Instant(_to_utc(moment, flag, text))
    return _resolve(moment, flag, text, tz, gap)


def _resolve(wall: datetime, flag: str, text: str, tz: str, gap: Gap) -> Instant:
    zone = zones.load(tz)
    first = _to_utc(wall.replace(tzinfo=zone, fold=0), flag, text)
    second = _to_utc(wall.replace(tzinfo=zone, fold=1), flag, text)
    if first == second:
        return Instant(first)
    if first < second:
        return Instant(first, f"{flag}: {text} happens twice in {tz}; the first is taken, {first:%H:%M}Z.")
    if gap == "refuse":
        raise usage(f"{flag} {text!r} does not exist in {tz}: the clock goes forward then.")
    start = zones.from_seconds(zones.segment_at(tz, zones.floor_seconds(first)).start)
    if gap == "before":
        return Instant(start - timedelta(microseconds=1))
    local = start.astimezone(zone)
    return Instant(
        start, f"{flag}: {text} does not exist in {tz}; {local:%H:%M}, the next valid time, is taken."
    )


def _to_utc(moment: datetime, flag: str, text: str) -> datetime:
    try:
        return moment.astimezone(UTC)
    except (OverflowError, ValueError) as error:
        raise usage(f"{flag} {text!r} is out of range.") from error
