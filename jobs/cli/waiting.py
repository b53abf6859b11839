"""Waiting until a job has ended."""

from __future__ import annotations

import time
from collections.abc import Callable

from jobs.cli.failures import FAILED, TIMED_OUT, Failure
from jobs.cli.selecting import job_with
from jobs.models import Job
from jobs.rules.states import TERMINAL, Status

FIRST_PAUSE, LONGEST_PAUSE = 0.05, 0.5


def until(done: Callable[[], bool], timeout: float | None) -> bool:
    """Ask `done` again and again, at most `timeout` seconds; return whether it was."""
    end = None if timeout is None else time.monotonic() + timeout
    pause = FIRST_PAUSE
    while not done():
        left = None if end is None else end - time.monotonic()
        if left is not None and left <= 0:
            return False
        time.sleep(pause if left is None else min(pause, left))
        pause = min(pause * 1.3, LONGEST_PAUSE)
    return True


def ended_job(job_id: str, timeout: float | None) -> tuple[Job, Failure | None]:
    """Wait for a job at most `timeout` seconds; return it, and the failure if it did not complete."""
    until(lambda: has_ended(job_id), timeout)
    job = job_with(job_id)
    return job, _failure(job)


def has_ended(job_id: str) -> bool:
    """Return whether a job is in a final state; one that was pruned meanwhile has ended too."""
    status = Job.objects.filter(id=job_id).values_list("status", flat=True).first()
    return status is None or status in TERMINAL


def _failure(job: Job) -> Failure | None:
    if job.status == Status.COMPLETED:
        return None
    if job.status not in TERMINAL:
        return Failure(
            f"Job {job.id} is still {job.status}: go on with 'manage.py jobs wait {job.id}'.", TIMED_OUT
        )
    why = job.error or job.reason
    return Failure(f"Job {job.id} ended as {job.status} ({why}): see 'manage.py jobs logs {job.id}'.", FAILED)
