"""The nominals of a schedule as its calendar leaves them (SEMANTICS 13, 14).

A stream answers three questions without listing its nominals: the next one, the previous one, how
many in between. Planning and catch-up ask nothing else, so a day of missed seconds costs as little
as one missed day.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

from jobs.rules import timing, zones
from jobs.rules.nominal import Nominal
from jobs.rules.pieces import Piece
from jobs.rules.timing import TimingSpec

TICK = timedelta(microseconds=1)
_PIECES = 4000
"""Pieces of closed time a search crosses before it says "never": over five years of weekends."""


class Stream(Protocol):
    """Nominals in order of time."""

    def next_after(self, after: datetime) -> Nominal | None:
        """Return the first nominal strictly after an instant."""

    def prev_before(self, before: datetime) -> Nominal | None:
        """Return the last nominal strictly before an instant."""

    def count(self, after: datetime, until: datetime) -> int:
        """Return how many nominals there are in ``(after, until]``."""


class Gate(Protocol):
    """Something that is open at some times and closed at others."""

    def piece_at(self, instant: int, tz: str) -> Piece:
        """Return the piece of time around an instant in seconds, with its verdict."""


@dataclass(frozen=True, slots=True)
class Raw:
    """What the timing rule alone gives."""

    spec: TimingSpec

    def next_after(self, after: datetime) -> Nominal | None:
        """Return the first nominal strictly after an instant."""
        return timing.next_after(self.spec, after)

    def prev_before(self, before: datetime) -> Nominal | None:
        """Return the last nominal strictly before an instant."""
        return timing.prev_before(self.spec, before)

    def count(self, after: datetime, until: datetime) -> int:
        """Return how many nominals there are in ``(after, until]``."""
        return timing.count_between(self.spec, after, until)


@dataclass(frozen=True, slots=True)
class Filtered:
    """The nominals of a stream that meet every gate open, or, ``inverted``, any gate closed."""

    source: Stream
    gates: Sequence[Gate]
    tz: str
    inverted: bool = False

    def next_after(self, after: datetime) -> Nominal | None:
        """Return the first nominal strictly after an instant."""
        for _ in range(_PIECES):
            nominal = self.source.next_after(after)
            if nominal is None:
                return None
            piece = self._piece(nominal.at)
            if piece.open:
                return nominal
            after = zones.from_seconds(piece.end) - TICK
        return None

    def prev_before(self, before: datetime) -> Nominal | None:
        """Return the last nominal strictly before an instant."""
        for _ in range(_PIECES):
            nominal = self.source.prev_before(before)
            if nominal is None:
                return None
            piece = self._piece(nominal.at)
            if piece.open:
                return nominal
            before = zones.from_seconds(piece.start)
        return None

    def count(self, after: datetime, until: datetime) -> int:
        """Return how many nominals there are in ``(after, until]``, piece by piece."""
        total = 0
        nominal = self.source.next_after(after)
        while nominal is not None and nominal.at <= until:
            piece = self._piece(nominal.at)
            stop = min(until, zones.from_seconds(piece.end) - TICK)
            if piece.open:
                total += self.source.count(after, stop)
            after = stop
            nominal = self.source.next_after(after)
        return total

    def _piece(self, instant: datetime) -> Piece:
        second = zones.floor_seconds(instant)
        pieces = [gate.piece_at(second, self.tz) for gate in self.gates]
        is_open = all(piece.open for piece in pieces)
        start = max(piece.start for piece in pieces)
        end = min(piece.end for piece in pieces)
        return Piece(start, end, is_open != self.inverted)
