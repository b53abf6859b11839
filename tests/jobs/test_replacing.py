"""`self.replace` by a canvas: what takes the place of a task, and whose its result is."""

from __future__ import annotations

from typing import Any

import pytest
import redis as redis_client
from celery import chain, current_app

from jobs.engine import dispatching
from jobs.engine.records import Fence
from jobs.models import Job
from tests.jobs import moves, tasks
from tests.jobs.test_executing import _this_process_is_a_worker, deliver, drain, run_next

__all__ = ["_this_process_is_a_worker"]  # a fixture for all tests here

pytestmark = pytest.mark.django_db(transaction=True)


@current_app.task(name="tests.becomes_a_chain", bind=True)
def becomes_a_chain(self: Any, overtaken: bool = False) -> Any:
    if overtaken:
        assert moves.crash(Fence(self.request.id, 1), "the lease ended")
    return self.replace(chain(tasks.add.s(1, 2), tasks.add.s(3)))


def test_a_chain_in_the_place_of_a_task_is_born_with_its_end(redis: redis_client.Redis) -> None:
    result = becomes_a_chain.delay()
    run_next(redis)
    replaced, first = Job.objects.order_by("created_at")
    assert (replaced.status, first.task, first.headers["parent_id"]) == ("completed", "tests.add", result.id)
    assert result.state == "PENDING"
    assert drain(redis) == 2
    assert result.get(timeout=1) == 6


def test_a_worker_that_lost_its_lease_puts_nothing_in_the_place_of_a_task(redis: redis_client.Redis) -> None:
    becomes_a_chain.delay(overtaken=True)
    run_next(redis)
    assert Job.objects.count() == 1


def test_a_failure_of_what_took_the_place_of_a_task_is_its_own(redis: redis_client.Redis) -> None:
    result = becomes_a_chain.delay()
    run_next(redis)
    Job.objects.filter(status="waiting").update(task="tests.permanent", args=[])
    deliver({"headers": _message_of(Job.objects.get(status="waiting"))})
    assert result.state == "FAILURE"


def _message_of(job: Job) -> dict[str, Any]:
    return dispatching.Message.of(job).as_headers()
