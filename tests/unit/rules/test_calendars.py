"""Calendars, their precedence and blackout windows (SEMANTICS 13, 14)."""

from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobs.rules.blackouts import Blackout, blocks_manual_run, covering, end_of
from jobs.rules.calendars import Calendar, CalendarError, WeeklyWindow
from jobs.rules.crontab import parse_expression
from jobs.rules.rolling import Rolled
from jobs.rules.streams import Filtered, Raw
from jobs.rules.timing import nominals
from jobs.rules.zones import UnknownZone, floor_seconds

pytestmark = pytest.mark.semantics(13)

ALL_DAYS = frozenset(range(1, 8))
WEEKEND = WeeklyWindow(frozenset({6, 7}))
OFFICE = WeeklyWindow(frozenset(range(1, 6)), time(9), time(17))
LUNCH = WeeklyWindow(ALL_DAYS, time(12), time(13))
NIGHT = WeeklyWindow(frozenset({5}), time(22), time(6))
CHRISTMAS = date(2026, 12, 25)
SATURDAY = date(2026, 11, 21)


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("calendar", "instant", "is_open"),
    [
        (Calendar("c"), "2026-11-21T12:00", True),
        (Calendar("c", exclude_windows=(WEEKEND,)), "2026-11-21T00:00", False),
        (Calendar("c", exclude_windows=(WEEKEND,)), "2026-11-22T23:59:59", False),
        (Calendar("c", exclude_windows=(WEEKEND,)), "2026-11-23T00:00", True),
        (Calendar("c", exclude_dates=frozenset({CHRISTMAS})), "2026-12-25T12:00", False),
        (Calendar("c", exclude_dates=frozenset({CHRISTMAS})), "2026-12-26T00:00", True),
        (Calendar("c", include_windows=(OFFICE,)), "2026-11-20T09:00", True),
        (Calendar("c", include_windows=(OFFICE,)), "2026-11-20T17:00", False),
        # A working Saturday: a date wins over a window.
        (
            Calendar("c", exclude_windows=(WEEKEND,), include_dates=frozenset({SATURDAY})),
            "2026-11-21T12:00",
            True,
        ),
        # Excluding wins over including.
        (
            Calendar(
                "c",
                include_dates=frozenset({CHRISTMAS, SATURDAY}),
                exclude_dates=frozenset({CHRISTMAS}),
            ),
            "2026-12-25T12:00",
            False,
        ),
        (
            Calendar("c", include_windows=(OFFICE,), exclude_windows=(LUNCH,)),
            "2026-11-20T12:30",
            False,
        ),
        # A plain list of dates to include closes all others.
        (Calendar("c", include_dates=frozenset({CHRISTMAS})), "2026-12-24T12:00", False),
        (Calendar("c", include_dates=frozenset({CHRISTMAS})), "2026-12-25T12:00", True),
        # A window over midnight belongs to the day it starts on.
        (Calendar("c", exclude_windows=(NIGHT,)), "2026-11-21T05:59", False),
        (Calendar("c", exclude_windows=(NIGHT,)), "2026-11-21T06:00", True),
        (Calendar("c", exclude_windows=(NIGHT,)), "2026-11-20T05:00", True),
        # A zone of its own.
        (Calendar("c", exclude_windows=(WEEKEND,), tz="Asia/Tokyo"), "2026-11-20T16:00", False),
    ],
)  # fmt: skip
def test_precedence(calendar: Calendar, instant: str, is_open: bool) -> None:
    assert calendar.is_open(utc(instant)) is is_open


@pytest.mark.parametrize(
    "calendar",
    [
        {"exclude_windows": (WeeklyWindow(ALL_DAYS),)},
        {"include_windows": (WEEKEND,), "exclude_windows": (WEEKEND,)},
        {"exclude_windows": (WeeklyWindow(ALL_DAYS, time(6), time(6)),)},
    ],
)
def test_a_calendar_that_excludes_everything_is_refused(calendar: dict[str, object]) -> None:
    with pytest.raises(CalendarError) as caught:
        Calendar("never", **calendar)
    assert str(caught.value) == (
        "The calendar 'never' excludes every time of every week, so no schedule that uses it could ever fire."
    )


def test_one_open_date_is_enough() -> None:
    assert Calendar("c", include_dates=frozenset({CHRISTMAS}), exclude_windows=(WeeklyWindow(ALL_DAYS),))


@pytest.mark.parametrize("days", [frozenset(), frozenset({0}), frozenset({8})])
def test_weekdays_are_one_to_seven(days: frozenset[int]) -> None:
    with pytest.raises(CalendarError, match=r"from 1 \(Monday\) to 7 \(Sunday\)"):
        WeeklyWindow(days)


def test_unknown_zones_are_refused() -> None:
    with pytest.raises(UnknownZone):
        Calendar("c", tz="Mars/Olympus")
    with pytest.raises(UnknownZone):
        Blackout("b", tz="Mars/Olympus")


@pytest.mark.parametrize("zone", ["America/New_York", "Australia/Lord_Howe", "Pacific/Apia", "UTC"])
@given(minutes=st.integers(0, 60 * 24 * 40), data=st.data())
@settings(max_examples=40, deadline=None)
def test_pieces_agree_with_the_clock_on_the_wall(zone: str, minutes: int, data: st.DataObject) -> None:
    start = {"America/New_York": "2027-10-20", "Pacific/Apia": "2011-12-10"}
    instant = utc(start.get(zone, "2027-03-20")) + timedelta(minutes=minutes)
    calendar = Calendar("c", include_windows=(OFFICE, NIGHT), exclude_dates=frozenset({SATURDAY}))
    piece = calendar.piece_at(floor_seconds(instant), zone)
    inside = data.draw(st.integers(piece.start, piece.end - 1))
    assert piece.start <= floor_seconds(instant) < piece.end
    for second in (piece.start, piece.end - 1, inside):
        local = datetime.fromtimestamp(second, ZoneInfo(zone))
        assert in_office_or_friday_night(local) is piece.open


def in_office_or_friday_night(local: datetime) -> bool:
    office = local.weekday() < 5 and 9 <= local.hour < 17
    evening = local.weekday() == 4 and local.hour >= 22
    morning = local.weekday() == 5 and local.hour < 6
    return office or evening or morning


@pytest.mark.parametrize("roll", ["next", "previous", "modified_next"])
@given(holidays=st.sets(st.dates(date(2026, 12, 1), date(2027, 1, 31)), max_size=25))
@settings(max_examples=15, deadline=None)
def test_rolls_agree_with_a_naive_roll(roll: str, holidays: set[date]) -> None:
    calendar = Calendar("c", exclude_windows=(WEEKEND,), exclude_dates=frozenset(holidays))
    spec = parse_expression("30 8 */3 * *", tz="Europe/Berlin")
    rolled = Rolled(spec, calendar, roll, "Europe/Berlin")
    start, end = utc("2026-12-10"), utc("2027-01-20")
    expected = naive_rolls(calendar, roll, start, end)
    assert forwards(rolled, start, end) == expected
    assert rolled.count(start, end) == len(expected)
    assert backwards(rolled, start, end) == expected


def naive_rolls(calendar: Calendar, roll: str, start: datetime, end: datetime) -> list[datetime]:
    spec = parse_expression("30 8 */3 * *", tz="Europe/Berlin")
    found = set()
    for nominal in nominals(spec, start - timedelta(days=80), end + timedelta(days=80)):
        local = nominal.at.astimezone(ZoneInfo("Europe/Berlin"))
        moved = step(calendar, local, -1 if roll == "previous" else 1)
        if roll == "modified_next" and moved.month != local.month:
            moved = step(calendar, local, -1)
        if start < moved.astimezone(UTC) <= end:
            found.add(moved.astimezone(UTC))
    return sorted(found)


def step(calendar: Calendar, local: datetime, days: int) -> datetime:
    while local.isoweekday() > 5 or local.date() in calendar.exclude_dates:
        local += timedelta(days=days)
    return local


def forwards(stream: Rolled | Filtered, start: datetime, end: datetime) -> list[datetime]:
    found = []
    nominal = stream.next_after(start)
    while nominal is not None and nominal.at <= end:
        found.append(nominal.at)
        nominal = stream.next_after(nominal.at)
    return found


def backwards(stream: Rolled | Filtered, start: datetime, end: datetime) -> list[datetime]:
    found = []
    nominal = stream.prev_before(end + timedelta(microseconds=1))
    while nominal is not None and nominal.at > start:
        found.append(nominal.at)
        nominal = stream.prev_before(nominal.at)
    return found[::-1]


def test_a_roll_reaches_over_years_between_nominals() -> None:
    calendar = Calendar("c", exclude_windows=(WEEKEND,))
    spec = parse_expression("0 8 29 2 *")
    rolled = Rolled(spec, calendar, "next", "UTC")
    found = rolled.next_after(utc("2030-01-01"))
    assert found is not None
    assert found.at == utc("2032-03-01T08:00")
    before = rolled.prev_before(utc("2032-03-01T08:00"))
    assert before is not None
    assert before.at == utc("2028-02-29T08:00")


@given(st.integers(0, 10_000), st.integers(1, 20_000))
@settings(max_examples=30, deadline=None)
def test_a_filtered_stream_is_its_source_without_the_closed(start: int, length: int) -> None:
    calendar = Calendar("c", include_windows=(OFFICE,), exclude_dates=frozenset({SATURDAY}))
    spec = parse_expression("*/20 * * * *", tz="America/New_York")
    since = utc("2026-10-30") + timedelta(minutes=start)
    until = since + timedelta(minutes=length)
    every = [nominal.at for nominal in nominals(spec, since, until)]
    for inverted in (False, True):
        stream = Filtered(Raw(spec), (calendar,), "America/New_York", inverted=inverted)
        expected = [at for at in every if calendar.is_open(at, "America/New_York") != inverted]
        assert forwards(stream, since, until) == expected
        assert backwards(stream, since, until) == expected
        assert stream.count(since, until) == len(expected)


@pytest.mark.semantics(14)
class TestBlackouts:
    PEAK = Blackout("peak", "defer_to_end", windows=(WeeklyWindow(ALL_DAYS, time(9), time(11)),))
    SPAN = Blackout("upgrade", spans=((utc("2026-11-21T10:30"), utc("2026-11-21T12:00")),))

    def test_covering(self) -> None:
        assert covering((self.PEAK, self.SPAN), utc("2026-11-21T10:45"), "UTC") is self.PEAK
        assert covering((self.PEAK, self.SPAN), utc("2026-11-21T11:45"), "UTC") is self.SPAN
        assert covering((self.PEAK, self.SPAN), utc("2026-11-21T12:00"), "UTC") is None

    def test_it_is_read_in_the_zone_of_the_schedule(self) -> None:
        assert covering((self.PEAK,), utc("2026-11-21T09:30"), "Europe/Berlin") is self.PEAK
        assert covering((self.PEAK,), utc("2026-11-21T10:30"), "Europe/Berlin") is None

    def test_end_of(self) -> None:
        both = (self.PEAK, self.SPAN)
        assert end_of(both, utc("2026-11-21T09:30"), "UTC") == utc("2026-11-21T12:00")
        assert end_of(both, utc("2026-11-21T08:30"), "UTC") == utc("2026-11-21T08:30")
        whole = tuple(Blackout(str(day), windows=(WeeklyWindow(frozenset({day})),)) for day in range(1, 8))
        assert end_of(whole, utc("2026-11-21T08:30"), "UTC") is None

    def test_manual_runs_pass_unless_it_is_enforced(self) -> None:
        at = utc("2026-11-21T10:00")
        assert blocks_manual_run((self.PEAK,), at, "UTC") is None
        strict = Blackout("b", windows=self.PEAK.windows, enforced=True)
        assert blocks_manual_run((self.PEAK, strict), at, "UTC") is strict

    @pytest.mark.parametrize(
        ("options", "reason"),
        [
            ({"mode": "hide"}, "mode 'hide' is unknown"),
            ({"windows": (WeeklyWindow(ALL_DAYS),)}, "covers every time"),
            ({"spans": ((utc("2026-11-22"), utc("2026-11-21")),)}, "end is after"),
            ({"spans": ((datetime(2026, 11, 22), datetime(2026, 11, 23)),)}, "spans with a zone"),
        ],
    )
    def test_refusals(self, options: dict[str, object], reason: str) -> None:
        with pytest.raises(CalendarError, match=reason):
            Blackout("b", **options)
