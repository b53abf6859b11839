"""Solar events (SEMANTICS 10)."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from celery.schedules import solar as celery_solar

from jobs.rules.timing import SOLAR_EVENTS, SolarSpec, next_after, nominals, prev_before

pytestmark = pytest.mark.semantics(10)

BERLIN = (52.52, 13.405)
LONGYEARBYEN = (78.22, 15.65)


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize("event", SOLAR_EVENTS)
@pytest.mark.parametrize("place", [BERLIN, (-33.87, 151.21), (0.0, -179.9), (40.7, -74.0)])
def test_celery_finds_the_same_event(event: str, place: tuple[float, float]) -> None:
    after = utc("2026-11-21T10:00")
    theirs = celery_solar(event, *place, nowfun=lambda: after)
    expected = after + theirs.remaining_estimate(after)
    found = next_after(SolarSpec(event, *place), after)
    assert found is not None
    assert abs(found.at - expected) < timedelta(seconds=5)


def test_an_event_is_the_same_instant_wherever_the_search_begins() -> None:
    spec = SolarSpec("sunset", *BERLIN)
    expected = next_after(spec, utc("2026-11-21T00:00"))
    starts = [utc("2026-11-20T20:00") + timedelta(minutes=37 * step) for step in range(30)]
    assert {next_after(spec, start) for start in starts} == {expected}
    assert expected is not None
    assert expected.at.microsecond == 0
    assert prev_before(spec, expected.at + timedelta(seconds=1)) == expected


def test_one_event_a_day_all_year() -> None:
    for place in (BERLIN, (10.0, 179.99), (-45.0, -179.99)):
        spec = SolarSpec("sunrise", *place)
        found = [nominal.at for nominal in nominals(spec, utc("2026-01-01"), utc("2027-01-01"))]
        assert len(found) in (364, 365, 366)
        gaps = [later - sooner for sooner, later in pairwise(found)]
        assert all(abs(gap - timedelta(days=1)) < timedelta(minutes=5) for gap in gaps)


def test_a_polar_night_has_no_occurrence() -> None:
    sunrise = next_after(SolarSpec("sunrise", *LONGYEARBYEN), utc("2026-11-21T10:00"))
    assert sunrise is not None
    assert utc("2027-02-10") < sunrise.at < utc("2027-02-20")


def test_backwards_is_the_same_list() -> None:
    spec = SolarSpec("sunset", *LONGYEARBYEN)
    start, end = utc("2026-08-01"), utc("2026-11-01")
    forward = list(nominals(spec, start, end))
    back = []
    nominal = prev_before(spec, end)
    while nominal is not None and nominal.at > start:
        back.append(nominal)
        nominal = prev_before(spec, nominal.at)
    assert back[::-1] == forward
    assert 50 < len(forward) < 80


def test_a_place_where_it_never_happens() -> None:
    assert next_after(SolarSpec("dawn_astronomical", 90, 0), utc("2026-06-01")) is None
    assert prev_before(SolarSpec("dawn_astronomical", 90, 0), utc("2026-06-01")) is None


@pytest.mark.parametrize(
    ("event", "latitude", "longitude", "reason"),
    [
        ("tea", 0, 0, "solar event 'tea' is unknown"),
        ("sunrise", 91, 0, "latitude 91 is not between"),
        ("sunrise", 0, -181, "longitude -181 is not between"),
        ("sunrise", float("nan"), 0, "latitude nan is not between"),
    ],
)
def test_refusals(event: str, latitude: float, longitude: float, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        SolarSpec(event, latitude, longitude)
