"""Faults of tasks: they take too much time or memory, die, or leave processes behind."""

from __future__ import annotations

import json
import os
import signal
from contextlib import closing
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User

from jobs.engine import tokens
from jobs.engine.cancelling import cancel
from jobs.models import Attempt, Job
from jobs.public import PayloadTooLarge
from scheduler_project.standalone.processes import free_port
from tests.acceptance.line import eventually
from tests.faults import processes
from tests.faults.scene import Scene
from tests.faults.test_worker import SLACK, seconds
from tests.jobs import tasks

MEMORY_MB = 256


def outcomes(job_id: str) -> list[str]:
    return list(Attempt.objects.filter(job_id=job_id).order_by("number").values_list("outcome", flat=True))


@pytest.mark.fault(23, "a task that eats all memory under a limit; one that kills itself with SIGKILL")
def test_poison(scene: Scene) -> None:
    scene.line.env["JADWAL_MEMORY_LIMIT_MB"] = str(MEMORY_MB)
    worker = scene.line.worker(concurrency=3)
    notes = str(scene.notes)
    neighbour = tasks.record.delay(notes, 4).id
    eventually(lambda: scene.oracle.begins()[neighbour], 10, scene.tails)
    poison = [tasks.eat_memory.delay(notes).id, tasks.kill_self.delay(notes).id]
    after = [tasks.record.delay(notes).id for _ in range(10)]
    scene.oracle.wait_until_at_rest(30, scene.tails)
    scene.figures = scene.oracle.judge()
    for job in Job.objects.filter(id__in=poison):
        assert (job.status, job.reason, job.crashes, job.errors) == ("failed", "poison", 3, 0)
        assert outcomes(job.id) == ["crash"] * 3
    assert scene.oracle.begins() == dict.fromkeys(poison, 3) | dict.fromkeys([neighbour, *after], 1)
    assert outcomes(neighbour) == ["completed"]
    assert worker.poll() is None
    eventually(lambda: len(processes.family(worker)) == 1 + 3, 10, scene.tails)  # as many children as before


@pytest.mark.fault(24, "a hard timeout, and a swallowed soft limit")
def test_time_limits(scene: Scene) -> None:
    scene.line.beat()
    worker = scene.line.worker(concurrency=3)
    notes = str(scene.notes)
    neighbour = tasks.record.delay(notes, 4).id
    swallowing = tasks.swallow.delay(notes).id
    slow = tasks.slow_once.apply_async((notes, 60), time_limit=2).id
    assert Job.objects.filter(id__in=[swallowing, slow]).update(backoff={"base": 0.2}, max_attempts=2) == 2
    scene.oracle.wait_until_at_rest(30, scene.tails)
    scene.figures = scene.oracle.judge()
    assert outcomes(swallowing) == ["timeout", "timeout"]
    dead = Job.objects.get(id=swallowing)
    assert (dead.status, dead.reason, dead.errors, dead.crashes) == ("failed", "exhausted", 2, 0)
    assert "hard limit of 2 s" in dead.error
    assert outcomes(slow) == ["timeout", "completed"], "retried by the policy"
    killed = Attempt.objects.filter(outcome="timeout")
    took = [seconds(attempt.finished_at - attempt.started_at) for attempt in killed]
    scene.figures["ended_s"] = max(took)
    assert all(1.8 <= span <= 2 + SLACK for span in took), took
    assert outcomes(neighbour) == ["completed"]
    assert worker.poll() is None


@pytest.mark.fault(24, "a subprocess child of a task that is ended")
def test_no_process_outlives_its_task(scene: Scene) -> None:
    """However the task ends: at its hard limit, cancelled, shot, or by a stop whose grace is over."""
    scene.line.env["JADWAL_SHUTDOWN_GRACE"] = "1"
    scene.line.beat()
    worker = scene.line.worker(concurrency=4)
    limited = WithChild(scene, "limited", time_limit=3)
    cancelled, shot, stopped = (WithChild(scene, how) for how in ("cancelled", "shot", "stopped"))
    Job.objects.filter(id=limited.job_id).update(backoff={"base": 0.2})
    eventually(lambda: cancelled.pids() and shot.pids() and stopped.pids(), 15, scene.tails)
    assert cancel([cancelled.job_id]) == (0, 1)
    os.kill(shot.process(), signal.SIGKILL)
    for one in (limited, cancelled, shot):
        one.ends()
    assert not any(map(processes.gone, stopped.pids())), "the neighbour's are untouched"
    scene.stop_gracefully(worker)
    stopped.ends()
    scene.line.worker()
    scene.oracle.wait_until_at_rest(20, scene.tails)
    scene.figures = scene.oracle.judge()
    assert outcomes(limited.job_id) == ["timeout", "completed"]
    assert outcomes(cancelled.job_id) == ["cancelled"]
    assert outcomes(shot.job_id) == ["crash", "completed"]
    assert outcomes(stopped.job_id) == ["interrupted", "completed"]


@pytest.mark.fault(24, "a payload of 10 MB")
def test_a_payload_of_ten_megabytes(scene: Scene) -> None:
    """It is refused where it is handed in, with what to do; nothing of it is anywhere. Others go on."""
    worker = scene.line.worker()
    big = "x" * 10_000_000
    for hand_in in (
        lambda: tasks.record.delay(big),
        lambda: tasks.record.apply_async((), {"path": big}),
        lambda: (tasks.add.s(1, 2) | tasks.record.si(big)).apply_async(),
    ):
        with pytest.raises(PayloadTooLarge, match="JADWAL_MAX_PAYLOAD_BYTES"):
            hand_in()
    assert answer_to_post(scene, task="jobs.canary", args=[big]) == (413, "application/problem+json")
    assert not Job.objects.exists()
    assert scene.client().llen("default") == 0
    tasks.record.delay(str(scene.notes))
    scene.oracle.wait_until_at_rest(10, scene.tails)
    scene.figures = scene.oracle.judge()
    assert worker.poll() is None


def answer_to_post(scene: Scene, **document: Any) -> tuple[int, str]:
    """Ask a web process for a job; return the status and the type of its answer."""
    _, token = tokens.create("fault", User.objects.create_superuser("fault"))
    address = f"127.0.0.1:{free_port()}"
    web = scene.line.spawn("gunicorn", "scheduler_project.wsgi", "--bind", address)
    eventually(lambda: b"Listening at" in scene.line.log_of(web), 20, scene.tails)
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    connection = HTTPConnection(address, timeout=20)
    with closing(connection):
        connection.request("POST", "/api/v1/jobs", json.dumps(document), headers)
        answer = connection.getresponse()
        return answer.status, answer.headers["Content-Type"]


class WithChild:
    """A job whose task waits for a process of its own, which waits for another."""

    def __init__(self, scene: Scene, how: str, **options: Any) -> None:
        self.scene, self.how = scene, how
        self.file = Path(scene.folder / f"pids-{how}")
        self.job_id: str = tasks.with_child.apply_async((str(scene.notes), str(self.file)), **options).id

    def pids(self) -> list[int]:
        """What the task has started; empty before."""
        return [int(pid) for pid in self.file.read_text().split()] if self.file.exists() else []

    def process(self) -> int:
        """The pool child that runs the task."""
        return next(note.pid for note in self.scene.oracle.notes("begin") if note.job_id == self.job_id)

    def ends(self) -> None:
        """Wait until the task's process is gone, and everything that it started."""
        pids = [self.process(), *self.pids()]
        assert len(pids) == 3
        eventually(
            lambda: all(map(processes.gone, pids)),
            10,
            lambda: (
                f"{self.how}: {[pid for pid in pids if not processes.gone(pid)]} live\n{self.scene.tails()}"
            ),
        )
