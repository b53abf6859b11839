"""The end of an attempt, fenced: exactly one of `complete`, `ignore`, `retry`, `fail`, `reject`, `continue_as`.

Each commits the end, the log lines and whatever `then` writes (the result, a chain's next job) in one
transaction, and only under the fence: a worker that has lost its lease writes nothing.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from functools import partial

from django.db import InterfaceError, OperationalError, connection, transaction

from jobs.engine import dispatching, lifecycle
from jobs.engine.executing import Execution, Replacement
from jobs.models import JobLog
from jobs.rules.retry import FailureKind, GiveUp, RetryAt
from jobs.rules.states import Outcome, Reason

logger = logging.getLogger(__name__)

DATABASE_TROUBLE = (OperationalError, InterfaceError)
RETRY_PAUSE_MOST = 2.0


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


def _write_logs(execution: Execution) -> None:
    if execution.logs:
        JobLog.objects.bulk_create(execution.logs)
        execution.logs = []


def flush_logs(execution: Execution) -> None:
    """Store the log lines so far, so that a long job can be watched; never within the task's transaction."""
    if execution.logs and not connection.in_atomic_block:
        lines, execution.logs = execution.logs, []
        JobLog.objects.bulk_create(lines)
