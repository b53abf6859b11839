"""Time limits of a pool: one timer for all jobs, and none for those that have ended."""

from __future__ import annotations

import time

from hypothesis import given
from hypothesis import strategies as st
from kombu.asynchronous import Hub

from jobs.runtime.deadlines import Deadlines, Due
from jobs.runtime.pool import GroupPool


def test_a_soft_limit_comes_before_the_hard_one_and_each_once():
    deadlines = Deadlines()
    deadlines.begin(1, 100.0, 5, 8)
    assert deadlines.arm() == 105
    assert deadlines.take_due(105.0) == [Due(1, soft=True)]
    assert deadlines.arm() == 108
    assert deadlines.take_due(107.9) == []
    assert deadlines.take_due(108.0) == [Due(1, soft=False)]
    assert (len(deadlines), deadlines.arm()) == (0, None)


def test_a_timer_that_comes_late_means_the_hard_limit():
    deadlines = Deadlines()
    deadlines.begin(1, 100.0, 5, 8)
    assert deadlines.take_due(110.0) == [Due(1, soft=False)]
    assert len(deadlines) == 0


def test_a_soft_limit_that_is_no_earlier_than_the_hard_one_is_left_out():
    deadlines = Deadlines()
    deadlines.begin(1, 100.0, 8, 8)
    assert deadlines.take_due(108.0) == [Due(1, soft=False)]


def test_a_job_without_limits_is_not_watched():
    deadlines = Deadlines()
    deadlines.begin(1, 100.0, None, None)
    assert (len(deadlines), deadlines.arm()) == (0, None)


def test_what_has_ended_is_not_due_and_needs_no_timer():
    deadlines = Deadlines()
    asked = 0
    for job in range(1_000):
        deadlines.begin(job, 100.0 + job, 3540, 3600)
        asked += deadlines.arm() is not None
        deadlines.end(job)
    assert (len(deadlines), asked) == (0, 1)
    assert deadlines.take_due(3640.0) == []
    assert deadlines.arm() is None


def test_short_limits_among_long_ones_ask_for_no_long_timer_again():
    deadlines = Deadlines()
    deadlines.begin(0, 0.0, None, 3600)
    wanted = [deadlines.arm()]
    for job in range(1, 100):
        deadlines.begin(job, 10.0 * job, None, 5)
        wanted.append(deadlines.arm())
        deadlines.end(job)
        assert deadlines.take_due(10.0 * job + 5) == []
        assert deadlines.arm() is None
    assert wanted == [3600, *(10.0 * job + 5 for job in range(1, 100))]


LIMITS = st.none() | st.integers(1, 50)
ACTS = st.lists(st.tuples(st.integers(0, 5), st.sampled_from(["begin", "end"]), LIMITS, LIMITS), max_size=40)


@given(ACTS)
def test_every_limit_is_told_of_at_its_time_if_timers_come_when_asked_for(acts):
    """One act a second; beside it a list of what is to be due, looked through each second."""
    deadlines, timers, running, told = Deadlines(), set(), {}, []
    expected = []
    for second in range(120):
        if second in timers:
            timers.discard(second)
            told += [(second, due.job, due.soft) for due in deadlines.take_due(float(second))]
            timers.add(deadlines.arm())
        for job, (soft, hard) in sorted(running.items()):
            if hard == second:
                expected.append((second, job, False))
                del running[job]
            elif soft == second and (hard is None or soft < hard):
                expected.append((second, job, True))
        if second < len(acts):
            job, act, soft, hard = acts[second]
            if act == "end":
                deadlines.end(job)
                running.pop(job, None)
            elif job not in running:
                deadlines.begin(job, float(second), soft, hard)
                running[job] = (soft and second + soft, hard and second + hard)
                timers.add(deadlines.arm())
    assert sorted(told) == sorted(expected)


class Running:
    """What the pool knows of a job, as far as limits ask."""

    def __init__(self, job: int) -> None:
        self._job = job

    def ready(self) -> bool:
        return False


def test_the_pool_of_a_busy_worker_leaves_one_timer():
    """Celery's own leaves one for each job, until an hour later."""
    hub, pool = Hub(), GroupPool.__new__(GroupPool)
    pool._create_timelimit_handlers(hub)
    for job in range(1_000):
        pool.on_timeout_set(Running(job), 3540.0, 3600.0)
        pool.on_timeout_cancel(Running(job))
    assert len(hub.timer) == 1


def test_the_broker_comes_back_and_limits_are_kept():
    hub, pool = Hub(), GroupPool.__new__(GroupPool)
    pool._cache, told = {1: "job"}, []
    pool.on_hard_timeout = told.append
    pool._create_timelimit_handlers(hub)
    pool.on_timeout_set(Running(1), None, 0.001)
    pool._create_timelimit_handlers(hub)
    time.sleep(0.002)
    for _, entry in hub.timer:
        if entry is None:
            break
        entry()
    assert told == ["job"]
    assert len(pool.deadlines) == 0
