"""Cron schedules against a minute-by-minute scan of real time (SEMANTICS 2, 3, 6, 7).

The scan is written from the specification and shares no code with `jobs.rules`: it walks the UTC
minutes of a few days around a change of the clock, reads each on the local clock, and asks the
fields.
"""

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from functools import cache
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given, reject, settings
from hypothesis import strategies as st

from jobs.rules.crontab import CronError, CronSpec
from jobs.rules.timing import Nominal, count_between, nominals, prev_before

pytestmark = pytest.mark.semantics(7)

ZONES = (
    "Africa/Cairo", "Africa/Casablanca", "Africa/Johannesburg", "America/Adak",
    "America/Asuncion", "America/Caracas", "America/Chicago", "America/Godthab",
    "America/Havana", "America/Los_Angeles", "America/Mexico_City", "America/New_York",
    "America/Santiago", "America/Sao_Paulo", "America/Scoresbysund", "America/St_Johns",
    "Antarctica/Casey", "Antarctica/Macquarie", "Antarctica/Troll", "Asia/Amman",
    "Asia/Beirut", "Asia/Damascus", "Asia/Gaza", "Asia/Hebron", "Asia/Jerusalem", "Asia/Kathmandu",
    "Asia/Kolkata", "Asia/Pyongyang", "Asia/Tehran", "Asia/Tokyo", "Asia/Ulaanbaatar",
    "Atlantic/Azores", "Atlantic/Stanley", "Australia/Adelaide", "Australia/Lord_Howe",
    "Australia/Sydney", "Europe/Berlin", "Europe/Dublin", "Europe/Istanbul", "Europe/London",
    "Europe/Moscow", "Europe/Samara", "Europe/Volgograd", "Pacific/Apia", "Pacific/Auckland",
    "Pacific/Chatham", "Pacific/Easter", "Pacific/Fakaofo", "Pacific/Fiji", "Pacific/Norfolk",
    "Pacific/Tongatapu", "UTC",
)  # fmt: skip

MINUTE = timedelta(minutes=1)
LARGE = timedelta(hours=3)


@cache
def changes(zone: str) -> list[datetime]:
    """The minutes at which a zone's offset changed between 2005 and 2028, or two plain days."""
    tz = ZoneInfo(zone)
    found = []
    moment = datetime(2005, 1, 1, tzinfo=UTC)
    while moment.year < 2028:
        later = moment + timedelta(days=1)
        if moment.astimezone(tz).utcoffset() != later.astimezone(tz).utcoffset():
            found.append(first_minute_of(tz, moment, later))
        moment = later
    return found or [datetime(2027, 3, 14, tzinfo=UTC), datetime(2027, 10, 31, tzinfo=UTC)]


def first_minute_of(tz: ZoneInfo, moment: datetime, later: datetime) -> datetime:
    before = moment.astimezone(tz).utcoffset()
    while moment < later and moment.astimezone(tz).utcoffset() == before:
        moment += MINUTE
    return moment


def numbers(text: str, low: int, high: int) -> set[int]:
    """The values of a field of plain terms, read naively."""
    found = set()
    for term in text.split(","):
        body, _, step = term.partition("/")
        if body == "*":
            values = list(range(low, high + 1))
        elif "-" in body:
            first, last = map(int, body.split("-"))
            values = [first]
            while values[-1] != last:
                values.append(low if values[-1] == high else values[-1] + 1)
        else:
            values = [int(body)]
        found |= set(values[:: int(step or 1)])
    return found


class Fields:
    """The five fields as sets, and whether a wall time matches them."""

    def __init__(self, spec: CronSpec) -> None:
        self.minutes = numbers(spec.minute, 0, 59)
        self.hours = numbers(spec.hour, 0, 23)
        self.days = numbers(spec.day_of_month, 1, 31)
        self.months = numbers(spec.month_of_year, 1, 12)
        self.weekdays = numbers(spec.day_of_week, 0, 6)
        stars = spec.day_of_month.startswith("*") or spec.day_of_week.startswith("*")
        self.either = spec.day_match == "vixie" and not stars

    def match(self, wall: datetime) -> bool:
        if wall.minute not in self.minutes or wall.hour not in self.hours:
            return False
        if wall.month not in self.months:
            return False
        by_day = wall.day in self.days
        by_weekday = wall.isoweekday() % 7 in self.weekdays
        return by_day or by_weekday if self.either else by_day and by_weekday


def scan(spec: CronSpec, start: datetime, end: datetime) -> list[datetime]:
    """Every instant in ``(start, end]`` at which the specification says the schedule fires."""
    fields = Fields(spec)
    wildcard = spec.minute.startswith("*") or spec.hour.startswith("*")
    found = set()
    for instant, local, shift in minutes_of(spec.tz, start - LARGE, end):
        wall = local.replace(tzinfo=None)
        if wildcard:
            if fields.match(wall):
                found.add(instant)
            continue
        if timedelta(0) < shift < LARGE and spec.gap != "skip":
            for lost in range(int(shift / MINUTE)):
                if fields.match(wall - shift + lost * MINUTE):
                    found.add(instant if spec.gap == "next_valid" else instant + lost * MINUTE)
        if fields.match(wall) and chosen(spec, instant, local):
            found.add(instant)
    return sorted(instant for instant in found if start < instant <= end)


def minutes_of(zone: str, start: datetime, end: datetime) -> Iterator[tuple[datetime, datetime, timedelta]]:
    """Each UTC minute with its local time and by how much the clock has just moved."""
    tz = ZoneInfo(zone)
    before = (start - MINUTE).astimezone(tz).utcoffset()
    while start <= end:
        local = start.astimezone(tz)
        yield start, local, local.utcoffset() - before
        before = local.utcoffset()
        start += MINUTE


def chosen(spec: CronSpec, instant: datetime, local: datetime) -> bool:
    """Whether this pass of a wall time is one that fires; unrepeated times always do."""
    other = local.replace(fold=1 - local.fold).astimezone(UTC)
    if other.astimezone(local.tzinfo).replace(tzinfo=None) != local.replace(tzinfo=None):
        return True
    if other == instant or abs(other - instant) >= LARGE or spec.fold == "both":
        return True
    return (spec.fold == "first") == (instant < other)


minute_fields = st.sampled_from(
    ["*", "*/7", "*/30", "0", "30", "59", "0,30", "1-30/3", "15,45", "5-50/15", "50-10/5"]
)
hour_fields = st.sampled_from(
    ["*", "*/2", "*/3", "0", "1", "2", "3", "23", "0-3", "1-3", "22-2", "2,14", "0,1,2,3", "22-4/2"]
)
day_fields = st.sampled_from(["*", "*/2", "1-31", "1-7", "25-31", "8-15/2", "28-3"])
month_fields = st.sampled_from(["*", "*/2", "3-11", "1,3,4,9,10,11,12"])
weekday_fields = st.sampled_from(["*", "0", "0-6", "5-1", "6", "*/2", "0,6"])


@st.composite
def specs(draw: st.DrawFn) -> tuple[CronSpec, datetime]:
    zone = draw(st.sampled_from(ZONES))
    change = draw(st.sampled_from(changes(zone)))
    spec = CronSpec(
        minute=draw(minute_fields),
        hour=draw(hour_fields),
        day_of_month=draw(day_fields),
        month_of_year=draw(month_fields),
        day_of_week=draw(weekday_fields),
        tz=zone,
        day_match=draw(st.sampled_from(["and", "vixie"])),
        gap=draw(st.sampled_from(["next_valid", "skip", "shift"])),
        fold=draw(st.sampled_from(["first", "second", "both"])),
    )
    return spec, change + draw(st.integers(-200, 200)) * MINUTE


@given(specs())
@settings(max_examples=250, deadline=None)
@example((CronSpec("0", "10", tz="Pacific/Apia"), datetime(2011, 12, 30, 10, tzinfo=UTC)))
@example((CronSpec("0,15", "2", tz="Australia/Lord_Howe"), datetime(2027, 10, 2, 15, 30, tzinfo=UTC)))
@example((CronSpec("30", "1", tz="Antarctica/Casey"), datetime(2018, 3, 10, 17, tzinfo=UTC)))
def test_every_zone_agrees_with_the_scan(case: tuple[CronSpec, datetime]) -> None:
    spec, middle = case
    start, end = middle - timedelta(hours=30), middle + timedelta(hours=30)
    expected = scan(spec, start, end)
    found = list(nominals(spec, start, end))
    assert [nominal.at for nominal in found] == expected
    assert count_between(spec, start, end) == len(expected)
    assert backwards(spec, start, end) == found


@given(specs(), st.integers(0, 3600), st.integers(0, 3600))
@settings(max_examples=60, deadline=None)
def test_counting_any_stretch_agrees_with_the_scan(
    case: tuple[CronSpec, datetime], before: int, length: int
) -> None:
    spec, middle = case
    start = middle - timedelta(seconds=before)
    end = start + timedelta(seconds=length)
    assert count_between(spec, start, end) == len(scan(spec, floor(start), end)) - len(
        scan(spec, floor(start), start)
    )


def test_the_scan_covers_both_directions_in_forty_zones() -> None:
    forward = {zone for zone in ZONES if any(shift_at(zone, at) > timedelta(0) for at in changes(zone))}
    back = {zone for zone in ZONES if any(shift_at(zone, at) < timedelta(0) for at in changes(zone))}
    assert len(forward) >= 40
    assert len(back) >= 40


def shift_at(zone: str, instant: datetime) -> timedelta:
    tz = ZoneInfo(zone)
    return instant.astimezone(tz).utcoffset() - (instant - MINUTE).astimezone(tz).utcoffset()


def floor(moment: datetime) -> datetime:
    """The minute before, so that the scan walks whole minutes."""
    return moment.replace(second=0, microsecond=0) - MINUTE


def backwards(spec: CronSpec, start: datetime, end: datetime) -> list[Nominal]:
    found = []
    nominal = prev_before(spec, end + timedelta(microseconds=1))
    while nominal is not None and nominal.at > start:
        found.append(nominal)
        nominal = prev_before(spec, nominal.at)
    return found[::-1]


@st.composite
def day_choices(draw: st.DrawFn) -> CronSpec:
    """Midnights chosen by days, months and weekdays; what never fires is refused elsewhere."""
    try:
        return CronSpec(
            minute="0",
            hour="0",
            day_of_month=draw(st.sampled_from(["*", "1", "13", "28-31", "31", "*/5", "29"])),
            month_of_year=draw(st.sampled_from(["*", "2", "1,4", "*/3", "2,12"])),
            day_of_week=draw(st.sampled_from(["*", "1", "5", "0,3", "1-5", "*/3"])),
            day_match=draw(st.sampled_from(["and", "vixie"])),
        )
    except CronError:
        reject()


@pytest.mark.semantics(3)
@given(day_choices(), st.dates(date(1990, 1, 1), date(2090, 1, 1)))
@settings(max_examples=60, deadline=None)
def test_days_agree_with_a_day_by_day_scan(spec: CronSpec, start: date) -> None:
    fields = Fields(spec)
    first = datetime(start.year, start.month, start.day, tzinfo=UTC)
    days = [first + timedelta(days=number) for number in range(1, 1200)]
    expected = [day for day in days if fields.match(day)]
    assert [nominal.at for nominal in nominals(spec, first, days[-1])] == expected
    assert count_between(spec, first, days[-1]) == len(expected)
