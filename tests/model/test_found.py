"""What the model found, each as a test of its own."""

from __future__ import annotations

import pytest
import redis as redis_client

from jobs.engine import dispatching, executing, limiting
from jobs.engine.executing import Refusal
from jobs.engine.records import Fence
from jobs.models import Job
from jobs.rules.states import Hold, Status
from tests.jobs import moves
from tests.jobs.builders import NOON, begin, every, job, minutes, worker

pytestmark = pytest.mark.django_db(transaction=True)


def start(row: Job, attempt: int = 1) -> object:
    return executing.begin(
        Fence(row.id, attempt),
        task=row.task,
        queue=row.queue,
        worker_id=worker(),
        default_limit=60,
        default_max_attempts=5,
    )


@pytest.mark.semantics(16)
def test_a_job_that_a_limit_holds_back_is_not_overtaken_by_the_next_of_its_schedule(
    redis: redis_client.Redis,
) -> None:
    schedule = every(60)
    first = job(schedule_id=schedule.pk, scheduled_for=NOON)
    second = job(Status.DELAYED, schedule_id=schedule.pk, scheduled_for=NOON + minutes(1), hold=Hold.OVERLAP)
    limiting.pause_queue("default")
    assert isinstance(start(first), Refusal)
    assert Job.objects.get(id=first.id).hold == Hold.CONCURRENCY

    assert dispatching.release_held(NOON + minutes(2)) == 0, "the first one is to run yet"
    limiting.resume_queue("default")
    assert limiting.release(NOON + minutes(10_000_000)) == 1
    assert moves.complete(begin(first).fence)
    assert dispatching.release_held(NOON + minutes(2)) == 1
    assert Job.objects.get(id=second.id).status == Status.WAITING
