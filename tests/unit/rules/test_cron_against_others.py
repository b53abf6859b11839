"""The same expressions in Celery and in cronsim: where they agree, and each known difference."""

import re
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import cronsim
import pytest
from celery import Celery
from celery.schedules import ParseException, crontab
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from jobs.rules.crontab import CronError, CronSpec, parse_expression
from jobs.rules.timing import next_after, nominals

pytestmark = pytest.mark.semantics(2)

NEW_YORK = "America/New_York"


@st.composite
def fields(draw: st.DrawFn, low: int, high: int, names: tuple[str, ...] = ()) -> str:
    """A field of up to three plain terms in Celery's syntax."""
    number = st.integers(low, high).map(str)
    token = st.one_of(number, st.sampled_from(names)) if names else number
    span = st.tuples(token, token).map("-".join)
    step = st.integers(1, 20).map("/{}".format)
    term = st.one_of(
        token,
        span,
        st.just("*"),
        st.tuples(st.one_of(span, st.just("*")), step).map("".join),
    )
    terms = draw(st.lists(term, min_size=1, max_size=3))
    return "*" if "*" in terms else ",".join(terms)


expressions = st.tuples(
    fields(0, 59),
    fields(0, 23),
    st.one_of(st.just("*"), fields(1, 31)),
    st.one_of(st.just("*"), fields(1, 12, ("jan", "Feb", "december"))),
    st.one_of(st.just("*"), fields(0, 6, ("mon", "Friday", "SUN"))),
)
moments = st.datetimes(datetime(2000, 1, 1), datetime(2060, 1, 1), timezones=st.just(UTC))


def celery_next(spec: CronSpec, after: datetime, count: int) -> list[datetime]:
    app = Celery(set_as_current=False)
    app.conf.timezone = spec.tz
    schedule = crontab(
        spec.minute,
        spec.hour,
        spec.day_of_week,
        spec.day_of_month,
        spec.month_of_year,
        nowfun=lambda: after,
        app=app,
    )
    found = []
    for _ in range(count):
        after = after + schedule.remaining_estimate(after)
        found.append(after.astimezone(UTC))
    return found


@given(expressions, moments)
@settings(max_examples=150, deadline=None)
def test_celery_agrees_in_utc(expression: tuple[str, ...], after: datetime) -> None:
    try:
        spec = parse_expression(" ".join(expression), day_match="and")
    except CronError as error:
        # Days that are never both: Celery accepts the row and searches until 2,000 years are over.
        assume("never fires" not in str(error))
        raise
    ours = [nominal.at for nominal in nominals(spec, after, limit=3)]
    # Celery gives up on what is rarer than about a dozen years.
    assume(ours and ours[-1] - after < timedelta(days=3650))
    assert ours == celery_next(spec, after.replace(microsecond=0), 3)


@pytest.mark.parametrize(
    "expression",
    ["*/0 * * * *", "60 * * * *", "* 24 * * *", "* * 0 * *", "* * 32 * *", "* * * 13 *",
     "* * 30 2 *", "* * * * 8", "5/10 * * * *", "*/ * * * *", "1,,2 * * * *", "x * * * *",
     "-1 * * * *", "1-60 * * * *", "*/a * * * *"],
)  # fmt: skip
def test_both_refuse(expression: str) -> None:
    with pytest.raises(CronError):
        parse_expression(expression)
    minute, hour, day, month, weekday = expression.split()
    with pytest.raises((ValueError, ParseException)):
        crontab(minute, hour, weekday, day, month)


class TestKnownDifferences:
    """Each one on purpose; Celery's side is asserted too, so that a change of Celery shows."""

    def test_seven_is_sunday(self) -> None:
        assert parse_expression("0 0 * * 7")
        with pytest.raises(ValueError, match="7 > 6"):
            crontab(day_of_week="7")

    @pytest.mark.parametrize("minute", ["1-5-7", "*/5/2", "1-5/2/3"])
    def test_celery_ignores_what_follows_a_term(self, minute: str) -> None:
        assert crontab(minute=minute)
        with pytest.raises(CronError):
            CronSpec(minute=minute)

    @pytest.mark.parametrize("minute", ["mon", "1_0", "+5"])
    def test_celery_reads_any_word_or_number_anywhere(self, minute: str) -> None:
        assert crontab(minute=minute)
        with pytest.raises(CronError, match="is not a number"):
            CronSpec(minute=minute)

    def test_celery_reads_three_letters_and_ignores_the_rest(self) -> None:
        assert crontab(day_of_week="mondrian")
        with pytest.raises(CronError, match="is not a name or number"):
            CronSpec(day_of_week="mondrian")

    @pytest.mark.parametrize(
        ("day", "weekday"),
        [("L", "*"), ("LW", "*"), ("15W", "*"), ("L-3", "*"), ("*", "5L"), ("*", "1#2")],
    )
    def test_celery_has_no_day_extensions(self, day: str, weekday: str) -> None:
        assert CronSpec(day_of_month=day, day_of_week=weekday)
        with pytest.raises(ValueError):
            crontab(day_of_month=day, day_of_week=weekday)

    def test_celery_fires_after_the_gap_by_its_length(self) -> None:
        spec = parse_expression("30 2 * * *", tz=NEW_YORK)
        eve = datetime(2027, 3, 13, 12, tzinfo=UTC)
        ours = next_after(spec, eve)
        assert ours is not None
        assert local_times([ours.at]) == ["03:00-0400"]
        assert local_times(celery_next(spec, eve, 1)) == ["03:30-0400"]

    def test_celery_loses_the_repeated_hour(self) -> None:
        spec = parse_expression("*/30 * * * *", tz=NEW_YORK)
        before = datetime(2027, 11, 7, 5, 0, tzinfo=UTC)
        ours = [nominal.at for nominal in nominals(spec, before, limit=3)]
        assert local_times(ours) == ["01:30-0400", "01:00-0500", "01:30-0500"]
        assert local_times(celery_next(spec, before, 2)) != local_times(ours[:2])


class TestCronsim:
    """cronsim follows Debian cron, as the default pair does."""

    @given(expressions, moments)
    @settings(max_examples=100, deadline=None)
    def test_agrees_in_utc(self, expression: tuple[str, ...], after: datetime) -> None:
        text = " ".join(plain(part) for part in expression)
        # cronsim reads the empty range `3-3/5` as `3/5`, a step to the end of the field.
        assume(not re.search(r"\b(\w+)-\1/", text))
        try:
            spec = parse_expression(text, day_match="vixie")
            theirs = cronsim.CronSim(text, after.replace(microsecond=0))
        except (CronError, cronsim.CronSimError):
            assume(False)
        assert next_after(spec, after).at == next(theirs).astimezone(UTC)

    @pytest.mark.parametrize("zone", [NEW_YORK, "Europe/Berlin", "Australia/Lord_Howe"])
    @pytest.mark.parametrize("day", ["2027-03-13", "2027-03-27", "2027-10-02", "2027-11-06"])
    @pytest.mark.parametrize(
        "text", ["30 2 * * *", "*/30 * * * *", "30 1 * * *", "15 */2 * * *", "0,30 1-3 * * *"]
    )
    def test_agrees_around_changes_of_the_clock(self, zone: str, day: str, text: str) -> None:
        start = datetime.fromisoformat(f"{day}T12:00").replace(tzinfo=ZoneInfo(zone))
        theirs = cronsim.CronSim(text, start)
        ours = nominals(parse_expression(text, tz=zone), start, limit=12)
        expected = list(dict.fromkeys(next(theirs).astimezone(UTC) for _ in range(12)))
        assert [nominal.at for nominal in ours][: len(expected)] == expected


def plain(part: str) -> str:
    """The part with its names as numbers, so that a range such as `1-mon` is seen to be empty."""
    numbers = {"jan": 1, "feb": 2, "december": 12, "mon": 1, "friday": 5, "sun": 0}
    return re.sub(r"[a-z]+", lambda found: str(numbers[found[0]]), part.lower())


def local_times(instants: list[datetime]) -> list[str]:
    return [instant.astimezone(ZoneInfo(NEW_YORK)).strftime("%H:%M%z") for instant in instants]
