"""Blackout windows: peak hours and maintenance (SEMANTICS 14)."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, datetime
from functools import lru_cache
from typing import Literal, get_args

from jobs.rules import zones
from jobs.rules.pieces import CalendarError, Piece, WeeklyWindow, cut_day, local_piece
from jobs.rules.zones import DAY

BlackoutMode = Literal["skip", "defer_to_end"]

_CHAINED = 1000
"""Pieces a deferral may cross; windows that follow one another without a break never end."""


@dataclass(frozen=True, slots=True)
class Blackout:
    """Time in which nothing starts: weekly windows, single spans ``[from, to)``, or both.

    ``skip`` drops a nominal inside it, ``defer_to_end`` starts it when the window closes. A manual
    run passes unless the window is ``enforced``. ``tz`` None means the zone of the schedule. Raises
    CalendarError.
    """

    name: str
    mode: BlackoutMode = "skip"
    windows: tuple[WeeklyWindow, ...] = ()
    spans: tuple[tuple[datetime, datetime], ...] = ()
    tz: str | None = None
    enforced: bool = False

    def __post_init__(self) -> None:
        if self.mode not in get_args(BlackoutMode):
            choices = " or ".join(get_args(BlackoutMode))
            raise CalendarError(f"The blackout mode {self.mode!r} is unknown: use {choices}.")
        if self.tz is not None:
            zones.load(self.tz)
        for start, end in self.spans:
            if start.tzinfo is None or end.tzinfo is None or end <= start:
                raise CalendarError(
                    f"The blackout {self.name!r} needs spans with a zone whose end is after their start."
                )
        if not any(piece.open for weekday in range(1, 8) for piece in _week(self, weekday)):
            raise CalendarError(f"The blackout {self.name!r} covers every time of every week.")

    def piece_at(self, instant: int, tz: str) -> Piece:
        """Return the piece of real time around an instant; open means outside the blackout."""
        piece = local_piece(lambda day: _day_pieces(self, day), self.tz or tz, instant)
        for since, until in self.spans:
            piece = _cut(piece, zones.floor_seconds(since), zones.floor_seconds(until), instant)
        return piece


def covering(blackouts: Iterable[Blackout], instant: datetime, tz: str) -> Blackout | None:
    """Return the first of these blackouts that an aware instant falls in."""
    second = zones.floor_seconds(instant)
    for blackout in blackouts:
        if not blackout.piece_at(second, tz).open:
            return blackout
    return None


def blocks_manual_run(blackouts: Iterable[Blackout], instant: datetime, tz: str) -> Blackout | None:
    """Return the enforced blackout that forbids a manual run at an instant, if any."""
    return covering((item for item in blackouts if item.enforced), instant, tz)


def end_of(blackouts: tuple[Blackout, ...], instant: datetime, tz: str) -> datetime | None:
    """Return when all of these blackouts are over for something due at an instant.

    The instant itself when none covers it; None when they follow one another without end.
    """
    for _ in range(_CHAINED):
        blackout = covering(blackouts, instant, tz)
        if blackout is None:
            return instant
        instant = zones.from_seconds(blackout.piece_at(zones.floor_seconds(instant), tz).end)
    return None


@lru_cache(maxsize=4096)
def _day_pieces(blackout: Blackout, ordinal: int) -> tuple[Piece, ...]:
    return _week(blackout, date.fromordinal(ordinal).isoweekday())


def _week(blackout: Blackout, weekday: int) -> tuple[Piece, ...]:
    closed = [span for window in blackout.windows for span in window.on(weekday)]
    return cut_day([(0, DAY)], closed)


def _cut(piece: Piece, start: int, end: int, instant: int) -> Piece:
    """Return the part of a piece around an instant, with ``[start, end)`` closed."""
    if start <= instant < end:
        if piece.open:
            return Piece(max(piece.start, start), min(piece.end, end), open=False)
        return piece
    if instant < start:
        return Piece(piece.start, min(piece.end, start), piece.open)
    return Piece(max(piece.start, end), piece.end, piece.open)
