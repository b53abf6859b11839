"""Two beats, two workers, at the same row at the same time: the lock is held on purpose."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest
from django.db import transaction

from jobs.engine import claiming, dispatching, executing, recovering
from jobs.engine.clock import database_now
from jobs.engine.records import Fence
from jobs.models import Job, Schedule
from jobs.rules.states import Outcome
from tests.acceptance.line import database_url, eventually
from tests.concurrency.contending import in_thread, waits_for_a_lock
from tests.jobs import moves
from tests.jobs.builders import NOON, begin, every, job, minutes, seconds, worker

pytestmark = pytest.mark.django_db(transaction=True)


def test_a_schedule_locked_by_one_beat_is_passed_over_by_another() -> None:
    every(60, "mine")
    every(60, "yours")
    with psycopg.connect(database_url()) as other:
        other.execute(
            "SELECT 1 FROM jobs_schedule s JOIN django_celery_beat_periodictask t ON t.id = periodic_task_id "
            "WHERE t.name = 'yours' FOR UPDATE OF s"
        )
        assert claiming.claim_due(NOON + minutes(1)) == 1
        other.rollback()
    assert claiming.claim_due(NOON + minutes(1)) == 1
    assert Job.objects.count() == 2


def test_many_beats_claim_each_schedule_once() -> None:
    for n in range(40):
        every(60, f"s{n}")
    threads = [in_thread(lambda: claiming.claim_due(NOON + minutes(1), limit=7)) for _ in range(8)]
    for thread, _ in threads:
        thread.join(20)
    while claiming.claim_due(NOON + minutes(1)):
        pass
    assert Job.objects.count() == 40
    assert sum(out[0] for _, out in threads) <= 40


@pytest.mark.parametrize("table", ["jobs_schedule", "django_celery_beat_periodictask"])
def test_a_claim_waits_for_nobody_who_edits(table: str) -> None:
    every(60)
    with psycopg.connect(database_url()) as editor:
        editor.execute(f"SELECT 1 FROM {table} FOR UPDATE")
        thread, out = in_thread(lambda: claiming.claim_due(NOON + minutes(1)))
        thread.join(5)
        assert out == [0], "the row is left for the next turn: an edit and a claim cannot wait for each other"
        editor.rollback()
    assert claiming.claim_due(NOON + minutes(1)) == 1


def test_the_unique_occurrence_backs_the_lock() -> None:
    schedule = every(60)
    claiming.claim_due(NOON + minutes(1))
    Schedule.objects.filter(pk=schedule.pk).update(next_run_at=NOON, decided_through=NOON)
    claiming.claim_due(NOON + minutes(1))
    assert Job.objects.count() == 1


def test_of_two_starts_one_waits_and_loses() -> None:
    row, first, second = job(), worker("a"), worker("b")

    def start_second() -> object:
        return executing.begin(
            Fence(row.id, 1),
            task=row.task,
            queue=row.queue,
            worker_id=second,
            default_limit=60,
            default_max_attempts=1,
        )

    with transaction.atomic():
        begin(row, worker_id=first)
        thread, out = in_thread(start_second)
        eventually(waits_for_a_lock, 4)
    thread.join(10)
    assert isinstance(out[0], executing.Refusal)
    assert Job.objects.get().worker_id == first


def test_a_finish_and_a_rescue_do_not_both_count() -> None:
    row = job()
    execution = begin(row)
    with transaction.atomic():
        assert moves.complete(execution.fence)
        thread, out = in_thread(lambda: moves.crash(execution.fence, "lost"))
        eventually(waits_for_a_lock, 4)
    thread.join(10)
    assert out == [False]
    assert (Job.objects.get().status, Job.objects.get().crashes) == ("completed", 0)


def test_a_rescue_passes_over_a_job_that_is_being_finished() -> None:
    row = job()
    execution = begin(row)
    with transaction.atomic():
        assert moves.complete(execution.fence)
        thread, out = in_thread(lambda: recovering.rescue(database_now() + minutes(600)))
        thread.join(10)
        assert out == [0], "it skips the locked row and does not wait"


def test_two_promotions_send_one_message(redis: Any) -> None:
    row = job()
    moves.retry_at(begin(row).fence, NOON, outcome=Outcome.ERROR, error="x")
    threads = [in_thread(lambda: dispatching.promote_due(NOON + seconds(1))) for _ in range(6)]
    for thread, _ in threads:
        thread.join(10)
    assert sum(out[0] for _, out in threads) == 1
    assert redis.llen("default") == 1
