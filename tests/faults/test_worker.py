"""Faults of workers: they are killed at the worst moment, as a whole or in part."""

from __future__ import annotations

import os
import signal
import subprocess
from datetime import datetime, timedelta
from typing import Any

import psutil
import pytest

from jobs.engine.clock import database_now
from jobs.models import Attempt, Job
from tests.acceptance.line import eventually
from tests.faults import processes
from tests.faults.scene import LEASE, SWEEP, Scene
from tests.jobs import tasks

SLACK = 2.0
"""Seconds for a sweep that is late because two cores also run other tests."""


def seconds(span: timedelta) -> float:
    return round(span.total_seconds(), 3)


def decided_after(job_id: str, moment: datetime) -> float:
    """Seconds from `moment` to the end of a job's first attempt, by the database's clock."""
    return seconds(Attempt.objects.get(job_id=job_id, number=1).finished_at - moment)


@pytest.mark.fault(6, "a worker killed in the BRPOP window (SIGSTOP, publish, kill -9)")
@pytest.mark.timeout(600)
def test_a_worker_killed_with_a_message_on_its_way(scene: Scene) -> None:
    rounds, victims = scene.size((1, 4), (5, 4))
    scene.line.beat()
    lost: list[str] = []
    for number in range(rounds):
        queues = [f"q{number}-{victim}" for victim in range(victims)]
        workers = [scene.line.worker(queue, concurrency=1, wait=False) for queue in queues]
        for worker, queue in zip(workers, queues, strict=True):
            scene.line.wait_until_ready(worker)
            lost.append(_lose_a_message(scene, worker, queue))
            processes.kill(worker)
        assert not scene.oracle.begins().keys() & set(lost[-victims:]), "they are lost"
        scene.line.worker(*queues, name=f"rescuer{number}")
        scene.oracle.wait_until_at_rest(30, scene.tails)
    scene.figures = scene.oracle.judge()
    begins = scene.oracle.begins()
    assert [begins[job_id] for job_id in lost] == [1] * (rounds * victims)
    waited = [job.started_at - job.created_at for job in Job.objects.filter(id__in=lost)]
    scene.figures |= {"lost": len(lost), "run": sum(begins[job_id] for job_id in lost)}
    scene.figures["recovery_s"] = seconds(max(waited))


def _lose_a_message(scene: Scene, worker: subprocess.Popen[bytes], queue: str) -> str:
    """Publish a job to a worker that Redis still serves, but that does not read; return the job's id.

    Redis has then given the message away, and nobody has it: the window of a destructive BRPOP.
    """
    main = psutil.Process(worker.pid)
    ports = {connection.laddr.port for connection in main.net_connections()}
    client = scene.client()

    def is_blocked(peer: dict[str, str]) -> bool:
        return "b" in peer["flags"] and int(peer["addr"].rpartition(":")[2]) in ports

    def lose() -> str | None:
        main.suspend()
        if any(map(is_blocked, client.client_list())):
            job_id = str(tasks.record.apply_async((str(scene.notes),), queue=queue).id)
            if client.llen(queue) == 0:
                return job_id
        main.resume()  # it was between two BRPOPs: once more
        return None

    lost: str = eventually(lose, 20, scene.tails)
    return lost


@pytest.mark.fault(7, "kill -9 of the whole worker group in mid-job")
def test_a_killed_worker_group(scene: Scene) -> None:
    scene.line.beat()
    victim = scene.line.worker(name="victim")
    running = [tasks.slow_once.delay(str(scene.notes), 60).id for _ in range(2)]
    waiting = tasks.record.delay(str(scene.notes)).id
    eventually(lambda: len(scene.oracle.begins()) == 2, 10, scene.tails)
    scene.line.worker(name="other", concurrency=1)
    eventually(lambda: scene.oracle.begins()[waiting], 10, scene.tails)
    killed_at = database_now()
    processes.kill(victim)
    scene.oracle.wait_until_at_rest(LEASE + SWEEP + 15, scene.tails)
    scene.figures = scene.oracle.judge()
    for job_id in running:
        job = Job.objects.get(id=job_id)
        assert (job.attempt, job.crashes, job.errors) == (2, 1, 0)
        assert [a.outcome for a in job.attempts.order_by("number")] == ["crash", "completed"]
        assert decided_after(job_id, killed_at) <= LEASE + SWEEP + SLACK
    assert scene.oracle.begins() == {running[0]: 2, running[1]: 2, waiting: 1}
    rerun = max(Job.objects.filter(id__in=running).values_list("started_at", flat=True))
    scene.figures["recovery_s"] = seconds(rerun - killed_at)


@pytest.mark.fault(7, "kill -9 of a worker's main process alone in mid-job")
def test_a_killed_main_process(scene: Scene) -> None:
    """Its children must not go on for long: what they run is about to run elsewhere."""
    scene.line.beat()
    victim = scene.line.worker(name="victim", concurrency=1)
    job_id = tasks.slow_once.delay(str(scene.notes), 60).id
    began: Any = eventually(scene.oracle.notes, 10, scene.tails)[0]
    scene.line.worker(name="other")
    killed_at = database_now()
    os.kill(victim.pid, signal.SIGKILL)
    scene.oracle.wait_until_at_rest(LEASE + SWEEP + 15, scene.tails)
    scene.figures = scene.oracle.judge() | {"decided_s": decided_after(job_id, killed_at)}
    assert scene.figures["crashes"] == 1
    assert scene.figures["decided_s"] <= LEASE + SWEEP + SLACK
    assert processes.gone(began.pid), "the first attempt still runs, beside the second"


@pytest.mark.fault(8, "kill -9 of one pool child")
def test_a_killed_pool_child(scene: Scene) -> None:
    """Several times: whether a dead child is seen at once has depended on the order of its last moments."""
    kills = scene.size(6, 20)
    worker = scene.line.worker(concurrency=2)
    neighbour = tasks.record.delay(str(scene.notes), scene.size(6, 25)).id
    eventually(lambda: scene.oracle.begins()[neighbour], 10, scene.tails)
    decided = [_kill_its_process(scene, tasks.slow_once.delay(str(scene.notes), 60).id) for _ in range(kills)]
    scene.oracle.wait_until_at_rest(30, scene.tails)
    scene.figures = scene.oracle.judge() | {"kills": kills, "decided_s": max(decided)}
    assert max(decided) <= 2
    assert scene.figures["crashes"] == kills
    assert scene.oracle.begins()[neighbour] == 1, "the neighbour runs on"
    assert worker.poll() is None


def _kill_its_process(scene: Scene, job_id: str) -> float:
    """Kill the process that runs a job; return the seconds until that was recorded."""

    def pid() -> int | None:
        return next((note.pid for note in scene.oracle.notes("begin") if note.job_id == job_id), None)

    victim: int = eventually(pid, 10, scene.tails)
    killed_at = database_now()
    os.kill(victim, signal.SIGKILL)
    eventually(lambda: Job.objects.get(id=job_id).status == "completed", 20, scene.tails)
    return decided_after(job_id, killed_at)
