"""The tasks that run meanwhile: short and long ones, such that fail and such that kill their process."""

from __future__ import annotations

import os
import signal
import time
from typing import Any

from celery import shared_task

from jobs.public import context
from tests.jobs.tasks import _note as note


@shared_task(name="tests.nemesis.work")
def work(path: str, seconds: float = 0.0) -> int:
    """Note begin and end, `seconds` apart."""
    note(path, "begin")
    time.sleep(seconds)
    note(path, "end")
    return context().attempt


@shared_task(
    name="tests.nemesis.flaky", bind=True, autoretry_for=(ValueError,), retry_backoff=1, max_retries=3
)
def flaky(self: Any, path: str, failures: int) -> None:
    """Fail as often as that, then succeed."""
    note(path, "begin")
    if self.request.retries < failures:
        raise ValueError(f"failure {self.request.retries + 1} of {failures}")
    note(path, "end")


@shared_task(name="tests.nemesis.hopeless", max_attempts=1)
def hopeless(path: str) -> None:
    """Fail for good."""
    note(path, "begin")
    raise ValueError("this was to be expected")


@shared_task(name="tests.nemesis.crash")
def crash(path: str) -> None:
    """Kill the process in the first attempt."""
    note(path, "begin")
    if context().attempt == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    note(path, "end")
