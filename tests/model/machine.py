"""The state machine: acts in any order, and what must hold after each of them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any, TypeVar

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from jobs.engine.executing import Execution
from jobs.rules.states import BIRTH, TERMINAL, TRANSITIONS, Status
from tests.model.acts import Acts
from tests.model.life import Job
from tests.model.stage import DEADLINES, OVERLAPS, QUEUES

T = TypeVar("T")

NAMES = ("w0@test", "w1@test")
LIMITED = ("queue:default", "queue:billing", "key:acme", "schedule", "schedule")
MOMENTS = [timedelta(seconds=n) for n in (0, 0.001, 1, 6, 11, 30, 46, 61, 106, 1800)]
SPANS = [timedelta(hours=n) for n in (1, 2, 5, 30)] + [timedelta(days=n) for n in (8, 31, 91)]
OUTCOMES_THAT_GO_ON = {"error", "timeout", "retry", "crash", "interrupted"}

ENDS = (
    "finish", "finish", "fail", "fail", "fail_for_good", "time_out", "ask_for_another", "interrupt",
    "stop_on_request", "die", "die", "hard_limit",
)  # fmt: skip
VERBS = (
    "tick", "tick", "tick", "claim", "promote", "release_held", "release", "rescue", "reconcile", "prune", "",
)  # fmt: skip

which = st.integers(0, 30)
"""One of those there are: counted from the newest, round and round."""
often_right = st.sampled_from([True, True, True, True, True, False])
calls = st.tuples(
    st.sampled_from(QUEUES),
    st.sampled_from([None, None, None, timedelta(seconds=10), timedelta(hours=1)]),
    st.sampled_from([None, None, timedelta(seconds=20), timedelta(hours=2)]),
    st.sampled_from(["", "acme"]),
    st.sampled_from([None, 1, 2]),
)
"""Queue, countdown, expiry, concurrency key, most attempts."""
messages = st.tuples(which, st.sampled_from(NAMES))
forgeries = st.tuples(
    which,
    st.sampled_from(NAMES),
    st.sampled_from([0, 0, 0, -1, 1]),
    often_right,
    often_right,
)
ends = st.tuples(which, st.sampled_from(ENDS))
handfuls = st.tuples(st.lists(which, min_size=2, max_size=4))
decisions = st.tuples(
    st.sampled_from(["cancel", "replay", "discard", "replay all", "replay all", "cancel all"]), which
)
changes = st.one_of(
    st.tuples(
        st.just("limit"),
        st.sampled_from(LIMITED),
        st.sampled_from([None, 1, 1, 2]),
        st.sampled_from([None, None, 0.1]),
    ),
    st.tuples(st.sampled_from(["pause_queue", "resume_queue", "redis_loses"]), st.sampled_from(QUEUES)),
    st.tuples(st.sampled_from(["worker_starts", "worker_beats", "worker_stops"]), st.sampled_from(NAMES)),
)
passing = st.tuples(st.sampled_from([*MOMENTS * 3, *SPANS]), st.sampled_from(VERBS))


def _weighted(**weights: tuple[int, st.SearchStrategy[Any]]) -> st.SearchStrategy[tuple[str, Any]]:
    """One of these acts, each as often as its weight says: its name, and how."""
    names = [name for name, (weight, _) in weights.items() for _ in range(weight)]
    return st.sampled_from(names).flatmap(lambda name: st.tuples(st.just(name), weights[name][1]))


acts = _weighted(
    somebody_calls=(2, calls),
    workers_begin=(6, messages),
    workers_forge=(1, forgeries),
    workers_end=(5, ends),
    workers_end_together=(1, handfuls),
    people_decide=(2, decisions),
    people_change=(1, changes),
    time_passes=(5, passing),
)


class LifeOfJobs(Acts, RuleBasedStateMachine):
    """Jobs, workers, limits, two schedules and a beat.

    There is one rule with many ways, because Hypothesis leaves out about half of the rules in each example: an
    example without starts, or without ends, tells nothing.
    """

    def __init__(self) -> None:
        RuleBasedStateMachine.__init__(self)
        Acts.__init__(self)
        self.executions: list[Execution] = []
        """Every attempt that ever began: those that have ended are the late writers."""
        self.statuses: dict[str, Status] = {}

    def teardown(self) -> None:
        self.stage.close()

    @initialize(
        overlaps=st.tuples(st.sampled_from(OVERLAPS), st.sampled_from(OVERLAPS)),
        deadline=st.sampled_from(DEADLINES),
        first=st.lists(calls, min_size=1, max_size=3),
    )
    def begin_with(
        self, overlaps: tuple[str, str], deadline: timedelta | None, first: list[tuple[Any, ...]]
    ) -> None:
        for name in NAMES:
            self.worker_starts(name)
        self.schedules = [self.stage.wake(overlaps[0], deadline)]
        if overlaps[0] != overlaps[1]:
            self.schedules.append(self.stage.wake(overlaps[1], None))
        for call in first:
            self.enqueue(*call)

    @rule(act=acts)
    def something_happens(self, act: tuple[str, Any]) -> None:
        name, how = act
        getattr(self, name)(*how)

    def somebody_calls(self, *call: Any) -> None:
        self.enqueue(*call)

    def workers_begin(self, number: int, name: str) -> None:
        if self.life.messages:
            self._note(self.deliver(_pick(self.life.messages, number), name))

    def workers_forge(self, number: int, *how: Any) -> None:
        if self.life.jobs:
            self._note(self.start(_pick([*self.life.jobs], number), *how))

    def workers_end(self, number: int, how: str) -> None:
        if self.executions:
            getattr(self, how)(_pick(self.executions, number))

    def workers_end_together(self, numbers: list[int]) -> None:
        if self.executions:
            some = {one.fence.job_id: one for one in (_pick(self.executions, n) for n in numbers)}
            self.finish_together([*some.values()])

    def _note(self, execution: Execution | None) -> None:
        if execution is not None:
            self.executions.append(execution)

    def people_decide(self, verb: str, number: int) -> None:
        if self.life.jobs:
            id = _pick([*self.life.jobs], number)
            self.enqueue_again(id)
            getattr(self, verb.split()[0])([*self.life.jobs] if verb.endswith("all") else [id])

    def people_change(self, verb: str, *how: Any) -> None:
        getattr(self, verb)(*how)

    def time_passes(self, delta: timedelta, what: str) -> None:
        self.wait(delta)
        if what:
            getattr(self, what)()

    # --- What must always hold --------------------

    @invariant()
    def rows_are_as_foretold(self) -> None:
        """The database and Redis are what the model says, and no job moved but as it may."""
        found = self.stage.jobs()
        assert found == self.life.jobs
        assert self.stage.log_lines() == self.lines
        assert sorted(self.stage.messages()) == sorted(self.life.messages)
        self._check_moves(found)
        for job in found.values():
            _check_attempts(job)
            ended_without_success = job.status in (Status.SKIPPED, Status.FAILED, Status.CANCELLED)
            assert bool(job.reason) == ended_without_success

    def _check_moves(self, found: dict[str, Job]) -> None:
        """Every job came to where it is by one move of the table."""
        for id, job in found.items():
            before, now = self.statuses.get(id), Status(job.status)
            if before is None:
                assert now in BIRTH, f"{id} is born {now}"
            elif before != now:
                assert now in TRANSITIONS[before], f"{id} went from {before} to {now}"
        for id in self.statuses.keys() - found.keys():
            assert self.statuses[id] in TERMINAL, f"{id} was {self.statuses[id]} and is gone"
        self.statuses = {id: Status(job.status) for id, job in found.items()}


def _pick(some: Sequence[T], number: int) -> T:
    return some[-1 - number % len(some)]


def _check_attempts(job: Job) -> None:
    """Begins are no more than what allows them; one end counts; no two overlap."""
    ended = job.attempts
    assert [one.number for one in ended] == list(range(1, len(ended) + 1))
    assert job.attempt == len(ended) + (job.status == Status.ACTIVE)
    assert job.attempt <= 1 + sum(one.outcome in OUTCOMES_THAT_GO_ON for one in ended)
    assert sum(one.outcome == "completed" for one in ended) <= 1
    starts = [one.started_at for one in ended] + ([job.started_at] if job.status == Status.ACTIVE else [])
    for one, following in zip(ended, starts[1:], strict=False):
        assert one.started_at <= one.finished_at
        assert following is not None
        assert one.finished_at <= following
