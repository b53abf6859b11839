"""Cutting local time into pieces that are open or closed (SEMANTICS 13, 14)."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import time
from itertools import pairwise

from jobs.rules import zones
from jobs.rules.zones import DAY, EPOCH_ORDINAL


class CalendarError(ValueError):
    """A calendar or a window that cannot be used; the message is one sentence for a person."""


@dataclass(frozen=True, slots=True)
class WeeklyWindow:
    """Hours of some weekdays, ``[start, end)`` in local time.

    ``days`` are ISO weekdays, 1 Monday to 7 Sunday. An end at or before the start is on the
    following day; the default is the whole day. Raises CalendarError.
    """

    days: frozenset[int]
    start: time = time(0)
    end: time = time(0)

    def __post_init__(self) -> None:
        if not self.days or not self.days <= frozenset(range(1, 8)):
            raise CalendarError("A weekly window needs weekdays from 1 (Monday) to 7 (Sunday).")
        if self.start.tzinfo or self.end.tzinfo:
            raise CalendarError("The hours of a weekly window are local times without a zone.")

    def on(self, weekday: int) -> list[tuple[int, int]]:
        """Return the seconds ``[start, end)`` of one ISO weekday that the window covers."""
        start, end = _second(self.start), _second(self.end)
        overnight = end <= start
        covered = []
        if overnight and end and (weekday - 2) % 7 + 1 in self.days:
            covered.append((0, end))
        if weekday in self.days:
            covered.append((start, DAY if overnight else end))
        return covered


@dataclass(frozen=True, slots=True)
class Piece:
    """A stretch ``[start, end)`` in seconds, of one verdict."""

    start: int
    end: int
    open: bool


def cut_day(opened: list[tuple[int, int]], closed: list[tuple[int, int]]) -> tuple[Piece, ...]:
    """Return a day cut where spans of seconds begin or end; ``closed`` wins over ``opened``."""
    edges = sorted({0, DAY, *(edge for span in [*opened, *closed] for edge in span)})
    pieces: list[Piece] = []
    for start, end in pairwise(edges):
        is_open = _covers(opened, start) and not _covers(closed, start)
        if pieces and pieces[-1].open == is_open:
            pieces[-1] = Piece(pieces[-1].start, end, is_open)
        else:
            pieces.append(Piece(start, end, is_open))
    return tuple(pieces)


def local_piece(day_pieces: Callable[[int], tuple[Piece, ...]], tz: str, instant: int) -> Piece:
    """Return the piece of real time around an instant, from the pieces of its local day.

    Time is judged by what the local clock shows, so a repeated hour is judged twice.
    """
    segment = zones.segment_at(tz, instant)
    day, second = divmod(instant + segment.offset, DAY)
    midnight = day * DAY - segment.offset
    for piece in day_pieces(day + EPOCH_ORDINAL):
        if second < piece.end:
            start = max(segment.start, midnight + piece.start)
            return Piece(start, min(segment.end, midnight + piece.end), piece.open)
    raise AssertionError("the pieces of a day cover it")


def _covers(spans: list[tuple[int, int]], second: int) -> bool:
    return any(start <= second < end for start, end in spans)


def _second(moment: time) -> int:
    return moment.hour * 3600 + moment.minute * 60 + moment.second
