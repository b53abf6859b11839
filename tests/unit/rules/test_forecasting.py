"""The arithmetic of a forecast (SEMANTICS 30)."""

from __future__ import annotations

import pytest

from jobs.rules.forecasting import Load, forecast, repeating

pytestmark = pytest.mark.semantics(30)

DAY = 24 * 60
HOUR = 3600.0


def peak(*loads: Load, minutes: int = DAY, slots: int = 1) -> tuple[int, int]:
    found = forecast(loads, {"q": slots}, minutes).queues[0]
    return found.peak, found.peak_minute


def test_runs_side_by_side_are_counted_by_the_minute() -> None:
    one = Load("one", "q", (600.0,), seconds=1800)
    two = Load("two", "q", (1200.0,), seconds=60.5)
    assert peak(one, two) == (2, 20)
    assert peak(one) == (1, 10)


def test_short_runs_one_after_another_are_not_side_by_side() -> None:
    often = tuple(float(n * 5) for n in range(12))
    assert peak(Load("often", "q", often, seconds=1, alone=False))[0] == 1
    assert peak(Load("often", "q", often, seconds=12, alone=False))[0] == 3
    assert peak(Load("often", "q", often, seconds=12))[0] == 1, "it never runs beside itself"


def test_a_schedule_that_does_not_run_alone_piles_up() -> None:
    hourly = tuple(n * HOUR for n in range(24))
    assert peak(Load("long", "q", hourly, seconds=3.5 * HOUR, alone=False))[0] == 4
    assert peak(Load("long", "q", hourly, seconds=3.5 * HOUR))[0] == 1


@pytest.mark.parametrize("alone", [True, False])
def test_a_repeating_list_gives_what_the_whole_list_gives(alone: bool) -> None:
    whole = tuple(n * 900.0 for n in range(96 * 7))
    listed, period = repeating(whole[:100], complete=False)
    assert (len(listed), period) == (96, DAY)
    full = forecast([Load("x", "q", whole, 2000.0, alone=alone)], {"q": 1}, 7 * DAY).queues[0]
    cut = forecast([Load("x", "q", listed, 2000.0, period, alone=alone)], {"q": 1}, 7 * DAY).queues[0]
    assert (cut.starts, cut.peak, cut.busy_seconds) == (full.starts, full.peak, full.busy_seconds)


def test_a_run_longer_than_its_period_wraps_around() -> None:
    found = forecast([Load("x", "q", (0.0,), 150 * 60.0, 60, alone=False)], {"q": 1}, DAY).queues[0]
    assert found.peak == 3


def test_a_complete_list_does_not_repeat() -> None:
    assert repeating((1.0, 2.0, 3.0), complete=True) == ((1.0, 2.0, 3.0), 0)
    assert repeating((1.0,), complete=False) == ((1.0,), 0)


def test_overruns_are_those_that_take_longer_than_their_period() -> None:
    hourly = tuple(n * HOUR for n in range(24))
    found = forecast(
        [
            Load("slow", "q", hourly, 70 * 60.0),
            Load("fine", "q", hourly, 50 * 60.0),
            Load("once", "q", (5.0,), 9999.0),
            Load("unknown", "q", hourly),
        ],
        {},
        DAY,
    ).overruns
    assert [(one.name, one.seconds, one.gap) for one in found] == [("slow", 4200.0, 3600.0)]


def test_collisions_of_several_days_are_one_with_a_spread() -> None:
    nightly = tuple(3 * HOUR + day * 24 * HOUR for day in range(7))
    loads = [Load(f"n{number:02}", "q", nightly, 120.0) for number in range(20)]
    found = forecast(loads, {"q": 4}, 7 * DAY)
    assert len(found.collisions) == 1
    one = found.collisions[0]
    assert (one.minute, one.schedules, one.repeats, one.spread) == (180, 20, 7, 10)
    assert (min(one.moves.values()), max(one.moves.values()), len(one.moves)) == (0, 10, 20)
    assert found.queues[0].is_overloaded
    moved = [
        Load(load.name, "q", tuple(start + one.moves[load.name] * 60 for start in nightly), 120.0)
        for load in loads
    ]
    after = forecast(moved, {"q": 4}, 7 * DAY)
    assert after.collisions == ()
    assert after.queues[0].peak < found.queues[0].peak


def test_few_starts_in_a_minute_are_no_collision() -> None:
    loads = [Load(str(number), "q", (60.0,)) for number in range(4)]
    assert forecast(loads, {}, DAY).collisions == ()


def test_one_schedule_that_starts_often_collides_with_nobody() -> None:
    often = Load("often", "q", tuple(float(n * 2) for n in range(30)), 5.0, 1)
    found = forecast([often], {"q": 2}, DAY)
    assert found.collisions == ()
    assert found.queues[0].busy_seconds == DAY * 60


def test_schedules_that_meet_every_minute_are_one_collision() -> None:
    loads = [Load(str(number), "q", (number / 10,), 1.0, 1) for number in range(9)]
    found = forecast(loads, {"q": 2}, DAY).collisions
    assert [(one.schedules, one.minute) for one in found] == [(9, 0)]
