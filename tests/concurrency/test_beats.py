"""Two beats at the same rows: one is slow, or frozen in the middle of a transaction."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from functools import partial
from typing import Any

import psycopg
import pytest
import redis as redis_client
from django.db import close_old_connections
from django_celery_beat.models import CrontabSchedule

from jobs.engine import claiming, depending, dispatching, lifecycle, limiting, pausing, recovering, syncing
from jobs.engine.clock import database_now
from jobs.engine.executing import Execution
from jobs.engine.ticking import Ticker, Turn
from jobs.models import Job, Limit, Schedule, Worker
from jobs.rules.states import Hold, Outcome, Reason, Status
from tests.acceptance.line import database_url, eventually, rows
from tests.concurrency.contending import in_thread
from tests.jobs import moves
from tests.jobs.builders import NOON, begin, cron, every, job, minutes

pytestmark = pytest.mark.django_db(transaction=True)


def statements_asleep() -> int:
    return int(rows("SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'")[0][0])


def test_a_claim_goes_on_from_where_another_beat_has_just_come_to(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the statement saw when it began is old by the time it gets its lock: the row itself counts."""
    schedule = every(60)
    Schedule.objects.update(catch_up="latest", overlap="allow_all")
    syncing.sync_stale(NOON)
    slow = claiming._CLAIM.replace("ORDER BY", "AND (SELECT pg_sleep(1)) IS NOT NULL ORDER BY", 1)
    quick = claiming._CLAIM
    monkeypatch.setattr(claiming, "_CLAIM", slow)
    late, out = in_thread(lambda: claiming.claim_due(NOON + minutes(4)))
    eventually(statements_asleep, 5)
    monkeypatch.setattr(claiming, "_CLAIM", quick)
    assert claiming.claim_due(NOON + minutes(2)) == 1
    late.join(10)
    assert out == [1]
    nominals = [
        job.scheduled_for + step * minutes(1)
        for job in Job.objects.order_by("scheduled_for")
        for step in range(job.skipped_count or 1)
    ]
    assert nominals == [NOON + minutes(n) for n in (1, 2, 3, 4)]
    schedule.refresh_from_db()
    assert schedule.runs == Job.objects.exclude(status="skipped").count() == 2


def test_an_edit_made_while_a_sync_waits_for_its_locks_is_not_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    schedule = cron("0 * * * *")
    chosen = Schedule.objects.all().__class__.stale
    monkeypatch.setattr(
        Schedule.objects.all().__class__,
        "stale",
        lambda self: chosen(self).extra(where=["(SELECT pg_sleep(1)) IS NOT NULL"]),
    )
    CrontabSchedule.objects.update(minute="10")
    syncing_thread, _ = in_thread(lambda: syncing.sync_stale(NOON + minutes(1)))
    eventually(statements_asleep, 5)
    CrontabSchedule.objects.update(minute="20")
    syncing_thread.join(10)
    syncing.sync_stale(NOON + minutes(1))
    schedule.refresh_from_db()
    assert schedule.spec["timing"]["minute"] == "20"


# --- A beat that has stopped in the middle of a transaction --------------------


def a_due_schedule_that_keeps_failing() -> None:
    schedule = every(60, "failing")
    moves.fail(_begun(schedule).fence, Reason.EXHAUSTED, outcome=Outcome.ERROR, error="x")
    Schedule.objects.filter(pk=schedule.pk).update(pause_after_failures=1)


def a_delayed_job() -> None:
    job(Status.DELAYED)


def a_schedule_whose_upstream_has_ended() -> None:
    up, down = every(60, "up"), every(60, "down")
    Schedule.objects.filter(pk=down.pk).update(after=up, after_on="any")
    syncing.sync_stale(database_now())
    moves.complete(_begun(up).fence)


def a_job_of_a_dead_worker() -> None:
    begin(job())
    Worker.objects.update(heartbeat_at=NOON)


def a_job_held_by_an_overlap() -> None:
    _held(Hold.OVERLAP)


def a_job_whose_gate_was_taken_away() -> None:
    _held(Hold.UPSTREAM)


def a_job_held_by_a_limit() -> None:
    Limit.objects.create(name="queue:default", max_active=1)
    _held(Hold.CONCURRENCY)


def _held(hold: Hold) -> None:
    job(Status.DELAYED, hold=hold, schedule_id=every(3600).pk, scheduled_for=database_now())


def _begun(schedule: Schedule) -> Execution:
    return begin(job(schedule_id=schedule.pk, nonce=schedule.periodic_task.name))


FREEZES: list[tuple[Callable[[], None], Callable[[datetime], int], str]] = [
    (a_due_schedule_that_keeps_failing, claiming.claim_due, "birth"),
    (a_delayed_job, dispatching.promote_due, "promote"),
    (a_schedule_whose_upstream_has_ended, depending.trigger_due, "birth"),
    (a_job_of_a_dead_worker, recovering.rescue, "end"),
    (a_job_held_by_an_overlap, dispatching.release_held, "promote"),
    (a_job_whose_gate_was_taken_away, depending.open_gates, "promote"),
    (a_job_held_by_a_limit, limiting.release, "promote"),
]


@pytest.mark.parametrize(
    ("prepare", "verb", "after"), FREEZES, ids=lambda value: getattr(value, "__name__", None)
)
def test_nobody_waits_for_a_beat_that_is_frozen_in_a_transaction(
    prepare: Callable[[], None],
    verb: Callable[[datetime], int],
    after: str,
    redis: redis_client.Redis,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    prepare()
    now = database_now()
    with frozen(partial(verb, now), after, monkeypatch):
        others = every(60, "others")
        Schedule.objects.filter(pk=others.pk).update(decided_through=now - minutes(2), next_run_at=now)
        ticker = Ticker(connected_at=NOON)
        tick, out = in_thread(lambda: ticker.tick(database_now()))
        tick.join(5)
        assert not tick.is_alive(), "it waits for the frozen one"
        assert isinstance(out[0], Turn), out
        assert Job.objects.filter(schedule_id=others.pk).exists()
    tick.join(60)


@contextmanager
def frozen(act: Callable[[], Any], after: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A beat that has stopped within `act`, in its transaction, after it has called `lifecycle.<after>`."""
    real, there, thaw = getattr(lifecycle, after), threading.Event(), threading.Event()

    def freeze(*args: Any, **kwargs: Any) -> Any:
        result = real(*args, **kwargs)
        if result and threading.current_thread() is beat and not there.is_set():
            there.set()
            assert thaw.wait(60)
        return result

    monkeypatch.setattr(lifecycle, after, freeze)
    beat, out = in_thread(act)
    try:
        assert there.wait(10), out
        yield
    finally:
        thaw.set()
        beat.join(20)


def test_the_end_of_a_pause_waits_for_nobody() -> None:
    schedule = every(60)
    pausing.pause(schedule, until=NOON + minutes(5))
    syncing.sync_stale(database_now())
    with psycopg.connect(database_url()) as editor:
        editor.execute("SELECT 1 FROM jobs_schedule FOR UPDATE")
        thread, out = in_thread(lambda: pausing.resume_due(NOON + minutes(5)))
        thread.join(5)
        assert out == [0], "it is left for the next turn"
        editor.rollback()
    assert pausing.resume_due(NOON + minutes(5)) == 1


def test_a_connection_that_has_died_between_two_requests_is_replaced() -> None:
    """The engine's own statements notice it as Django's do: the next request, or job, must not fail."""
    database_now()
    own = rows("SELECT pg_backend_pid()")[0][0]
    with psycopg.connect(database_url(), autocommit=True) as admin:
        admin.execute("SELECT pg_terminate_backend(%s)", [own])
    close_old_connections()  # what Django does between two requests, and the worker between two jobs
    assert database_now()
