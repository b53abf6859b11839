"""Ends of attempts that the worker's main process sees: lost children, hard limits, stops, cancellations."""

from __future__ import annotations

from functools import partial
from uuid import UUID

from billiard.exceptions import TimeLimitExceeded
from celery.exceptions import NotRegistered
from django.db import transaction

from jobs.engine import aftermath, cancelling, ending, finishing, lifecycle, recovering
from jobs.engine.clock import database_now
from jobs.engine.executing import Execution, Refusal, begin
from jobs.engine.records import Fence, Started
from jobs.models import Job
from jobs.rules.retry import FailureKind, RetryAt
from jobs.rules.states import Status


def _running(fence: Fence) -> Job | None:
    return Job.objects.filter(id=fence.job_id, attempt=fence.attempt, status=Status.ACTIVE).first()


def _status(fence: Fence) -> Status:
    return Status(Job.objects.values_list("status", flat=True).get(id=fence.job_id))


def crashed(fence: Fence, why: str) -> Status | None:
    """The pool child of this attempt died; return what the job is now, None if it was decided before."""
    job = _running(fence)
    if job is None:
        return None
    with transaction.atomic():
        lost = recovering.Lost(fence, job.errors, job.crashes, stopped=False, why=why)
        recovering.declare_lost(lost)
    return _status(fence)


def timed_out(fence: Fence, limit: float, default_max_attempts: int) -> Status | None:
    """The attempt was killed at its hard limit; return what the job is now, None if decided before."""
    job = _running(fence)
    if job is None:
        return None
    error = f"TimeLimitExceeded: the attempt was killed at its hard limit of {limit:g} s."
    execution = Execution(Started.of(job), default_max_attempts, str(job.worker_id))
    verdict = execution.judge(FailureKind.TIMEOUT, now=database_now())
    if isinstance(verdict, RetryAt):
        finishing.retry(execution, error=error, traceback="")
    else:
        told = partial(aftermath.tell, job, TimeLimitExceeded(limit))
        finishing.fail(execution, error=error, traceback="", collect=told)
    return _status(fence)


def interrupted(fence: Fence) -> bool:
    """A graceful stop ended the attempt: the job goes back to its queue, and nothing is charged."""
    return bool(finishing.record([ending.interrupted(fence)]))


def cancelled(fence: Fence, why: str) -> bool:
    """Somebody's request ended the attempt, or kept it from starting."""
    with transaction.atomic():
        if lifecycle.cancel_active(fence, error=why):
            aftermath.revoked([fence.job_id], "terminated")
            return True
        return bool(cancelling.cancel_pending([fence.job_id]))


def fail_unknown(fence: Fence, *, task: str, queue: str, worker_id: UUID) -> bool:
    """A worker of the right queue does not have the task: trying again cannot help (SEMANTICS 25)."""
    execution = begin(
        fence, task=task, queue=queue, worker_id=worker_id, default_limit=60, default_max_attempts=1
    )
    if isinstance(execution, Refusal):
        return False
    execution.judge(FailureKind.PERMANENT)
    told = partial(aftermath.tell, Job.objects.get(id=fence.job_id), NotRegistered(task))
    error = f"There is no task named {task!r} on the worker."
    return finishing.fail(execution, error=error, traceback="", collect=told)
