"""Local days and the instants they begin and end at. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo


@dataclass(frozen=True, slots=True)
class LocalDay:
    """A day as a zone lives it: 23, 24 or 25 hours."""

    day: date
    zone: str

    @property
    def start(self) -> datetime:
        """Its first instant, in UTC."""
        return _midnight(self.day, self.zone)

    @property
    def end(self) -> datetime:
        """The first instant of the next day, in UTC."""
        return _midnight(self.day + timedelta(days=1), self.zone)


def day_before(instant: datetime, zone: str) -> LocalDay:
    """Return the local day before the one that `instant` lies in."""
    return LocalDay(instant.astimezone(ZoneInfo(zone)).date() - timedelta(days=1), zone)


def _midnight(day: date, zone: str) -> datetime:
    """Return when `day` begins. Where a clock change takes midnight away, that is the change itself; where
    it repeats midnight, the first one: both are what `fold=0` means."""
    return datetime.combine(day, time.min, tzinfo=ZoneInfo(zone)).astimezone(UTC)
