"""Messages of other programs: plain Celery elsewhere, on the same Redis, without a Django project without our code."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from celery.result import AsyncResult
from django.conf import settings

from jobs.models import Job, Quarantine
from tests.compatibility.stage import Stage

pytestmark = pytest.mark.acceptance

PROGRAM = Path(__file__).with_name("elsewhere.py")


def elsewhere(*calls: list[Any], **conf: Any) -> list[str]:
    """Let the other program send `calls`; return the ids."""
    done = subprocess.run(
        [sys.executable, str(PROGRAM), settings.REDIS_URL, json.dumps(calls), json.dumps(conf)],
        env={"PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    ids: list[str] = json.loads(done.stdout)
    return ids


def call(task: str, *args: Any, kwargs: dict[str, Any] | None = None, **options: Any) -> list[Any]:
    return [task, list(args), kwargs or {}, {"queue": "default", **options}]


def test_a_message_becomes_a_job_when_a_worker_receives_it(stage: Stage) -> None:
    """As in Celery: it runs. Here it has a row, attempts, a log and retries from then on."""
    [task_id] = elsewhere(call("compat.add", 1, 2))
    job = stage.ended(task_id)
    assert (job.status, job.trigger, job.args, job.attempt) == ("completed", "foreign", [1, 2], 1)
    assert AsyncResult(task_id).get(timeout=5) == 3


def test_what_the_task_sees_of_it(stage: Stage) -> None:
    """As in Celery: keyword arguments, headers and shadow arrive."""
    [task_id] = elsewhere(
        call("compat.echo", 1, kwargs={"b": 2}, headers={"tenant": "acme"}, shadow="nicer", priority=5)
    )
    stage.ended(task_id)
    seen = AsyncResult(task_id).get(timeout=5)
    assert (seen["args"], seen["kwargs"], seen["shadow"]) == ([1], {"b": 2}, "nicer")
    assert seen["headers"]["tenant"] == "acme"


def test_a_message_with_a_time_to_come(stage: Stage) -> None:
    """As in Celery: not before its time. Here a row waits, and no worker holds the message."""
    began = time.time()
    [task_id] = elsewhere(call("compat.take_note", countdown=3))
    stage.until(lambda: Job.objects.filter(id=task_id, status="delayed").exists())
    stage.ended(task_id)
    assert stage.notes(task_id, "ran")[0]["at"] - began > 2.9


def test_a_message_that_expires(stage: Stage) -> None:
    """As in Celery: it does not run after that."""
    late, in_time = elsewhere(
        call("compat.take_note", countdown=2, expires=1), call("compat.take_note", expires=60)
    )
    assert stage.ended(in_time).status == "completed"
    assert stage.ended(late).status == "skipped"
    assert stage.notes(late, "ran") == []


def test_a_message_that_has_expired_before_it_is_received(stage: Stage) -> None:
    """As in Celery: it does not run, and its result is REVOKED. It does not become a job."""
    [task_id] = elsewhere(call("compat.take_note", queue="compat.late", expires=0.5))
    time.sleep(0.6)  # the time that has to pass is the point
    with stage.worker_of("compat.late"):
        stage.until(lambda: stage.redis.llen("compat.late") == 0)
        [after] = elsewhere(call("compat.take_note", queue="compat.late"))
        stage.ended(after)
    assert stage.notes(task_id, "ran") == []
    assert AsyncResult(task_id).state == "REVOKED"
    assert not Job.objects.filter(id=task_id).exists()


def test_an_error_is_retried_by_the_policy(stage: Stage) -> None:
    """Differs as for any job: an error is tried again where the task does not say otherwise."""
    [task_id] = elsewhere(call("compat.fail_as_usual"))
    stage.until(lambda: Job.objects.filter(id=task_id, status="delayed", errors=1).exists())
    AsyncResult(task_id).revoke()


def test_a_canvas_of_another_program(stage: Stage) -> None:
    """As in Celery: a chain and links go on; each step is a job."""
    [last] = elsewhere(
        ["chain", call("compat.add", 1, 2), call("compat.add", 10), call("compat.echo")],
    )
    stage.ended(last)
    assert AsyncResult(last).get(timeout=5)["args"] == [13]
    [failing] = elsewhere(
        call(
            "compat.fail",
            link_error=[
                {
                    "task": "compat.on_error",
                    "args": [],
                    "kwargs": {},
                    "options": {},
                    "subtask_type": None,
                    "immutable": False,
                }
            ],
        )
    )
    stage.until(lambda: stage.notes(failing, "error callback"))


def test_a_message_that_comes_twice_runs_once(stage: Stage) -> None:
    """Differs: in Celery it runs twice. The id is the job's, and its job is done."""
    [task_id] = elsewhere(call("compat.take_note", queue="compat.twice"))
    message = stage.redis.lindex("compat.twice", 0)
    stage.redis.lpush("compat.twice", message)
    [last] = elsewhere(call("compat.take_note", queue="compat.twice"))
    with stage.worker_of("compat.twice"):
        stage.ended(last)
    assert len(stage.notes(task_id, "ran")) == 1


def test_a_task_that_nobody_has(stage: Stage) -> None:
    """As in Celery, which logs and drops it. Here it is in quarantine, to be looked at."""
    before = Quarantine.objects.count()
    elsewhere(call("nobody.has.this"))
    stage.until(lambda: Quarantine.objects.count() == before + 1)
    problem = Quarantine.objects.latest("id").problem
    assert "nobody.has.this" in problem


def test_revoking_from_elsewhere(stage: Stage) -> None:
    """As in Celery: by broadcast, so only workers that listen hear it."""
    [task_id] = elsewhere(call("compat.sleep", 60))
    stage.until(lambda: stage.notes(task_id, "began"))
    elsewhere(["revoke", task_id, {"terminate": True}])
    assert stage.ended(task_id).status == "cancelled"


def test_revoking_what_waits_from_elsewhere(stage: Stage) -> None:
    """As in Celery. Here a worker that hears it cancels the job, so it stays cancelled."""
    [task_id] = elsewhere(call("compat.take_note", countdown=60))
    stage.until(lambda: Job.objects.filter(id=task_id, status="delayed").exists())
    elsewhere(["revoke", task_id, {}])
    assert stage.ended(task_id).status == "cancelled"
    assert AsyncResult(task_id).state == "REVOKED"


def test_the_old_message_protocol(stage: Stage) -> None:
    """Differs: `task_protocol = 1`, the way of Celery 3, is not understood. The message is in quarantine."""
    before = Quarantine.objects.count()
    elsewhere(call("compat.add", 1, 2), task_protocol=1)
    stage.until(lambda: Quarantine.objects.count() == before + 1)


def test_messages_can_be_refused(stage: Stage) -> None:
    """Differs: with JADWAL_ADOPT_FOREIGN=0 only jobs run. The message is dropped, with a line in the log."""
    [foreign] = elsewhere(call("compat.take_note", queue="compat.closed"))
    with stage.worker_of("compat.closed", JADWAL_ADOPT_FOREIGN="0") as worker:
        stage.until(lambda: f"message {foreign}".encode() in stage.line.log_of(worker))
        assert stage.redis.llen("compat.closed") == 0
    assert not Job.objects.filter(id=foreign).exists()
    assert stage.notes(foreign) == []
