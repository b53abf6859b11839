"""The states of a job: only the moves of the table happen, and only under the fence."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from django.db import IntegrityError, transaction

from jobs.engine import lifecycle
from jobs.engine.enqueueing import new_id
from jobs.engine.records import Fence, NewJob, Wanted
from jobs.models import Attempt, Job
from jobs.rules.states import BIRTH, TERMINAL, TRANSITIONS, Hold, Outcome, Reason, Status, Trigger
from tests.jobs import moves
from tests.jobs.builders import NOON, begin, job, worker

pytestmark = pytest.mark.django_db

Move = Callable[[Job, Fence], object]

MOVES: dict[str, tuple[Status, Move]] = {
    "promote": (Status.WAITING, lambda j, f: lifecycle.promote([j.id])),
    "start": (
        Status.ACTIVE,
        lambda j, f: lifecycle.start(
            [Wanted(Fence(j.id, j.attempt + 1), j.task, j.queue, 9)],
            worker_id=worker(),
            margin=NOON - NOON,
        ),
    ),
    "complete": (Status.COMPLETED, lambda j, f: moves.complete(f)),
    "fail": (
        Status.FAILED,
        lambda j, f: moves.fail(f, Reason.EXHAUSTED, outcome=Outcome.ERROR, error="x"),
    ),
    "retry_at": (Status.DELAYED, lambda j, f: moves.retry_at(f, NOON, outcome=Outcome.ERROR, error="x")),
    "crash": (Status.WAITING, lambda j, f: moves.crash(f, "lost")),
    "interrupt": (Status.WAITING, lambda j, f: moves.interrupt(f)),
    "cancel_active": (Status.CANCELLED, lambda j, f: lifecycle.cancel_active(f)),
    "cancel_pending": (Status.CANCELLED, lambda j, f: lifecycle.cancel_pending([j.id])),
    "defer": (
        Status.DELAYED,
        lambda j, f: lifecycle.defer(j.id, attempt=j.attempt + 1, hold=Hold.CONCURRENCY),
    ),
    "skip": (Status.SKIPPED, lambda j, f: lifecycle.skip([j.id], Reason.EXPIRED)),
    "replay": (Status.WAITING, lambda j, f: lifecycle.replay([j.id])),
    "discard": (Status.CANCELLED, lambda j, f: lifecycle.discard([j.id])),
    "continue_as": (
        Status.WAITING,
        lambda j, f: moves.continue_as(
            f, {"task": "t", "queue": "q", "args": [], "kwargs": {}, "headers": {}}
        ),
    ),
}


def in_status(status: Status) -> Job:
    """A job that came to `status` by legal moves."""
    if status in BIRTH:
        return job(status, reason=Reason.MISSED if status is Status.SKIPPED else "")
    row = job()
    if status is Status.CANCELLED:
        lifecycle.cancel_pending([row.id])
        return row
    execution = begin(row)
    if status is Status.COMPLETED:
        assert moves.complete(execution.fence)
    elif status is Status.FAILED:
        assert moves.fail(execution.fence, Reason.EXHAUSTED, outcome=Outcome.ERROR, error="x")
    return row


@pytest.mark.parametrize("status", list(Status))
@pytest.mark.parametrize("move", list(MOVES))
def test_only_the_moves_of_the_table_happen(status: Status, move: str) -> None:
    row = in_status(status)
    row.refresh_from_db()
    target, act = MOVES[move]
    act(row, Fence(row.id, row.attempt))
    after = Job.objects.get(id=row.id)
    if after.status != status:
        assert (after.status, after.status in TRANSITIONS[status]) == (target, True)


def test_every_move_of_the_table_can_be_made() -> None:
    made = set()
    for status in Status:
        for target, act in MOVES.values():
            row = in_status(status)
            row.refresh_from_db()
            act(row, Fence(row.id, row.attempt))
            row.refresh_from_db()
            if row.status == target != status:
                made.add((status, target))
    assert made == {(old, new) for old, news in TRANSITIONS.items() for new in news}


def test_the_diagram_in_the_docs_is_the_table() -> None:
    text = (Path(__file__).parents[2] / "docs" / "states.md").read_text()
    arrows = {(old, new) for old, new in re.findall(r"^\s*(\w+) --> (\w+)", text, re.MULTILINE)}
    assert arrows == {(str(old), str(new)) for old, news in TRANSITIONS.items() for new in news}


@pytest.mark.parametrize("end", ["complete", "fail", "retry_at", "crash", "interrupt", "cancel_active"])
def test_a_late_writer_changes_nothing(end: str) -> None:
    row = job()
    late = begin(row)
    assert moves.crash(late.fence, "lost")
    begin(row, attempt=2)
    before = Job.objects.filter(id=row.id).values().get()
    assert not MOVES[end][1](row, late.fence)
    assert Job.objects.filter(id=row.id).values().get() == before
    assert Attempt.objects.filter(job_id=row.id).count() == 1


@pytest.mark.parametrize("attempts", [1, 2])
def test_an_end_counts_whose_start_the_database_forgot(attempts: int) -> None:
    """Starts do not wait for the disk: after a crash of the database the row may be what it was before."""
    row = job()
    if attempts == 2:
        assert moves.crash(begin(row).fence, "lost")
    assert moves.complete(Fence(row.id, attempts))
    row.refresh_from_db()
    assert (row.status, row.attempt) == ("completed", attempts)
    last = row.attempts.get(number=attempts)
    assert (last.outcome, last.started_at) == ("completed", last.finished_at)
    assert not moves.complete(Fence(row.id, attempts + 1)), "that fence was never given out"


def test_a_forgotten_start_that_another_worker_made_is_that_workers() -> None:
    row = job()
    assert moves.crash(begin(row).fence, "it, too, has gone")
    assert not moves.complete(Fence(row.id, 1))


@pytest.mark.parametrize("end", ["retry_at", "crash", "interrupt", "continue_as"])
def test_what_is_to_be_stopped_is_not_tried_again(end: str) -> None:
    row = job()
    fence = begin(row).fence
    lifecycle.request_cancel([row.id])
    assert MOVES[end][1](row, fence)
    row.refresh_from_db()
    assert (row.status, row.reason, row.cancel_requested_at) == ("cancelled", "cancelled", None)
    assert row.finished_at is not None
    assert row.attempts.count() == 1


def test_crashes_and_errors_are_counted_apart() -> None:
    row = job()
    assert moves.crash(begin(row).fence, "lost")
    assert moves.interrupt(begin(row, attempt=2).fence)
    assert moves.retry_at(begin(row, attempt=3).fence, NOON, outcome=Outcome.ERROR, error="x")
    row.refresh_from_db()
    assert (row.attempt, row.crashes, row.errors) == (3, 1, 1)
    assert list(row.attempts.values_list("number", "outcome")) == [
        (1, "crash"),
        (2, "interrupted"),
        (3, "error"),
    ]


def is_sound(status: str, reason: str, hold: str, ended: bool, on: bool, until: bool, began: bool) -> bool:
    """Whether a row may be so, said once more: by status, and not by column."""
    runs = on and until and began
    idle = not on and not until
    match status:
        case "delayed":
            return idle and not ended and not reason
        case "waiting":
            return idle and not ended and not reason and not hold
        case "active":
            return runs and not ended and not reason and not hold
        case "completed":
            return idle and ended and not reason and not hold
        case "failed" | "cancelled" | "skipped":
            return idle and ended and bool(reason) and not hold
    return False


@pytest.mark.parametrize("status", [*Status, "sleeping", ""])
def test_the_database_refuses_illegal_mixes(status: str) -> None:
    row, ran_on = job(), worker()
    yes_no = (True, False)
    mixes = product(("", "overlap"), ("", "overlap"), yes_no, yes_no, yes_no, yes_no)
    taken, refused = set(), set()
    for reason, hold, ended, on, until, began in mixes:
        values = {
            "status": status,
            "reason": reason,
            "hold": hold,
            "finished_at": NOON if ended else None,
            "worker_id": ran_on if on else None,
            "expected_end_at": NOON if until else None,
            "started_at": NOON if began else None,
        }
        mix = (status, reason, hold, ended, on, until, began)
        try:
            with transaction.atomic():
                Job.objects.filter(id=row.id).update(**values)
            taken.add(mix)
        except IntegrityError:
            refused.add(mix)
    assert {mix for mix in taken if not is_sound(*mix)} == set()
    assert {mix for mix in refused if is_sound(*mix)} == set()


def test_birth_is_idempotent_by_id() -> None:
    row = job()
    new = NewJob(
        id=row.id, task="other", queue="q", trigger="action", status=Status.WAITING, available_at=NOON
    )
    assert lifecycle.birth([new]) == set()
    assert Job.objects.get(id=row.id).task == row.task


@pytest.mark.parametrize(
    "said",
    [
        {},
        {"args": [1, {"a": "\u20ac"}], "kwargs": {"k": None}, "headers": {"group": "g"}, "priority": 9},
        {
            "status": Status.DELAYED,
            "available_at": NOON + timedelta(hours=1),
            "hold": "overlap",
            "deadline_at": NOON + timedelta(hours=2),
        },
        {"status": Status.SKIPPED, "reason": "missed", "skipped_count": 3, "skipped_through": NOON},
        {"max_attempts": 2, "backoff": {"base": 1.5}, "time_limit": 5.0, "soft_time_limit": 2.5},
        {"concurrency_key": "c", "schedule_name": "nightly", "scheduled_for": NOON, "policy_version": 4},
    ],
    ids=lambda said: ",".join(said),
)
def test_a_job_born_alone_is_as_one_born_among_others(said: dict[str, Any]) -> None:
    usual = {"task": "jobs.canary", "queue": "q", "trigger": Trigger.ACTION, "available_at": None}
    alone, *others = [NewJob(id=new_id(), **{"status": Status.WAITING, **usual, **said}) for _ in range(3)]
    assert lifecycle.birth([alone], now=NOON) == {alone.id}
    assert lifecycle.birth(others, now=NOON) == {one.id for one in others}
    rows = list(Job.objects.filter(queue="q").values())
    for row in rows:
        del row["id"]
    assert len(rows) == 3
    assert rows[0] == rows[1] == rows[2]
    assert {name: str(rows[0][name]) for name in said} == {name: str(value) for name, value in said.items()}


def test_jobs_that_are_born_together_keep_what_is_their_own() -> None:
    """Python takes 1, 1.0 and True for the same, and so would whoever says once what all have in common."""
    arguments: list[list[Any]] = [[1], [True], [1.0], ["1"], [None], []]
    usual = {"task": "jobs.canary", "queue": "q", "trigger": Trigger.ACTION, "available_at": NOON}
    new = [
        NewJob(id=f"own-{n}", args=args, priority=n or None, status=Status.WAITING, **usual)
        for n, args in enumerate(arguments)
    ]
    new[2] = replace(new[2], status=Status.DELAYED, available_at=None)
    assert lifecycle.birth(new, now=NOON) == {one.id for one in new}
    rows = list(Job.objects.filter(queue="q").order_by("id"))
    assert [repr(row.args) for row in rows] == [repr(args) for args in arguments]
    assert [row.priority for row in rows] == [None, 1, 2, 3, 4, 5]
    assert [row.status for row in rows] == ["waiting", "waiting", "delayed", "waiting", "waiting", "waiting"]
    assert [row.published_at for row in rows] == [NOON, NOON, None, NOON, NOON, NOON]


def test_text_that_postgresql_cannot_store_does_not_lose_the_outcome() -> None:
    row = job()
    assert moves.fail(
        begin(row).fence, Reason.EXHAUSTED, outcome=Outcome.ERROR, error="a\x00b\udcff", traceback="\x00"
    )
    row.refresh_from_db()
    assert row.error == "a\\x00b\\udcff"


def test_terminal_is_what_has_no_way_on_but_replay() -> None:
    assert {status for status, ways in TRANSITIONS.items() if not ways} == TERMINAL - {Status.FAILED}
