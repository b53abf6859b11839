"""What the decision beat makes of the nominals that are due (SEMANTICS 11-15, 18, 22)."""

from datetime import UTC, date, datetime, time, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobs.rules import jitter
from jobs.rules.blackouts import Blackout
from jobs.rules.calendars import Calendar, WeeklyWindow
from jobs.rules.crontab import parse_expression
from jobs.rules.planning import Firing, FiringPolicy, Plan, Skipped, plan, preview
from jobs.rules.timing import IntervalSpec, OneShotSpec, TimingSpec, nominals

DAILY_TEN = parse_expression("0 10 * * *")
WEEKEND = WeeklyWindow(frozenset({6, 7}))
WORKDAYS = Calendar("workdays", exclude_windows=(WEEKEND,))


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def every(seconds: float, anchor: str = "2026-11-01") -> IntervalSpec:
    return IntervalSpec(timedelta(seconds=seconds), utc(anchor))


def decide(
    spec: TimingSpec, cursor: str, now: str, *, runs: int = 0, paused: bool = False, **policy: object
) -> Plan:
    return plan(
        "k",
        spec,
        FiringPolicy(**policy),
        cursor=utc(cursor),
        now=utc(now),
        runs=runs,
        paused=paused,
    )


def times(found: Plan) -> list[str]:
    return [firing.scheduled_for.isoformat(timespec="minutes")[:16] for firing in found.fire]


def test_nothing_due() -> None:
    found = decide(DAILY_TEN, "2026-11-21T10:00", "2026-11-21T18:00")
    assert found == Plan((), (), utc("2026-11-21T18:00"), utc("2026-11-22T10:00"))


def test_one_nominal_on_time() -> None:
    found = decide(DAILY_TEN, "2026-11-20T10:00", "2026-11-21T10:00:00.4")
    ten = utc("2026-11-21T10:00")
    assert found == Plan((Firing(ten, ten),), (), utc("2026-11-21T10:00:00.4"), utc("2026-11-22T10:00"))


@pytest.mark.semantics(1)
def test_nothing_is_decided_twice_however_time_is_cut() -> None:
    spec = every(7)
    cursor, end = utc("2026-11-21T09:00"), utc("2026-11-21T09:05")
    expected = [nominal.at for nominal in nominals(spec, cursor, end)]
    decided = []
    while cursor < end:
        found = plan("k", spec, FiringPolicy(), cursor=cursor, now=cursor + timedelta(seconds=9))
        decided += [firing.scheduled_for for firing in found.fire]
        cursor = found.cursor
    assert [at for at in decided if at <= end] == expected


@pytest.mark.semantics(1)
def test_a_clock_that_went_back_decides_nothing_and_forgets_nothing() -> None:
    found = decide(DAILY_TEN, "2026-11-21T10:00", "2026-11-21T08:00")
    assert found == Plan((), (), utc("2026-11-21T10:00"), utc("2026-11-22T10:00"))


@pytest.mark.semantics(11)
class TestBounds:
    def test_start_is_inclusive(self) -> None:
        start = utc("2026-11-25T10:00")
        found = decide(DAILY_TEN, "2026-11-20", "2026-11-21", start=start)
        assert (found.fire, found.skipped, found.next_nominal) == ((), (), start)
        assert times(decide(DAILY_TEN, "2026-11-21", "2026-11-25T10:00", start=start)) == ["2026-11-25T10:00"]

    def test_end_is_inclusive(self) -> None:
        end = utc("2026-11-21T10:00")
        found = decide(DAILY_TEN, "2026-11-20T10:00", "2026-11-21T10:00:01", end=end)
        assert times(found) == ["2026-11-21T10:00"]
        assert found.next_nominal is None
        before = decide(DAILY_TEN, "2026-11-20T10:00", "2026-11-20T11:00", end=end)
        assert before.next_nominal == end

    def test_nothing_after_the_end_is_missed(self) -> None:
        end = utc("2026-11-21T10:00")
        found = decide(DAILY_TEN, "2026-11-20T11:00", "2026-11-28T11:00", end=end)
        assert found.fire == ()
        assert found.skipped == (Skipped("missed", end, end, 1),)

    def test_max_runs_counts_what_fires(self) -> None:
        found = decide(every(15), "2026-11-21T12:00", "2026-11-21T12:05", catch_up="all",
                       max_runs=5, runs=2)  # fmt: skip
        assert len(found.fire) == 3
        assert found.skipped == ()
        assert found.next_nominal is None
        assert found.fire[0].scheduled_for == utc("2026-11-21T12:00:15")

    def test_after_max_runs_there_are_no_nominals(self) -> None:
        found = decide(every(15), "2026-11-21T12:00", "2026-11-21T12:05", max_runs=2, runs=2)
        assert found == Plan((), (), utc("2026-11-21T12:05"), None)

    def test_the_last_run_reports_what_was_missed_before_it(self) -> None:
        found = decide(every(60), "2026-11-21T12:00", "2026-11-21T12:05", max_runs=1)
        assert times(found) == ["2026-11-21T12:05"]
        assert found.skipped == (Skipped("missed", utc("2026-11-21T12:01"), utc("2026-11-21T12:04"), 4),)

    def test_skips_do_not_use_up_runs(self) -> None:
        found = decide(every(60), "2026-11-21T12:00", "2026-11-21T12:05:30", catch_up="none",
                       max_runs=1)  # fmt: skip
        assert found.fire == ()
        assert found.next_nominal == utc("2026-11-21T12:06")


@pytest.mark.semantics(12)
class TestJitter:
    def test_the_same_on_every_node_and_in_the_preview(self) -> None:
        policy = FiringPolicy(jitter=timedelta(minutes=30))
        ten = utc("2026-11-21T10:00")
        fired = plan("k", DAILY_TEN, policy, cursor=ten - timedelta(hours=1), now=ten).fire[0]
        shown = preview("k", DAILY_TEN, policy, after=ten - timedelta(hours=1), limit=1)[0]
        assert fired.scheduled_for == shown.scheduled_for == ten
        assert fired.runs_at == shown.runs_at == ten + jitter.offset("k", ten, timedelta(minutes=30))

    def test_the_window_ends_at_the_next_nominal(self) -> None:
        policy = FiringPolicy(jitter=timedelta(hours=1))
        shown = preview("k", every(60), policy, after=utc("2026-11-21"), limit=50)
        assert all(item.runs_at - item.scheduled_for < timedelta(seconds=60) for item in shown)


@pytest.mark.semantics(13)
class TestCalendars:
    def test_an_excluded_nominal_is_skipped_with_its_reason(self) -> None:
        found = decide(DAILY_TEN, "2026-11-20T10:00", "2026-11-23T10:00", calendar=WORKDAYS)
        assert times(found) == ["2026-11-23T10:00"]
        assert found.skipped == (Skipped("excluded", utc("2026-11-21T10:00"), utc("2026-11-22T10:00"), 2),)

    def test_the_next_nominal_is_one_that_can_fire(self) -> None:
        found = decide(DAILY_TEN, "2026-11-20T09:00", "2026-11-20T10:00", calendar=WORKDAYS)
        assert found.next_nominal == utc("2026-11-23T10:00")

    @pytest.mark.parametrize(
        ("roll", "expected"),
        [
            ("skip", ["2027-03-01", "2027-04-01", "2027-06-01"]),
            ("next", ["2027-03-01", "2027-04-01", "2027-05-03"]),
            ("previous", ["2027-03-01", "2027-04-01", "2027-04-30"]),
            ("modified_next", ["2027-03-01", "2027-04-01", "2027-05-03"]),
        ],
    )
    def test_rolls_from_the_first_of_the_month(self, roll: str, expected: list[str]) -> None:
        spec = parse_expression("0 10 1 * *")
        policy = FiringPolicy(calendar=WORKDAYS, roll=roll)
        shown = preview("k", spec, policy, after=utc("2027-02-15"), limit=3)
        assert [str(item.scheduled_for)[:10] for item in shown] == expected

    def test_modified_next_stays_in_the_month(self) -> None:
        spec = parse_expression("0 10 L * *")
        policy = FiringPolicy(calendar=WORKDAYS, roll="modified_next")
        shown = preview("k", spec, policy, after=utc("2027-01-15"), limit=2)
        assert [str(item.scheduled_for)[:10] for item in shown] == ["2027-01-29", "2027-02-26"]

    def test_a_roll_onto_another_nominal_is_one_run(self) -> None:
        found = decide(DAILY_TEN, "2026-11-20T11:00", "2026-11-24T11:00", calendar=WORKDAYS,
                       roll="next", catch_up="all", catchup_window=timedelta(days=3))  # fmt: skip
        assert times(found) == ["2026-11-23T10:00", "2026-11-24T10:00"]

    def test_a_roll_to_an_earlier_day_is_decided_on_that_day(self) -> None:
        spec = parse_expression("0 10 22 11 *")
        policy = FiringPolicy(calendar=WORKDAYS, roll="previous")
        found = plan("k", spec, policy, cursor=utc("2026-11-19"), now=utc("2026-11-20T10:00"))
        assert times(found) == ["2026-11-20T10:00"]
        assert found.fire[0].note == "rolled"
        assert found.next_nominal == utc("2027-11-22T10:00")

    def test_a_calendar_follows_the_zone_of_the_schedule(self) -> None:
        spec = parse_expression("0 1 * * *", tz="Asia/Tokyo")
        shown = preview("k", spec, FiringPolicy(calendar=WORKDAYS), after=utc("2026-11-19T12:00"),
                        limit=2)  # fmt: skip
        assert [item.local.strftime("%a %H") for item in shown] == ["Fri 01", "Mon 01"]

    def test_a_schedule_that_only_meets_closed_days_has_no_next(self) -> None:
        spec = parse_expression("0 10 * * sat")
        assert decide(spec, "2026-11-20", "2026-11-20", calendar=WORKDAYS).next_nominal is None


@pytest.mark.semantics(14)
class TestBlackouts:
    PEAK = WeeklyWindow(frozenset(range(1, 8)), time(9), time(11))

    def test_skip(self) -> None:
        peak = Blackout("peak", windows=(self.PEAK,))
        found = decide(every(1800), "2026-11-21T08:45", "2026-11-21T11:00:05", blackouts=(peak,),
                       catch_up="all")  # fmt: skip
        assert times(found) == ["2026-11-21T11:00"]
        assert found.skipped == (Skipped("blackout", utc("2026-11-21T09:00"), utc("2026-11-21T10:30"), 4),)

    def test_defer_to_end(self) -> None:
        peak = Blackout("peak", "defer_to_end", windows=(self.PEAK,))
        found = decide(DAILY_TEN, "2026-11-21T08:45", "2026-11-21T10:00", blackouts=(peak,))
        assert found.fire == (Firing(utc("2026-11-21T10:00"), utc("2026-11-21T11:00")),)

    def test_deferral_crosses_windows_that_touch(self) -> None:
        peak = Blackout("peak", "defer_to_end", windows=(self.PEAK,))
        span = (utc("2026-11-21T10:30"), utc("2026-11-21T12:15"))
        upgrade = Blackout("upgrade", "defer_to_end", spans=(span,))
        found = decide(DAILY_TEN, "2026-11-21", "2026-11-21T10:00", blackouts=(peak, upgrade))
        assert found.fire[0].runs_at == utc("2026-11-21T12:15")

    def test_jitter_does_not_carry_a_start_into_a_blackout(self) -> None:
        span = (utc("2026-11-21T10:00:01"), utc("2026-11-21T11:00"))
        policy = {"jitter": timedelta(minutes=30)}
        skips = Blackout("b", spans=(span,))
        defers = Blackout("b", "defer_to_end", spans=(span,))
        ran = decide(DAILY_TEN, "2026-11-21", "2026-11-21T10:00", blackouts=(skips,), **policy)
        deferred = decide(DAILY_TEN, "2026-11-21", "2026-11-21T10:00", blackouts=(defers,), **policy)
        assert ran.fire[0].runs_at == utc("2026-11-21T10:00")
        assert deferred.fire[0].runs_at == utc("2026-11-21T11:00")


@pytest.mark.semantics(15)
class TestCatchUp:
    def test_daily_ten_with_downtime_from_nine_to_three(self) -> None:
        down = ("2026-11-21T09:00", "2026-11-21T15:00")
        ten = utc("2026-11-21T10:00")
        for mode in ("latest", "earliest", "all"):
            assert decide(DAILY_TEN, *down, catch_up=mode).fire == (Firing(ten, ten),)
        none = decide(DAILY_TEN, *down, catch_up="none")
        assert none.fire == ()
        assert none.skipped == (Skipped("missed", ten, ten, 1),)
        assert none.next_nominal == utc("2026-11-22T10:00")

    @pytest.mark.parametrize(
        ("mode", "fired", "first", "last"),
        [
            ("all", 20, "2026-11-21T12:00:15", "2026-11-21T12:05:00"),
            ("latest", 1, "2026-11-21T12:05:00", "2026-11-21T12:05:00"),
            ("earliest", 1, "2026-11-21T12:00:15", "2026-11-21T12:00:15"),
            ("none", 1, "2026-11-21T12:05:00", "2026-11-21T12:05:00"),
        ],
    )
    def test_every_15_seconds_down_for_5_minutes(self, mode: str, fired: int, first: str, last: str) -> None:
        found = decide(every(15), "2026-11-21T12:00", "2026-11-21T12:05", catch_up=mode)
        assert len(found.fire) == fired
        assert found.fire[0].scheduled_for == utc(first)
        assert found.fire[-1].scheduled_for == utc(last)
        assert sum(item.count for item in found.skipped) == 20 - fired
        assert [item.scheduled_for for item in found.fire] == sorted(
            item.scheduled_for for item in found.fire
        )

    def test_older_than_the_window_is_missed(self) -> None:
        found = decide(DAILY_TEN, "2026-11-18T09:00", "2026-11-21T09:00", catch_up="all")
        assert times(found) == ["2026-11-20T10:00"]
        assert found.skipped == (Skipped("missed", utc("2026-11-18T10:00"), utc("2026-11-19T10:00"), 2),)
        late = decide(DAILY_TEN, "2026-11-18T09:00", "2026-11-19T09:00",
                      catchup_window=timedelta(hours=1))  # fmt: skip
        assert late.fire == ()
        assert late.skipped[0].count == 1

    def test_earliest_is_the_earliest_inside_the_window(self) -> None:
        found = decide(DAILY_TEN, "2026-11-15", "2026-11-21T12:00", catch_up="earliest",
                       catchup_window=timedelta(days=3))  # fmt: skip
        assert times(found) == ["2026-11-19T10:00"]
        assert found.skipped == (Skipped("missed", utc("2026-11-15T10:00"), utc("2026-11-21T10:00"), 6),)

    def test_max_catchup_keeps_the_most_recent(self) -> None:
        found = decide(every(60), "2026-11-21T00:00", "2026-11-21T10:00", catch_up="all",
                       max_catchup=3)  # fmt: skip
        assert times(found) == ["2026-11-21T09:58", "2026-11-21T09:59", "2026-11-21T10:00"]
        assert found.skipped == (Skipped("missed", utc("2026-11-21T00:01"), utc("2026-11-21T09:57"), 597),)

    def test_a_day_of_missed_seconds_is_one_row(self) -> None:
        found = decide(every(1), "2026-11-20T12:00", "2026-11-21T12:00:00.5")
        assert [item.scheduled_for for item in found.fire] == [utc("2026-11-21T12:00")]
        assert found.skipped == (
            Skipped("missed", utc("2026-11-20T12:00:01"), utc("2026-11-21T11:59:59"), 86_399),
        )

    def test_a_beat_that_is_a_little_late_misses_nothing(self) -> None:
        for mode in ("latest", "earliest", "all", "none"):
            found = decide(every(1), "2026-11-21T12:00", "2026-11-21T12:00:03.2", catch_up=mode)
            assert len(found.fire) == 3, mode
            assert found.skipped == ()

    def test_missed_and_excluded_are_told_apart(self) -> None:
        found = decide(DAILY_TEN, "2026-11-18T09:00", "2026-11-23T09:00", calendar=WORKDAYS,
                       catchup_window=timedelta(days=30))  # fmt: skip
        assert times(found) == ["2026-11-20T10:00"]
        assert found.skipped == (
            Skipped("missed", utc("2026-11-18T10:00"), utc("2026-11-19T10:00"), 2),
            Skipped("excluded", utc("2026-11-21T10:00"), utc("2026-11-22T10:00"), 2),
        )

    def test_a_one_shot_is_caught_up_with(self) -> None:
        spec = OneShotSpec(utc("2026-11-21T10:00"))
        found = decide(spec, "2026-11-21T09:00", "2026-11-21T13:00")
        assert times(found) == ["2026-11-21T10:00"]
        assert found.next_nominal is None


@pytest.mark.semantics(18)
def test_nominals_that_pass_while_paused_are_paused_not_missed() -> None:
    found = decide(every(60), "2026-11-21T12:00", "2026-11-21T12:10", paused=True)
    assert found.fire == ()
    assert found.skipped == (Skipped("paused", utc("2026-11-21T12:01"), utc("2026-11-21T12:10"), 10),)


@pytest.mark.semantics(22)
def test_an_edit_decides_only_nominals_after_it() -> None:
    edited = utc("2026-11-21T10:30")
    before = plan("k", DAILY_TEN, FiringPolicy(), cursor=utc("2026-11-21T09:00"), now=edited)
    after = plan("k", parse_expression("15 10 * * *"), FiringPolicy(), cursor=before.cursor,
                 now=utc("2026-11-21T11:00"))  # fmt: skip
    assert times(before) == ["2026-11-21T10:00"]
    assert times(after) == []
    assert after.next_nominal == utc("2026-11-22T10:15")


def test_preview_says_what_is_suppressed_only_when_asked() -> None:
    policy = FiringPolicy(calendar=WORKDAYS)
    after = utc("2026-11-20T12:00")
    assert [item.skipped for item in preview("k", DAILY_TEN, policy, after=after, limit=2)] == [
        None,
        None,
    ]
    shown = preview("k", DAILY_TEN, policy, after=after, limit=3, include_skipped=True)
    assert [(str(item.scheduled_for)[:10], item.skipped) for item in shown] == [
        ("2026-11-21", "excluded"),
        ("2026-11-22", "excluded"),
        ("2026-11-23", None),
    ]


def test_preview_gives_local_times_and_notes() -> None:
    spec = parse_expression("30 2 * * *", tz="America/New_York")
    shown = preview("k", spec, FiringPolicy(), after=utc("2027-03-13T12:00"), limit=5,
                    until=utc("2027-03-15T00:00"))  # fmt: skip
    assert [(item.local.isoformat(), item.note) for item in shown] == [
        ("2027-03-14T03:00:00-04:00", "dst_gap")
    ]


@pytest.mark.semantics(15)
@given(
    period=st.integers(1, 5000),
    down=st.integers(0, 200_000),
    mode=st.sampled_from(["latest", "earliest", "all", "none"]),
    window=st.integers(0, 100_000),
    limit=st.integers(1, 20),
    closed=st.sampled_from([None, WORKDAYS]),
    holiday=st.booleans(),
)
@settings(max_examples=60, deadline=None)
def test_every_nominal_is_decided_exactly_once(
    period: int,
    down: int,
    mode: str,
    window: int,
    limit: int,
    closed: Calendar | None,
    holiday: bool,
) -> None:
    if closed and holiday:
        closed = Calendar("c", exclude_dates=frozenset({date(2026, 11, 20)}),
                          exclude_windows=(WEEKEND,))  # fmt: skip
    spec, cursor = every(period), utc("2026-11-19T22:00")
    now = cursor + timedelta(seconds=down)
    policy = FiringPolicy(catch_up=mode, catchup_window=timedelta(seconds=window),
                          max_catchup=limit, calendar=closed)  # fmt: skip
    found = plan("k", spec, policy, cursor=cursor, now=now)
    due = [nominal.at for nominal in nominals(spec, cursor, now)]
    fired = [item.scheduled_for for item in found.fire]
    assert len(due) == len(fired) + sum(item.count for item in found.skipped)
    assert set(fired) <= set(due)
    for item in found.skipped:
        assert item.first in due
        assert item.last in due
        assert item.first not in fired
        assert item.last not in fired
    excluded = [at for at in due if closed and not closed.is_open(at)]
    assert not set(excluded) & set(fired)
    assert sum(item.count for item in found.skipped if item.reason == "excluded") == len(excluded)
    assert found.next_nominal is not None
    assert found.next_nominal > now
