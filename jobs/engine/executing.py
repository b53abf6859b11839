"""Running one attempt: a guarded start, and one fenced end.

`begin` makes a message into an `Execution`, or refuses it. The runtime runs the task and hands the outcome
to exactly one of `complete`, `ignore`, `retry`, `fail` or `continue_as`. Each commits the end of the
attempt, its log lines and whatever `then` writes (the result, a chain's next job) in one transaction, and
only under the fence: a worker that has lost its lease writes nothing.
"""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from typing import Any
from uuid import UUID

from django.db import InterfaceError, OperationalError, connection, transaction

from jobs.conf import conf
from jobs.engine import dispatching, lifecycle, limiting, payload, recovering
from jobs.engine.clock import database_now
from jobs.engine.lifecycle import Fence, NewJob, Started
from jobs.models import Job, JobLog
from jobs.rules import retry as retry_rules
from jobs.rules.retry import FailureKind, GiveUp, RetryAt, RetryPolicy
from jobs.rules.states import Outcome, Reason, Status, Trigger

logger = logging.getLogger(__name__)

DATABASE_TROUBLE = (OperationalError, InterfaceError)
RETRY_PAUSE_MOST = 2.0


@dataclass(frozen=True, slots=True)
class Refusal:
    """A message that starts nothing, and why."""

    job_id: str
    why: str


@dataclass(slots=True)
class RetryRequest:
    """What a task's own `self.retry()` asked for."""

    at: datetime
    args: list[Any] | None
    kwargs: dict[str, Any] | None


@dataclass(slots=True)
class Replacement:
    """What a task's `self.replace()` asked for: other work under the same id."""

    task: str
    queue: str
    args: list[Any]
    kwargs: dict[str, Any]
    headers: dict[str, Any]


@dataclass(slots=True)
class Execution:
    """One attempt while it runs in this process."""

    started: Started
    default_max_attempts: int
    logs: list[JobLog] = field(default_factory=list)
    retry_request: RetryRequest | None = None
    replacement: Replacement | None = None
    verdict: RetryAt | GiveUp | None = None
    kind: FailureKind = FailureKind.ERROR
    callbacks: list[Any] = field(default_factory=list)
    """Links of a task that has returned: signatures that take its result."""
    chain: list[Any] = field(default_factory=list)
    """The rest of its chain; the next step is the last."""
    settled: bool = False
    entered: bool = False

    @property
    def fence(self) -> Fence:
        return self.started.fence

    @property
    def policy(self) -> RetryPolicy:
        """The retry policy: the schedule's, completed by the task's."""
        own = self.started.backoff or {}
        default = RetryPolicy()
        return RetryPolicy(
            max_attempts=self.started.max_attempts or self.default_max_attempts,
            base=timedelta(seconds=own["base"]) if "base" in own else default.base,
            factor=own.get("factor", default.factor),
            cap=timedelta(seconds=own["cap"]) if "cap" in own else default.cap,
        )

    def judge(self, kind: FailureKind, retry_after: timedelta | None = None) -> RetryAt | GiveUp:
        """Decide what becomes of the job after this attempt failed, and remember it."""
        self.kind = kind
        self.verdict = retry_rules.decide(
            self.policy,
            kind=kind,
            attempts=self.started.errors + 1,
            crashes=self.started.crashes,
            now=database_now(),
            random=random.random(),  # noqa: S311  (spreads load; guards nothing)
            retry_after=retry_after,
        )
        return self.verdict


_current: ContextVar[Execution | None] = ContextVar("jadwal_execution", default=None)


def current(job_id: str | None = None) -> Execution | None:
    """Return the execution of this process; None when there is none, or none of `job_id`."""
    execution = _current.get()
    if execution is None or (job_id is not None and execution.fence.job_id != job_id):
        return None
    return execution


def enter(execution: Execution) -> object:
    """Make `execution` the current one; hand the returned token to `leave`."""
    return _current.set(execution)


def leave(token: Any) -> None:
    """Undo `enter`."""
    _current.reset(token)


def begin(
    fence: Fence,
    *,
    task: str,
    queue: str,
    worker_id: UUID,
    default_limit: float,
    default_max_attempts: int,
    now: datetime | None = None,
) -> Execution | Refusal:
    """Start an attempt if this message may; say why not otherwise.

    A message may start a job only if the row is waiting for this attempt, and names this task and this
    queue. So a duplicate, a late or a forged message does nothing.
    """
    start = partial(
        lifecycle.start,
        fence,
        task=task,
        queues=[queue],
        worker_id=worker_id,
        default_limit=default_limit,
        margin=conf().lease,
        now=now,
    )
    started = start() or limiting.start_within(fence, partial(start, within_limits=True), now=now)
    if isinstance(started, Started):
        return Execution(started, default_max_attempts)
    return Refusal(fence.job_id, started or _why_not(fence, task, queue))


def _why_not(fence: Fence, task: str, queue: str) -> str:
    job = Job.objects.filter(id=fence.job_id).first()
    if job is None:
        return "no such job"
    if job.status == Status.WAITING and job.deadline_at and job.deadline_at <= database_now():
        lifecycle.skip([job.id], Reason.EXPIRED)
        return "its start deadline has passed: skipped as expired"
    if (job.task, job.queue) != (task, queue):
        return f"the job is {job.task} on {job.queue}, the message says {task} on {queue}"
    return f"the job is {job.status}, attempt {job.attempt}; the message is for attempt {fence.attempt}"


def fail_unknown(fence: Fence, *, task: str, queue: str, worker_id: UUID) -> bool:
    """A worker of the right queue does not have the task: trying again cannot help (SEMANTICS 25)."""
    execution = begin(
        fence, task=task, queue=queue, worker_id=worker_id, default_limit=60, default_max_attempts=1
    )
    if isinstance(execution, Refusal):
        return False
    execution.judge(FailureKind.PERMANENT)
    return fail(execution, error=f"There is no task named {task!r} on the worker.", traceback="")


def adopt(
    *,
    job_id: str,
    task: str,
    queue: str,
    args: Sequence[Any],
    kwargs: dict[str, Any],
    headers: dict[str, Any],
    eta: datetime | None = None,
) -> Fence | None:
    """Make a job of a message from another program; None if it is not to be started now.

    A message with a time to come becomes a delayed job. One whose id is known already starts nothing
    new: the job is what its row says.
    """
    now = database_now()
    later = eta is not None and eta > now
    job = NewJob(
        id=job_id,
        task=task,
        queue=queue,
        trigger=Trigger.FOREIGN,
        status=Status.DELAYED if later else Status.WAITING,
        available_at=eta if later and eta else now,
        args=payload.encode(list(args)),
        kwargs=payload.encode(kwargs),
        headers=payload.encode(headers),
    )
    new = lifecycle.birth([job])
    return Fence(job_id, 1) if new and not later else None


# --- The end of an attempt --------------------


def _nothing() -> None:
    return None


def settle(
    execution: Execution,
    move: Callable[[], bool],
    then: Callable[[], None] = _nothing,
    lost: Callable[[], None] = _nothing,
) -> bool:
    """End the attempt by `move`, its log lines and `then`, in one transaction; return whether it counted.

    While the database is away it is tried again: the outcome is known and must not be lost. If the job is
    decided otherwise meanwhile (the lease ended), the fence says so, and nothing is written.
    """
    pause = 0.1
    while True:
        try:
            with transaction.atomic():
                won = move()
                if won:
                    _write_logs(execution)
                    then()
            break
        except DATABASE_TROUBLE as exc:
            logger.warning("finish of job %s waits for the database: %s", execution.fence.job_id, exc)
            connection.close()
            time.sleep(pause)
            pause = min(pause * 2, RETRY_PAUSE_MOST)
    execution.settled = True
    if not won:
        logger.warning(
            "late finish of job %s attempt %d changed nothing: the job was decided elsewhere",
            execution.fence.job_id,
            execution.fence.attempt,
        )
        lost()
    return won


def complete(execution: Execution, then: Callable[[], None] = _nothing) -> bool:
    """The task returned."""
    return settle(execution, partial(lifecycle.complete, execution.fence), then)


def ignore(execution: Execution) -> bool:
    """The task raised `Ignore`: it is done, and there is no result."""
    return settle(execution, partial(lifecycle.complete, execution.fence, outcome=Outcome.IGNORED))


def retry(execution: Execution, *, error: str, traceback: str, then: Callable[[], None] = _nothing) -> bool:
    """The attempt failed or asked for another: the job waits in the database, not in a worker."""
    request = execution.retry_request
    if request is not None:
        at, outcome = request.at, Outcome.RETRY
    else:
        verdict = execution.verdict
        if not isinstance(verdict, RetryAt):
            raise TypeError(f"a retry needs a time, not {verdict!r}")
        at, outcome = verdict.at, _outcome(execution.kind)

    def write() -> None:
        if request is not None and (request.args is not None or request.kwargs is not None):
            lifecycle.change_payload(execution.fence.job_id, args=request.args, kwargs=request.kwargs)
        then()

    move = partial(lifecycle.retry_at, execution.fence, at, outcome=outcome, error=error, traceback=traceback)
    return settle(execution, move, write)


def fail(execution: Execution, *, error: str, traceback: str, then: Callable[[], None] = _nothing) -> bool:
    """The attempt failed for good: the job is a dead letter."""
    verdict = execution.verdict
    reason = Reason(verdict.reason) if isinstance(verdict, GiveUp) else Reason.PERMANENT
    move = partial(
        lifecycle.fail,
        execution.fence,
        reason,
        outcome=_outcome(execution.kind),
        error=error,
        traceback=traceback,
    )
    return settle(execution, move, then)


def reject(execution: Execution, *, requeue: bool, error: str) -> bool:
    """The task raised `Reject`: back to the queue without charge, or among the dead letters."""
    if requeue:
        return settle(
            execution,
            partial(lifecycle.interrupt, execution.fence),
            partial(dispatching.publish_waiting, [execution.fence.job_id]),
        )
    return settle(
        execution,
        partial(lifecycle.fail, execution.fence, Reason.REJECTED, outcome=Outcome.IGNORED, error=error),
    )


def continue_as(execution: Execution, replacement: Replacement) -> bool:
    """The task replaced itself: the same job goes on as other work."""
    move = partial(
        lifecycle.continue_as,
        execution.fence,
        task=replacement.task,
        queue=replacement.queue,
        args=replacement.args,
        kwargs=replacement.kwargs,
        headers=replacement.headers,
    )
    return settle(execution, move, partial(dispatching.publish_waiting, [execution.fence.job_id]))


def _outcome(kind: FailureKind) -> Outcome:
    return {FailureKind.TIMEOUT: Outcome.TIMEOUT, FailureKind.CRASH: Outcome.CRASH}.get(kind, Outcome.ERROR)


# --- Ends that the worker's main process sees --------------------


def crashed(fence: Fence, why: str) -> Status | None:
    """The pool child of this attempt died; return what the job is now, None if it was decided before."""
    job = Job.objects.filter(id=fence.job_id, attempt=fence.attempt, status=Status.ACTIVE).first()
    if job is None:
        return None
    with transaction.atomic():
        lost = recovering.Lost(fence, job.errors, job.crashes, stopped=False, why=why)
        recovering.declare_lost(lost)
    return Status(Job.objects.values_list("status", flat=True).get(id=fence.job_id))


def timed_out(fence: Fence, limit: float, default_max_attempts: int) -> Status | None:
    """The attempt was killed at its hard limit; return what the job is now, None if decided before."""
    job = Job.objects.filter(id=fence.job_id, attempt=fence.attempt, status=Status.ACTIVE).first()
    if job is None:
        return None
    error = f"TimeLimitExceeded: the attempt was killed at its hard limit of {limit:g} s."
    execution = Execution(Started.of(job), default_max_attempts)
    verdict = execution.judge(FailureKind.TIMEOUT)
    if isinstance(verdict, RetryAt):
        retry(execution, error=error, traceback="")
    else:
        fail(execution, error=error, traceback="")
    return Status(Job.objects.values_list("status", flat=True).get(id=fence.job_id))


def interrupted(fence: Fence) -> bool:
    """A graceful stop ended the attempt: the job goes back to its queue, and nothing is charged."""
    with transaction.atomic():
        moved = lifecycle.interrupt(fence)
        if moved:
            dispatching.publish_waiting([fence.job_id])
    return moved


def cancelled(fence: Fence, why: str) -> bool:
    """Somebody's request ended the attempt, or kept it from starting."""
    return lifecycle.cancel_active(fence, error=why) or bool(lifecycle.cancel_pending([fence.job_id]))


# --- Log lines --------------------


def _write_logs(execution: Execution) -> None:
    if execution.logs:
        JobLog.objects.bulk_create(execution.logs)
        execution.logs = []


def flush_logs(execution: Execution) -> None:
    """Store the log lines so far, so that a long job can be watched; never within the task's transaction."""
    if execution.logs and not connection.in_atomic_block:
        lines, execution.logs = execution.logs, []
        JobLog.objects.bulk_create(lines)
