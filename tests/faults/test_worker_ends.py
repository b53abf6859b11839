"""Faults at the end of a worker: it is stopped in order, and not in order."""

from __future__ import annotations

import os
import signal
import time
from collections import Counter
from datetime import timedelta
from typing import Any

import pytest
from celery.result import AsyncResult
from django_celery_results.models import TaskResult

from jobs.engine.clock import database_now
from jobs.models import Attempt, Job, JobLog, Worker
from tests.acceptance.line import FAST, eventually
from tests.faults import processes
from tests.faults.scene import GRACE, LEASE, SWEEP, Scene
from tests.faults.test_worker import SLACK, decided_after
from tests.jobs import tasks

ANSWER = 2.0
"""Seconds that an answer of Redis is waited for (`socket_timeout`)."""
HEARTBEAT = float(FAST["JADWAL_HEARTBEAT_SECONDS"])


@pytest.mark.fault(9, "SIGSTOP a worker past its lease, let another finish, SIGCONT: the late write")
def test_a_late_write(scene: Scene) -> None:
    scene.line.beat()
    victim = scene.line.worker("default", "its-own", name="victim")
    job_id = tasks.slow_once.delay(str(scene.notes), LEASE / 2).id
    eventually(scene.oracle.begins, 10, scene.tails)
    with processes.frozen(victim):
        scene.line.worker(name="other")
        scene.oracle.wait_until_at_rest(LEASE + SWEEP + 15, scene.tails)
        before = _everything(job_id)
    eventually(lambda: len(scene.oracle.notes("end")) == 2, 10, scene.tails)
    eventually(lambda: b"changed nothing" in scene.line.log_of(victim), 10, scene.tails)
    scene.figures = scene.oracle.judge()
    assert _everything(job_id) == before
    assert AsyncResult(job_id).get() == 2, "the second attempt's"
    assert scene.figures["crashes"] == 1
    _is_usable(scene, "its-own")


@pytest.mark.fault(9, "SIGSTOP a worker past its lease, let another finish, SIGCONT: the zombie stops")
def test_a_zombie_stops(scene: Scene) -> None:
    scene.line.beat()
    victim = scene.line.worker("default", "its-own", name="victim")
    tasks.slow_once.delay(str(scene.notes), 60)
    zombie = eventually(scene.oracle.notes, 10, scene.tails)[0]
    with processes.frozen(victim):
        scene.line.worker(name="other")
        scene.oracle.wait_until_at_rest(LEASE + SWEEP + 15, scene.tails)
    thawed = time.monotonic()
    eventually(lambda: processes.gone(zombie.pid), 10, scene.tails)
    stopped = time.monotonic() - thawed
    _is_usable(scene, "its-own")
    scene.figures = scene.oracle.judge() | {"stopped_s": round(stopped, 2)}
    assert scene.figures["crashes"] == 1
    assert [note.attempt for note in scene.oracle.notes("end")] == [2, 1], "the other's, and the new job's"
    assert stopped <= 2 * HEARTBEAT + SLACK


def _everything(job_id: str) -> tuple[Any, ...]:
    """All that the ledger says about a job."""
    return tuple(
        list(model.objects.filter(**{key: job_id}).order_by("pk").values_list())
        for model, key in ((Job, "id"), (Attempt, "job_id"), (TaskResult, "task_id"), (JobLog, "job_id"))
    )


def _is_usable(scene: Scene, queue: str) -> None:
    """Whether the only worker of a queue still takes jobs, and is known as alive."""
    job_id = tasks.record.apply_async((str(scene.notes),), queue=queue).id
    eventually(lambda: Job.objects.get(id=job_id).status == "completed", 15, scene.tails)
    alive = Worker.objects.alive(database_now(), timedelta(seconds=LEASE))  # type: ignore[attr-defined]
    assert alive.filter(queues__contains=queue).count() == 1


@pytest.mark.fault(10, "SIGTERM with 10 active and 50 waiting, 5 s of grace")
def test_a_graceful_stop(scene: Scene) -> None:
    scene.line.beat()
    worker = scene.line.worker(concurrency=10)
    short = {tasks.record.delay(str(scene.notes), 2).id for _ in range(4)}
    long = {tasks.slow_once.delay(str(scene.notes), 60).id for _ in range(6)}
    eventually(lambda: len(scene.oracle.begins()) == 10, 15, scene.tails)
    waiting = {tasks.record.delay(str(scene.notes)).id for _ in range(50)}
    asked = time.monotonic()
    assert scene.stop_gracefully(worker) == 0
    took = time.monotonic() - asked
    assert Counter(Job.objects.values_list("status", flat=True)) == {"waiting": 56, "completed": 4}
    assert Counter(Attempt.objects.values_list("outcome", flat=True)) == {"completed": 4, "interrupted": 6}
    assert Worker.objects.get().stopped_at is not None, "it said goodbye"

    scene.line.worker(concurrency=4)
    scene.oracle.wait_until_at_rest(30, scene.tails)
    scene.figures = scene.oracle.judge()
    assert scene.oracle.begins() == {job_id: 2 if job_id in long else 1 for job_id in short | long | waiting}
    assert not Job.objects.exclude(status="completed", errors=0, crashes=0).exists(), "nothing is charged"
    scene.figures |= {"exit_s": round(took, 2)}
    assert took <= GRACE + 2
    assert b"no longer ours" not in scene.line.log_of(worker), "what ends meanwhile is not lost"


@pytest.mark.fault(14, "SIGSTOP Redis while a job runs: its limit is kept, and SIGTERM ends the worker")
def test_a_worker_of_a_silent_broker(scene: Scene) -> None:
    """The main loop, which keeps the limits and hears of ends and signals, waits for no answer that never comes."""
    worker = scene.line.worker()
    limited = tasks.slow_once.apply_async((str(scene.notes), 60), time_limit=3).id
    Job.objects.filter(id=limited).update(max_attempts=1)
    tasks.record.delay(str(scene.notes), 1)
    eventually(lambda: len(scene.oracle.begins()) == 2, 10, scene.tails)
    os.kill(scene.redis.pid, signal.SIGSTOP)
    scene.wait(3 + ANSWER + SLACK)
    assert list(Attempt.objects.filter(job_id=limited).values_list("outcome", flat=True)) == ["timeout"]
    asked = time.monotonic()
    scene.stop_gracefully(worker, 30)
    scene.figures = {"exit_s": round(time.monotonic() - asked, 2)}
    os.kill(scene.redis.pid, signal.SIGCONT)
    assert scene.figures["exit_s"] <= GRACE + 4 * ANSWER
    assert b"no longer ours" not in scene.line.log_of(worker)
    assert Worker.objects.get().stopped_at is not None, "it said goodbye"


@pytest.mark.fault(11, "SIGTERM, then SIGKILL after 1 s")
def test_a_graceful_stop_that_is_cut_off(scene: Scene) -> None:
    scene.line.beat()
    victim = scene.line.worker(name="victim")
    running = [tasks.slow_once.delay(str(scene.notes), 60).id for _ in range(2)]
    eventually(lambda: len(scene.oracle.begins()) == 2, 10, scene.tails)
    scene.line.worker(name="other")
    victim.send_signal(signal.SIGTERM)
    scene.wait(1)
    assert victim.poll() is None, "it waits for its jobs"
    killed_at = database_now()
    processes.kill(victim)
    scene.oracle.wait_until_at_rest(LEASE + SWEEP + 15, scene.tails)
    scene.figures = scene.oracle.judge()
    for job_id in running:
        job = Job.objects.get(id=job_id)
        assert (job.attempt, job.crashes, job.errors) == (2, 1, 0)
        assert decided_after(job_id, killed_at) <= LEASE + SWEEP + SLACK
    scene.figures["decided_s"] = max(decided_after(job_id, killed_at) for job_id in running)
