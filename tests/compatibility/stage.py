"""A beat and a worker for all tests of this folder, and what the tests ask of them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from subprocess import Popen
from typing import Any

import redis as redis_client
from celery.result import AsyncResult, ResultBase

from jobs.models import Job
from tests.acceptance.line import Line, eventually, kill_group

PATIENCE = 20.0
"""Seconds after which a test gives up."""


class Stage:
    """The running processes, and the file in which tasks note what happened to them."""

    def __init__(self, folder: Path, redis: redis_client.Redis) -> None:
        self.notes_file = folder / "notes"
        self.notes_file.touch()
        self.redis = redis
        self.line = Line(folder, COMPATIBILITY_NOTES=str(self.notes_file))
        self.workers: list[Popen[bytes]] = []

    def worker(self, queue: str = "default", *, concurrency: int = 3, **env: str) -> Popen[bytes]:
        """Start a worker of ordinary tasks, and do not wait for it."""
        usual = self.line.env
        self.line.env = {**usual, **env}
        worker = self.line.spawn(
            "celery", "-A", "scheduler_project", "worker", "-Q", queue, "-c", str(concurrency),
            "-n", f"{queue}@%h", "-l", "INFO", "-I", "tests.compatibility.tasks",
            "--without-mingle", "--without-gossip",
        )  # fmt: skip
        self.line.env = usual
        self.workers.append(worker)
        return worker

    def ready(self) -> None:
        """Wait for the workers."""
        for worker in self.workers:
            eventually(lambda w=worker: b"ready." in self.line.log_of(w), 60, self.why)

    @contextmanager
    def worker_of(self, queue: str, **env: str) -> Iterator[Popen[bytes]]:
        """Run a second worker for a while, one process wide, for a queue that the first does not take."""
        worker = self.worker(queue, concurrency=1, **env)
        try:
            self.ready()
            yield worker
        finally:
            kill_group(worker)
            self.workers.remove(worker)

    def why(self) -> str:
        """What to show when something did not happen."""
        return "\n".join(self.line.tail(process) for process in self.workers)

    # --- What happened

    def until(self, check: Callable[[], Any], seconds: float = PATIENCE) -> Any:
        """Wait until `check` is true and return what it returned."""
        return eventually(check, seconds, self.why)

    def get(self, result: ResultBase, seconds: float = PATIENCE) -> Any:
        """Return what `AsyncResult.get()` returns, and raise what it raises."""
        return result.get(timeout=seconds, interval=0.02)

    def ended(self, result: AsyncResult | str, seconds: float = PATIENCE) -> Job:
        """Wait until the job of a call is over, and return its row."""
        job_id = getattr(result, "id", result)
        job: Job = self.until(
            lambda: Job.objects.filter(id=job_id, finished_at__isnull=False).first(), seconds
        )
        return job

    def notes(self, task_id: str, event: str = "") -> list[dict[str, Any]]:
        """Return what tasks noted about a call, oldest first."""
        lines = map(json.loads, self.notes_file.read_text().splitlines())
        return [line for line in lines if line["id"] == task_id and event in ("", line["event"])]

    def events(self, task_id: str) -> list[str]:
        """Return the names of what tasks noted about a call."""
        return [line["event"] for line in self.notes(task_id)]
