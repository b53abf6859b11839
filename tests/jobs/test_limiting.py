"""Limits defer and never drop (SEMANTICS 24)."""

from __future__ import annotations

import uuid

import pytest
import redis as redis_client

from jobs.engine import executing, limiting
from jobs.engine.clock import database_now
from jobs.engine.executing import Execution, Refusal
from jobs.engine.records import Fence
from jobs.models import Job, Limit
from jobs.rules.states import Status
from tests.jobs import moves
from tests.jobs.builders import begin, job, seconds, worker

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.semantics(24)]


def attempt(row: Job, number: int = 1, worker_id: uuid.UUID | None = None) -> Execution | Refusal:
    return executing.begin(
        Fence(row.id, number),
        task=row.task,
        queue=row.queue,
        worker_id=worker_id or worker(),
        default_limit=60,
        default_max_attempts=5,
    )


LIMITS = {
    "queue:default": {},
    "schedule:7": {"schedule_id": 7},
    "key:acme": {"concurrency_key": "acme"},
}


@pytest.mark.parametrize("name", list(LIMITS))
def test_at_most_k_are_active_and_the_rest_wait(redis: redis_client.Redis, name: str) -> None:
    limiting.set_limit(name, max_active=2)
    rows = [job(**LIMITS[name], nonce=str(uuid.uuid4())) for _ in range(4)]
    outcomes = [attempt(row) for row in rows]
    assert [type(one).__name__ for one in outcomes] == ["Execution", "Execution", "Refusal", "Refusal"]
    held = Job.objects.filter(status="delayed", hold="concurrency")
    assert held.count() == 2
    assert limiting.release(database_now()) == 0
    assert isinstance(outcomes[0], Execution)
    moves.complete(outcomes[0].fence)
    assert limiting.release(database_now()) == 1
    assert Job.objects.get(id=rows[2].id).status == Status.WAITING, "the oldest goes first"
    assert isinstance(attempt(rows[2]), Execution)


def test_a_job_that_was_deferred_is_not_charged(redis: redis_client.Redis) -> None:
    limiting.set_limit("queue:default", max_active=0)
    row = job()
    attempt(row)
    row.refresh_from_db()
    assert (row.attempt, row.errors, row.crashes, row.attempts.count()) == (0, 0, 0, 0)


def test_others_are_not_held_back(redis: redis_client.Redis) -> None:
    limiting.set_limit("key:acme", max_active=1)
    begin(job(concurrency_key="other"))
    begin(job())
    attempt(job(concurrency_key="acme"))
    assert isinstance(attempt(job(concurrency_key="acme")), Refusal)


def test_a_rate_spreads_the_starts(redis: redis_client.Redis) -> None:
    limiting.set_limit("queue:default", max_per_second=0.5)
    rows = [job() for _ in range(3)]
    assert isinstance(attempt(rows[0]), Execution)
    assert isinstance(attempt(rows[1]), Refusal)
    row = Job.objects.get(id=rows[1].id)
    assert row.status == Status.DELAYED
    assert row.hold == ""
    assert seconds(1) < row.available_at - database_now() <= seconds(2)


def test_a_limit_that_is_taken_away_lets_everything_go(redis: redis_client.Redis) -> None:
    limiting.set_limit("queue:default", max_active=0)
    for _ in range(3):
        attempt(job())
    limiting.set_limit("queue:default")
    assert limiting.release(database_now()) == 3


def test_a_paused_queue_keeps_its_jobs_and_gets_its_limit_back(redis: redis_client.Redis) -> None:
    limiting.set_limit("queue:default", max_active=3)
    assert limiting.pause_queue("default")
    assert not limiting.pause_queue("default")
    assert limiting.paused_queues() == {"default"}
    row = job()
    assert isinstance(attempt(row), Refusal)
    assert limiting.resume_queue("default")
    assert not limiting.resume_queue("default")
    assert Limit.objects.get().max_active == 3
    assert limiting.release(database_now()) == 1
    assert isinstance(attempt(row), Execution)


def test_the_last_place_is_taken_once(redis: redis_client.Redis) -> None:
    from tests.concurrency.test_claims import in_thread

    limiting.set_limit("queue:default", max_active=1)
    rows, workers = [job() for _ in range(6)], [worker(f"w{n}") for n in range(6)]
    pairs = zip(rows, workers, strict=True)
    threads = [in_thread(lambda row=row, w=w: attempt(row, worker_id=w)) for row, w in pairs]
    for thread, _ in threads:
        thread.join(20)
    assert sum(isinstance(out[0], Execution) for _, out in threads) == 1
    assert Job.objects.filter(status="delayed", hold="concurrency").count() == 5
