"""Calendars: the dates and hours a schedule may fire in (SEMANTICS 13).

A calendar cuts local time into pieces that are open or closed. Specific dates win over weekly
windows, and excluding wins over including:

1. a date in ``exclude_dates`` is closed; else a date in ``include_dates`` is open;
2. else time inside ``exclude_windows`` is closed;
3. else, with ``include_windows``, only time inside them is open;
4. else all is open, unless the calendar is a plain list of dates to include.
"""

from dataclasses import dataclass
from datetime import date, datetime
from functools import lru_cache
from typing import Literal

from jobs.rules import zones
from jobs.rules.icalendar import parse_ics
from jobs.rules.pieces import CalendarError, Piece, WeeklyWindow, cut_day, local_piece
from jobs.rules.zones import DAY

__all__ = ["ROLLS", "Calendar", "CalendarError", "Roll", "WeeklyWindow", "parse_ics"]

Roll = Literal["skip", "next", "previous", "modified_next"]
ROLLS: tuple[Roll, ...] = ("skip", "next", "previous", "modified_next")
"""The business day conventions: `modified_next` is `next`, or `previous` where next leaves the
month."""


@dataclass(frozen=True, slots=True)
class Calendar:
    """A named, versioned set of dates and weekly windows.

    ``tz`` None means the zone of the schedule that uses it. Raises CalendarError, also for a
    calendar that leaves no time open.
    """

    name: str
    version: int = 1
    exclude_dates: frozenset[date] = frozenset()
    include_dates: frozenset[date] = frozenset()
    exclude_windows: tuple[WeeklyWindow, ...] = ()
    include_windows: tuple[WeeklyWindow, ...] = ()
    tz: str | None = None

    def __post_init__(self) -> None:
        if self.tz is not None:
            zones.load(self.tz)
        if not self._ever_open():
            raise CalendarError(
                f"The calendar {self.name!r} excludes every time of every week, "
                "so no schedule that uses it could ever fire."
            )

    @property
    def only_named_dates(self) -> bool:
        """Whether it is a plain list of dates to include: all other time is closed."""
        return bool(self.include_dates) and not (
            self.exclude_dates or self.exclude_windows or self.include_windows
        )

    def is_open(self, instant: datetime, tz: str = "UTC") -> bool:
        """Return whether a schedule in zone ``tz`` may fire at an aware instant."""
        return self.piece_at(zones.floor_seconds(instant), tz).open

    def piece_at(self, instant: int, tz: str) -> Piece:
        """Return the piece of real time around an instant in seconds."""
        return local_piece(self.day_pieces, self.tz or tz, instant)

    def day_pieces(self, ordinal: int) -> tuple[Piece, ...]:
        """Return the pieces of a local date (proleptic ordinal), in seconds of its wall clock."""
        return _day_pieces(self, ordinal)

    def opens_whole(self, day: date) -> bool:
        """Return whether all of a local date is open."""
        return all(piece.open for piece in self.day_pieces(day.toordinal()))

    def _ever_open(self) -> bool:
        if self.include_dates - self.exclude_dates:
            return True
        return any(piece.open for weekday in range(1, 8) for piece in weekly_pieces(self, weekday))


@lru_cache(maxsize=8192)
def _day_pieces(calendar: Calendar, ordinal: int) -> tuple[Piece, ...]:
    day = date.fromordinal(ordinal)
    if day in calendar.exclude_dates:
        return (Piece(0, DAY, open=False),)
    if day in calendar.include_dates:
        return (Piece(0, DAY, open=True),)
    return weekly_pieces(calendar, day.isoweekday())


def weekly_pieces(calendar: Calendar, weekday: int) -> tuple[Piece, ...]:
    """Return the pieces of an ISO weekday on which no date is special."""
    if calendar.only_named_dates:
        return (Piece(0, DAY, open=False),)
    closed = [span for window in calendar.exclude_windows for span in window.on(weekday)]
    opened = [span for window in calendar.include_windows for span in window.on(weekday)]
    if not calendar.include_windows:
        opened = [(0, DAY)]
    return cut_day(opened, closed)
