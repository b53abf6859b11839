"""Solar events: sunrise, noon, sunset, dawns and dusks (SEMANTICS 10).

The horizons and the "centre of the disc" convention are those of ``celery.schedules.solar``, so a
stored django-celery-beat row means the same. Each event is computed from the start of its own solar
day, so that an occurrence is the same instant whichever moment the search begins at: its instant is
its identity.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache, lru_cache
from typing import Any

from jobs.rules import zones
from jobs.rules.nominal import Nominal

SEARCH_DAYS = 400
"""Days to look ahead: polar days and nights last at most half a year."""


@dataclass(frozen=True, slots=True)
class _Event:
    """How ephem finds an event: its method, the horizon in degrees, disc centre or upper limb."""

    method: str
    horizon: str
    use_center: bool


_EVENTS = {
    "dawn_astronomical": _Event("next_rising", "-18", use_center=True),
    "dawn_nautical": _Event("next_rising", "-12", use_center=True),
    "dawn_civil": _Event("next_rising", "-6", use_center=True),
    "sunrise": _Event("next_rising", "-0:34", use_center=False),
    "solar_noon": _Event("next_transit", "0", use_center=False),
    "sunset": _Event("next_setting", "-0:34", use_center=False),
    "dusk_civil": _Event("next_setting", "-6", use_center=True),
    "dusk_nautical": _Event("next_setting", "-12", use_center=True),
    "dusk_astronomical": _Event("next_setting", "-18", use_center=True),
}

SOLAR_EVENTS = tuple(_EVENTS)


@dataclass(frozen=True, slots=True)
class SolarSpec:
    """A solar event at a place; degrees, north and east positive.

    Raises ValueError for an unknown event or an impossible place.
    """

    event: str
    latitude: float
    longitude: float

    def __post_init__(self) -> None:
        if self.event not in _EVENTS:
            names = ", ".join(SOLAR_EVENTS)
            raise ValueError(f"The solar event {self.event!r} is unknown: use one of {names}.")
        if not -90 <= self.latitude <= 90:
            raise ValueError(f"The latitude {self.latitude} is not between -90 and 90 degrees.")
        if not -180 <= self.longitude <= 180:
            raise ValueError(f"The longitude {self.longitude} is not between -180 and 180 degrees.")


def next_after(spec: SolarSpec, after: datetime) -> Nominal | None:
    """Return the first event strictly after an instant; None if the year ahead has none."""
    today = _solar_day(spec, after)
    for day in range(today, today + SEARCH_DAYS):
        for at in _events_of_day(spec, day):
            if at > after:
                return Nominal(at)
    return None


def previous_before(spec: SolarSpec, before: datetime) -> Nominal | None:
    """Return the last event strictly before an instant; None if the year past has none."""
    today = _solar_day(spec, before)
    for day in range(today, today - SEARCH_DAYS, -1):
        for at in reversed(_events_of_day(spec, day)):
            if at < before:
                return Nominal(at)
    return None


def _solar_day(spec: SolarSpec, instant: datetime) -> int:
    """Return the number of the mean solar day, midnight to midnight at the longitude."""
    return (zones.floor_seconds(instant) + _lead(spec)) // zones.DAY


def _lead(spec: SolarSpec) -> int:
    """Return by how many seconds local mean solar time is ahead of UTC (240 s a degree)."""
    return round(spec.longitude * 240)


@lru_cache(maxsize=16_384)
def _events_of_day(spec: SolarSpec, day: int) -> tuple[datetime, ...]:
    """Return the events of one solar day, whole seconds: usually one, none on a polar day.

    Twice a year near the pole a day may have two: a sunset just after midnight and one just before.
    """
    event, ephem = _EVENTS[spec.event], _library()
    observer = ephem.Observer()
    observer.lat, observer.lon = str(spec.latitude), str(spec.longitude)
    observer.elevation, observer.pressure, observer.horizon = 0, 0, event.horizon
    start = zones.from_seconds(day * zones.DAY - _lead(spec))
    end = start + timedelta(seconds=zones.DAY)
    events: list[datetime] = []
    search = start
    while search < end:
        observer.date = ephem.Date(search.replace(tzinfo=None))
        try:
            found = _search(observer, event)
        except ephem.CircumpolarError:
            break
        if not start <= found < end:
            break
        events.append(found)
        search = found + timedelta(minutes=1)
    return tuple(events)


@cache
def _library() -> Any:
    """Return ephem, loaded where the sun is asked for: few have such a schedule, and none else carries its weight.

    The stub of ephem that celery-types installs is empty: the checker knows none of its names.
    """
    import ephem

    return ephem


def _search(observer: Any, event: _Event) -> datetime:
    options = {"use_center": True} if event.use_center else {}
    moment: datetime = getattr(observer, event.method)(_library().Sun(), **options).datetime()
    return moment.replace(microsecond=0, tzinfo=UTC)
