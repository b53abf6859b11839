"""What each timing rule of the specification says, as a table of fire times."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobs.rules import calendar_interval
from jobs.rules.crontab import CronError, CronSpec, parse_expression
from jobs.rules.timing import (
    CalendarIntervalSpec,
    IntervalSpec,
    Nominal,
    OneShotSpec,
    TimingSpec,
    count_between,
    next_after,
    nominals,
    prev_before,
)

NEW_YORK = "America/New_York"


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def fires(spec: TimingSpec, after: str, limit: int) -> list[str]:
    """The local fire times after a local time, with their offsets."""
    zone = ZoneInfo(getattr(spec, "tz", "UTC"))
    start = datetime.fromisoformat(after).replace(tzinfo=zone)
    found = nominals(spec, start.astimezone(UTC), limit=limit)
    return [nominal.at.astimezone(zone).isoformat(timespec="minutes") for nominal in found]


def cron(text: str, tz: str = "UTC", **options: str) -> CronSpec:
    return parse_expression(text, tz=tz, **options)


@pytest.mark.semantics(1)
def test_a_nominal_is_the_same_instant_wherever_the_search_begins() -> None:
    spec = cron("17 */5 * * *", "Europe/Berlin")
    expected = utc("2026-11-21T14:17")
    starts = [expected - timedelta(seconds=back) for back in (1, 59, 3600, 17000)]
    assert {next_after(spec, start) for start in starts} == {Nominal(expected)}


@pytest.mark.semantics(1)
def test_the_search_is_strictly_after_and_strictly_before() -> None:
    spec = cron("0 12 * * *")
    noon = utc("2026-11-21T12:00")
    assert next_after(spec, noon) == Nominal(noon + timedelta(days=1))
    assert next_after(spec, noon - timedelta(microseconds=1)) == Nominal(noon)
    assert prev_before(spec, noon) == Nominal(noon - timedelta(days=1))
    assert prev_before(spec, noon + timedelta(microseconds=1)) == Nominal(noon)


DAYS = [
    # rule, expression, local start, fires
    (2, "0 9 * * mon-fri", "2026-11-20T10:00", ["2026-11-23", "2026-11-24"]),
    (2, "0 9 * * 7", "2026-11-20T10:00", ["2026-11-22", "2026-11-29"]),
    (2, "0 9 * * 5-7", "2026-11-19T10:00", ["2026-11-20", "2026-11-21", "2026-11-22"]),
    (2, "0 9 * jan,jul 1", "2026-11-20T10:00", ["2027-01-04", "2027-01-11"]),
    (2, "0 0 L * *", "2027-01-01T00:00", ["2027-01-31", "2027-02-28", "2027-03-31"]),
    (2, "0 0 L 2 *", "2027-01-01T00:00", ["2027-02-28", "2028-02-29"]),
    (2, "0 0 L-2 * *", "2027-01-01T00:00", ["2027-01-29", "2027-02-26", "2027-03-29"]),
    (2, "0 0 L-29 * *", "2027-01-01T00:00", ["2027-01-02", "2027-03-02", "2027-04-01"]),
    (2, "0 0 LW * *", "2027-01-01T00:00", ["2027-01-29", "2027-02-26", "2027-03-31"]),
    (2, "0 0 1W * *", "2026-07-15T00:00", ["2026-08-03", "2026-09-01", "2026-10-01"]),
    (2, "0 0 15W * *", "2026-08-01T00:00", ["2026-08-14", "2026-09-15", "2026-10-15"]),
    (2, "0 0 16W * *", "2026-08-01T00:00", ["2026-08-17", "2026-09-16", "2026-10-16"]),
    (2, "0 0 30W * *", "2026-08-01T00:00", ["2026-08-31", "2026-09-30", "2026-10-30"]),
    (2, "0 0 31W * *", "2026-05-01T00:00", ["2026-05-29", "2026-07-31", "2026-08-31"]),
    (2, "0 0 * * fri#2", "2026-11-01T00:00", ["2026-11-13", "2026-12-11", "2027-01-08"]),
    (2, "0 0 * * 1#5", "2026-11-01T00:00", ["2026-11-30", "2027-03-29"]),
    (2, "0 0 * * 7#1", "2026-11-02T00:00", ["2026-12-06", "2027-01-03"]),
    (2, "0 0 * * 5L", "2026-11-01T00:00", ["2026-11-27", "2026-12-25"]),
    (2, "0 0 * * friL,mon#1", "2026-11-01T00:00", ["2026-11-02", "2026-11-27", "2026-12-07"]),
    (2, "0 0 15,L * *", "2026-11-01T00:00", ["2026-11-15", "2026-11-30", "2026-12-15"]),
    (4, "0 0 31 * *", "2027-01-01T00:00", ["2027-01-31", "2027-03-31", "2027-05-31"]),
    (4, "0 0 29 2 *", "2027-01-01T00:00", ["2028-02-29", "2032-02-29"]),
    (5, "0 0 29 2 *", "2096-03-01T00:00", ["2104-02-29"]),
]


@pytest.mark.parametrize(
    ("rule", "text", "after", "days"),
    [pytest.param(*row, marks=pytest.mark.semantics(row[0])) for row in DAYS],
)
def test_days(rule: int, text: str, after: str, days: list[str]) -> None:
    spec = cron(text, day_match="and")
    assert [fire[:10] for fire in fires(spec, after, len(days))] == days


@pytest.mark.semantics(2)
def test_ranges_that_wrap() -> None:
    hours = [fire[11:13] for fire in fires(cron("0 22-2 * * *"), "2026-11-21T00:30", 6)]
    assert hours == ["01", "02", "22", "23", "00", "01"]


@pytest.mark.semantics(3)
@pytest.mark.parametrize(
    ("text", "day_match", "days"),
    [
        ("0 0 13 * 5", "and", ["2026-11-13", "2027-08-13"]),
        ("0 0 13 * 5", "vixie", ["2026-11-06", "2026-11-13", "2026-11-20"]),
        ("0 0 */2 * 5", "vixie", ["2026-11-13", "2026-11-27"]),
        ("0 0 13 * */5", "vixie", ["2026-11-13", "2026-12-13"]),
        ("0 0 1-31 * 5", "vixie", ["2026-11-01", "2026-11-02"]),
        ("0 0 1-31 * 5", "and", ["2026-11-06", "2026-11-13"]),
    ],
)
def test_day_of_month_and_day_of_week(text: str, day_match: str, days: list[str]) -> None:
    spec = cron(text, day_match=day_match)
    assert [fire[:10] for fire in fires(spec, "2026-10-31T12:00", len(days))] == days


@pytest.mark.semantics(3)
def test_a_new_schedule_that_restricts_both_days_must_choose() -> None:
    with pytest.raises(CronError, match=r"choose .* `--day-match and\|vixie`"):
        parse_expression("0 0 13 * 5")
    assert parse_expression("0 0 13 * *").day_match == "and"
    assert parse_expression("0 0 */2 * 5").day_match == "and"


@pytest.mark.semantics(4)
@pytest.mark.parametrize(
    ("text", "days"),
    [
        ("0 0 31 * *", ["2027-01-31", "2027-02-28", "2027-03-31", "2027-04-30"]),
        ("0 0 29-31 2,4 *", ["2027-02-28", "2027-04-29", "2027-04-30", "2028-02-29"]),
        ("0 0 30 2 *", ["2027-02-28", "2028-02-29"]),
    ],
)
def test_month_end_clamp(text: str, days: list[str]) -> None:
    spec = cron(text, month_end="clamp")
    assert [fire[:10] for fire in fires(spec, "2027-01-01T00:00", len(days))] == days


@pytest.mark.semantics(4)
def test_month_intervals_step_from_the_anchor() -> None:
    spec = CalendarIntervalSpec(1, "month", datetime(2027, 1, 31, 9), tz="Europe/Berlin")
    assert fires(spec, "2027-01-01T00:00", 4) == [
        "2027-01-31T09:00+01:00",
        "2027-02-28T09:00+01:00",
        "2027-03-31T09:00+02:00",
        "2027-04-30T09:00+02:00",
    ]
    notes = [nominal.note for nominal in nominals(spec, utc("2027-01-01"), limit=3)]
    assert notes == [None, "month_end", None]


NEVER = [
    ("0 0 30 2 *", "never fires"),
    ("0 0 31 4,6 *", "never fires"),
    ("*/0 * * * *", "minute field .* step of 0 never fires"),
    ("0 0 * * 1#6", "day of week field .* never fires"),
    ("60 * * * *", "minute field .* 60 is above 59"),
    ("0 24 * * *", "hour field .* 24 is above 23"),
    ("0 0 0 * *", "day of month field .* 0 is below 1"),
    ("0 0 * 13 *", "month field .* 13 is above 12"),
    ("0 0 * * 8", "day of week field .* 8 is above 7"),
    ("0 0 L-31 * *", "never fires"),
    ("0 0 31W 2 *", "never fires"),
    ("0 0 1 * 1#2", "no day is both"),
    ("0 0 L-30 2 *", "never fires"),
]


@pytest.mark.semantics(5)
@pytest.mark.parametrize(("text", "reason"), NEVER)
def test_what_never_fires_is_refused_with_the_reason(text: str, reason: str) -> None:
    with pytest.raises(CronError, match=reason) as caught:
        parse_expression(text, day_match="and")
    message = str(caught.value)
    assert message.endswith(".")
    assert "\n" not in message


@pytest.mark.semantics(5)
def test_the_search_is_bounded() -> None:
    # Since 2007 this hour has been the gap every single year, and the policy skips gaps.
    gone = CronSpec("30", "2", "*", "3", "0#2", tz="America/New_York", gap="skip")
    assert next_after(gone, utc("2027-01-01")) is None
    assert next_after(cron("* * * * *"), datetime.max.replace(tzinfo=UTC)) is None
    last = utc("9998-12-30T23:30")
    assert len(list(nominals(cron("0 0 * * *", "Pacific/Auckland"), last, limit=5))) < 5


@pytest.mark.semantics(6)
@pytest.mark.parametrize("zone", ["Europe/Berlinn", "../etc/passwd", "", "Europe"])
def test_unknown_zones_are_refused(zone: str) -> None:
    with pytest.raises(CronError, match=r"time zone .* is unknown"):
        parse_expression("0 0 * * *", tz=zone)


@pytest.mark.semantics(6)
def test_a_schedule_is_read_in_its_zone_and_answered_in_utc() -> None:
    found = next_after(cron("30 9 * * *", "Asia/Kolkata"), utc("2026-11-21T00:00"))
    assert found == Nominal(utc("2026-11-21T04:00"))


DST = [
    # expression, zone, dst preset, local start, fires
    (
        "30 2 * * *", NEW_YORK, "debian", "2027-03-13T12:00",
        ["2027-03-14T03:00-04:00", "2027-03-15T02:30-04:00"],
    ),
    ("30 2 * * *", NEW_YORK, "aws", "2027-03-13T12:00", ["2027-03-15T02:30-04:00"]),
    ("30 2 * * *", NEW_YORK, "temporal", "2027-03-13T12:00", ["2027-03-15T02:30-04:00"]),
    (
        "*/30 * * * *", NEW_YORK, "debian", "2027-11-07T00:40",
        [
            "2027-11-07T01:00-04:00", "2027-11-07T01:30-04:00",
            "2027-11-07T01:00-05:00", "2027-11-07T01:30-05:00", "2027-11-07T02:00-05:00",
        ],
    ),
    (
        "30 1 * * *", NEW_YORK, "debian", "2027-11-06T12:00",
        ["2027-11-07T01:30-04:00", "2027-11-08T01:30-05:00"],
    ),
    (
        "30 1 * * *", NEW_YORK, "temporal", "2027-11-06T12:00",
        ["2027-11-07T01:30-04:00", "2027-11-07T01:30-05:00", "2027-11-08T01:30-05:00"],
    ),
    # Several nominals that fall on one gap end are one occurrence.
    (
        "0,15,30,45 2-3 * * *", NEW_YORK, "debian", "2027-03-13T23:00",
        ["2027-03-14T03:00-04:00", "2027-03-14T03:15-04:00"],
    ),
    # A wildcard hour lost in the gap is not made up for.
    (
        "30 */2 * * *", NEW_YORK, "debian", "2027-03-14T00:00",
        ["2027-03-14T00:30-05:00", "2027-03-14T04:30-04:00"],
    ),
    # Lord Howe moves by half an hour.
    (
        "15 2 * * *", "Australia/Lord_Howe", "debian", "2027-10-02T12:00",
        ["2027-10-03T02:30+11:00", "2027-10-04T02:15+11:00"],
    ),
    (
        "45 1 * * *", "Australia/Lord_Howe", "temporal", "2027-04-03T12:00",
        ["2027-04-04T01:45+11:00", "2027-04-04T01:45+10:30"],
    ),
    # Midnight itself may be missing.
    (
        "0 0 * * *", "America/Havana", "debian", "2027-03-13T12:00",
        ["2027-03-14T01:00-04:00", "2027-03-15T00:00-04:00"],
    ),
    # The 30th of December 2011 did not exist in Apia.
    (
        "0 10 * * *", "Pacific/Apia", "debian", "2011-12-29T09:00",
        ["2011-12-29T10:00-10:00", "2011-12-31T10:00+14:00"],
    ),
]  # fmt: skip


@pytest.mark.semantics(7)
@pytest.mark.parametrize(("text", "zone", "dst", "after", "expected"), DST)
def test_daylight_saving_time(text: str, zone: str, dst: str, after: str, expected: list[str]) -> None:
    assert fires(cron(text, zone, dst=dst), after, len(expected)) == expected


@pytest.mark.semantics(7)
def test_shift_keeps_the_distance_to_the_change() -> None:
    spec = CronSpec("30", "2", tz=NEW_YORK, gap="shift")
    assert fires(spec, "2027-03-13T12:00", 1) == ["2027-03-14T03:30-04:00"]


@pytest.mark.semantics(7)
def test_second_is_the_second_pass() -> None:
    spec = CronSpec("30", "1", tz=NEW_YORK, fold="second")
    assert fires(spec, "2027-11-06T12:00", 2) == [
        "2027-11-07T01:30-05:00",
        "2027-11-08T01:30-05:00",
    ]


@pytest.mark.semantics(7)
def test_notes_name_what_is_unusual() -> None:
    gap = next_after(cron("30 2 * * *", NEW_YORK), utc("2027-03-13T12:00"))
    fold = next_after(cron("30 1 * * *", NEW_YORK), utc("2027-11-06T12:00"))
    plain = next_after(cron("30 1 * * *", NEW_YORK), utc("2027-11-08T12:00"))
    assert [found.note for found in (gap, fold, plain) if found] == ["dst_gap", "dst_fold", None]
    merged = next_after(cron("0 2-3 * * *", NEW_YORK), utc("2027-03-13T12:00"))
    assert merged == Nominal(utc("2027-03-14T07:00"), "dst_gap")


@pytest.mark.semantics(7)
@pytest.mark.parametrize(
    ("gap", "fold", "expected"),
    [
        ("next_valid", "first", ["2027-03-14T03:00-04:00"]),
        ("shift", "first", ["2027-03-14T03:30-04:00"]),
        ("skip", "first", ["2027-03-15T02:30-04:00"]),
    ],
)
def test_calendar_intervals_meet_the_same_gap(gap: str, fold: str, expected: list[str]) -> None:
    spec = CalendarIntervalSpec(1, "day", datetime(2027, 3, 1, 2, 30), tz=NEW_YORK, gap=gap, fold=fold)
    assert fires(spec, "2027-03-13T12:00", 1) == expected


@pytest.mark.semantics(7)
def test_calendar_intervals_meet_the_same_fold() -> None:
    anchor = datetime(2027, 11, 1, 1, 30)
    both = CalendarIntervalSpec(1, "day", anchor, tz=NEW_YORK, fold="both")
    assert fires(both, "2027-11-06T12:00", 3) == [
        "2027-11-07T01:30-04:00",
        "2027-11-07T01:30-05:00",
        "2027-11-08T01:30-05:00",
    ]
    apia = CalendarIntervalSpec(1, "day", datetime(2011, 12, 1, 10), tz="Pacific/Apia")
    assert fires(apia, "2011-12-29T11:00", 1) == ["2011-12-31T10:00+14:00"]


@pytest.mark.semantics(8)
def test_an_interval_is_a_grid_of_elapsed_time() -> None:
    spec = IntervalSpec(timedelta(minutes=10), utc("2026-11-21T00:03"), timedelta(minutes=1))
    late = utc("2026-11-21T05:17:31.5")
    assert next_after(spec, late) == Nominal(utc("2026-11-21T05:24"))
    assert prev_before(spec, late) == Nominal(utc("2026-11-21T05:14"))
    assert next_after(spec, utc("2026-11-20")) == Nominal(utc("2026-11-21T00:04"))
    assert prev_before(spec, utc("2026-11-21T00:04")) is None
    assert count_between(spec, utc("2026-11-21T00:04"), utc("2026-11-21T01:04")) == 6
    assert count_between(spec, utc("2026-11-20"), utc("2026-11-21T00:04")) == 1


@pytest.mark.semantics(8)
def test_a_day_is_24_hours_or_the_same_wall_time() -> None:
    start = "2027-03-13T12:00"
    elapsed = IntervalSpec(timedelta(days=1), datetime(2027, 3, 1, 17, tzinfo=UTC))
    wall = CalendarIntervalSpec(1, "day", datetime(2027, 3, 1, 12), tz=NEW_YORK)
    zone = ZoneInfo(NEW_YORK)
    after = datetime.fromisoformat(start).replace(tzinfo=zone).astimezone(UTC)
    hours = [next_after(spec, after).at.astimezone(zone).hour for spec in (elapsed, wall)]
    assert hours == [13, 12]


@pytest.mark.semantics(8)
def test_a_calendar_interval_of_weeks_and_years() -> None:
    weeks = CalendarIntervalSpec(2, "week", datetime(2026, 11, 2, 9))
    assert [fire[:10] for fire in fires(weeks, "2026-11-03T00:00", 2)] == [
        "2026-11-16",
        "2026-11-30",
    ]
    years = CalendarIntervalSpec(1, "year", datetime(2024, 2, 29, 9))
    assert [fire[:10] for fire in fires(years, "2026-01-01T00:00", 3)] == [
        "2026-02-28",
        "2027-02-28",
        "2028-02-29",
    ]
    leap = CalendarIntervalSpec(1, "year", datetime(2024, 2, 29, 9), month_end="skip")
    assert fires(leap, "2025-01-01T00:00", 1) == ["2028-02-29T09:00+00:00"]
    assert prev_before(leap, utc("2028-02-29T09:00")) == Nominal(utc("2024-02-29T09:00"))
    assert prev_before(leap, utc("2024-02-29T09:00")) is None


@pytest.mark.semantics(8)
@given(
    every=st.integers(1, 5),
    unit=st.sampled_from(["day", "week", "month", "year"]),
    anchor=st.datetimes(datetime(2026, 1, 1), datetime(2027, 12, 31)),
    tz=st.sampled_from([NEW_YORK, "Pacific/Apia", "Australia/Lord_Howe", "UTC"]),
    fold=st.sampled_from(["first", "second", "both"]),
    gap=st.sampled_from(["next_valid", "skip", "shift"]),
    month_end=st.sampled_from(["skip", "clamp"]),
    start=st.datetimes(datetime(2025, 6, 1), datetime(2035, 1, 1), timezones=st.just(UTC)),
)
@settings(max_examples=100, deadline=None)
def test_searching_a_calendar_interval_is_walking_its_steps(start: datetime, **fields: object) -> None:
    spec = CalendarIntervalSpec(**fields)
    days = {"day": 1, "week": 7, "month": 28, "year": 365}[spec.unit] * spec.every
    steps = range(max((start.replace(tzinfo=None) - spec.anchor).days // days, 0) + 30)
    walked = [nominal for step in steps for nominal in calendar_interval.of_step(spec, step)]
    later = [nominal for nominal in walked if nominal.at > start]
    sooner = [nominal for nominal in walked if nominal.at < start]
    assert next_after(spec, start) == later[0]
    assert prev_before(spec, start) == (sooner[-1] if sooner else None)
    if sooner:
        assert next_after(spec, sooner[-1].at - timedelta(seconds=1)) == sooner[-1]


@pytest.mark.semantics(8)
@pytest.mark.parametrize("every", [timedelta(0), timedelta(seconds=-1)])
def test_an_interval_that_never_advances_is_refused(every: timedelta) -> None:
    with pytest.raises(ValueError, match="never fires"):
        IntervalSpec(every, utc("2026-11-21"))


@pytest.mark.semantics(9)
def test_a_one_shot_fires_once() -> None:
    at = datetime(2026, 11, 21, 10, tzinfo=ZoneInfo("Europe/Berlin"))
    spec = OneShotSpec(at)
    assert spec.at == utc("2026-11-21T09:00")
    assert next_after(spec, utc("2026-11-21T08:59")) == Nominal(utc("2026-11-21T09:00"))
    assert next_after(spec, utc("2026-11-21T09:00")) is None
    assert prev_before(spec, utc("2026-11-22")) == Nominal(utc("2026-11-21T09:00"))
    with pytest.raises(ValueError, match="has no time zone"):
        OneShotSpec(datetime(2026, 11, 21, 10))
