"""Malformed messages do not hurt a worker: they are in quarantine, and visible."""

from __future__ import annotations

from pathlib import Path

import pytest
import redis as redis_client
from celery import current_app

from jobs.models import Job, Quarantine
from tests.acceptance.line import Line, eventually
from tests.jobs import tasks
from tests.unit.rules.test_messages import BROKEN, envelope

pytestmark = pytest.mark.acceptance


def test_rubbish_goes_into_quarantine_and_the_worker_goes_on(
    line: Line, redis: redis_client.Redis, tmp_path: Path
) -> None:
    import json

    worker = line.worker()
    for item in BROKEN.values():
        redis.lpush("default", item)
    redis.lpush("default", json.dumps(envelope(headers__task="no.such.task")))
    result = tasks.add.delay(1, 2)
    eventually(lambda: Job.objects.get(id=result.id).status == "completed", 20, lambda: line.tail(worker))
    assert worker.poll() is None
    eventually(lambda: Quarantine.objects.count() == len(BROKEN) + 1, 5, lambda: line.tail(worker))
    assert redis.llen("default") == 0


def test_a_job_whose_task_the_worker_does_not_have_fails_at_once(
    line: Line, redis: redis_client.Redis
) -> None:
    worker = line.worker()
    result = current_app.send_task("other.program.task", [1], queue="default")
    job = eventually(
        lambda: Job.objects.filter(id=result.id, status="failed").first(), 15, lambda: line.tail(worker)
    )
    assert (job.reason, job.attempt) == ("permanent", 1)
    assert "no task named 'other.program.task'" in job.error
