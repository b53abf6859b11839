"""Ending one attempt: the outcome becomes exactly one legal move of the job.

An outcome is made a document first (`ending`), then recorded: the end, the log lines, the result and the
follow-ups in one transaction, and only under the fence, so that a worker that has lost its lease writes
nothing. While the database is away the document is kept on disk and recorded later (`spooling`).
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from datetime import datetime
from functools import partial

from django.db import InterfaceError, OperationalError, connection, transaction

from jobs.engine import aftermath, dispatching, ending, lifecycle, spooling
from jobs.engine.ending import Ending
from jobs.engine.executing import Execution, Replacement
from jobs.models import Job, JobLog
from jobs.rules.retry import FailureKind, GiveUp, RetryAt
from jobs.rules.states import Outcome, Reason, Status

logger = logging.getLogger(__name__)

DATABASE_TROUBLE = (OperationalError, InterfaceError)
PAUSES = (0.1, 0.3, 0.6)
"""Seconds between the tries of a process that has an ending in its hands; then it is kept on disk."""


def _nothing() -> None:
    return None


def record(endings: Sequence[Ending], *, now: datetime | None = None) -> set[str]:
    """Record ends of attempts in one transaction; return the ids of the jobs for which it counted.

    For the others somebody else had decided: nothing of theirs is written, and that is logged.
    """
    endings = list({one.fence: one for one in endings}.values())  # one of a copy that came twice
    with transaction.atomic():
        won = lifecycle.end(endings, now=now)
        counted = [one for one in endings if one.fence in won]
        _write_logs(counted)
        as_said = [one for one in counted if won[one.fence] is one.status]  # the others were cancelled
        aftermath.write(as_said)
        cancelled = [one.job_id for one in counted if won[one.fence] is Status.CANCELLED]
        aftermath.revoked(cancelled, "terminated")
        dispatching.publish_waiting([one.job_id for one in as_said if one.status is Status.WAITING])
    for one in endings:
        if one.fence not in won:
            logger.warning(
                "late finish of job %s attempt %d changed nothing: the job was decided elsewhere",
                one.job_id,
                one.attempt,
            )
    return {fence.job_id for fence in won}


def record_or_fail(end: Ending, *, now: datetime | None = None) -> bool:
    """Record one ending; a job whose outcome the database refuses has failed, and says so.

    Returns False if somebody else had decided. Raises what the database raises when it is away.
    """
    try:
        return bool(record([end], now=now))
    except DATABASE_TROUBLE:
        raise
    except Exception as exc:
        logger.exception("job %s: its outcome cannot be stored", end.job_id)
        error = lifecycle.storable(f"Its outcome could not be stored: {type(exc).__name__}: {exc}")
        failed = ending.failed(end.fence, Reason.PERMANENT, outcome=Outcome.ERROR, error=error)
        if end.is_plain:  # with a canvas it may be the canvas that cannot be stored
            with ending.collecting(failed):
                aftermath.tell(Job.objects.get(id=end.job_id), RuntimeError(error))
        return bool(record([failed], now=now))


def _write_logs(endings: Sequence[Ending]) -> None:
    lines = [
        JobLog(
            job_id=one.job_id,
            attempt=one.attempt,
            level=line.level,
            logger=line.logger,
            content=line.content,
            logged_at=line.logged_at,
        )
        for one in endings
        for line in one.logs
    ]
    if lines:
        JobLog.objects.bulk_create(lines)


def finish(execution: Execution, end: Ending, collect: Callable[[], None] = _nothing) -> bool:
    """End the attempt as `end` says; return False if somebody else is known to have decided about the job.

    `collect` runs first: what Celery would write at the end of a task becomes part of the document.
    """
    with ending.collecting(end):
        collect()
    execution.mask(end)
    end.logs = list(execution.logs)
    counted = _record_or_keep(end, execution)
    execution.ending = end
    return counted


def _record_or_keep(end: Ending, execution: Execution) -> bool:
    if end.is_plain and execution.hand_over is not None and execution.hand_over(end):
        return True
    for pause in PAUSES:
        try:
            return bool(record([end]))
        except DATABASE_TROUBLE as exc:
            logger.warning("finish of job %s waits for the database: %s", end.job_id, exc)
            connection.close()
            time.sleep(pause)
    spooling.keep(end, execution.worker_id)
    return True


def complete(execution: Execution, collect: Callable[[], None] = _nothing) -> bool:
    """The task returned."""
    return finish(execution, ending.completed(execution.fence), collect)


def complete_within(execution: Execution, collect: Callable[[], None]) -> bool:
    """The task returned, and its own transaction is still open: its effects and its end are one commit.

    Returns False if somebody else had decided about the job: then the caller must roll back. Raises whatever
    the database raises.
    """
    end = ending.completed(execution.fence)
    with ending.collecting(end):
        collect()
    execution.mask(end)
    end.logs = list(execution.logs)
    if not record([end]):
        return False
    execution.ending = end
    return True


def ignore(execution: Execution) -> bool:
    """The task raised `Ignore`: it is done, and there is no result."""
    return finish(execution, ending.completed(execution.fence, outcome=Outcome.IGNORED))


def retry(
    execution: Execution, *, error: str, traceback: str, collect: Callable[[], None] = _nothing
) -> bool:
    """The attempt failed or asked for another: the job waits in the database, not in a worker."""
    end = partial(ending.retried, execution.fence, error=error, traceback=traceback)
    request = execution.retry_request
    if request is not None:
        work = {"args": request.args, "kwargs": request.kwargs}
        changed = {name: value for name, value in work.items() if value is not None}
        return finish(execution, end(request.at, outcome=Outcome.RETRY, work=changed), collect)
    verdict = execution.verdict
    if not isinstance(verdict, RetryAt):
        raise TypeError(f"a retry needs a time, not {verdict!r}")
    return finish(execution, end(verdict.at, outcome=_outcome(execution.kind)), collect)


def fail(execution: Execution, *, error: str, traceback: str, collect: Callable[[], None] = _nothing) -> bool:
    """The attempt failed for good: the job is a dead letter."""
    verdict = execution.verdict
    reason = Reason(verdict.reason) if isinstance(verdict, GiveUp) else Reason.PERMANENT
    end = ending.failed(
        execution.fence, reason, outcome=_outcome(execution.kind), error=error, traceback=traceback
    )
    return finish(execution, end, collect)


def reject(
    execution: Execution, *, requeue: bool, error: str, collect: Callable[[], None] = _nothing
) -> bool:
    """The task raised `Reject`: back to the queue without charge, or among the dead letters."""
    if requeue:
        return finish(execution, ending.interrupted(execution.fence))
    end = ending.failed(execution.fence, Reason.REJECTED, outcome=Outcome.IGNORED, error=error)
    return finish(execution, end, collect)


def continue_as(execution: Execution, replacement: Replacement | Ending) -> bool:
    """The task replaced itself: the same job goes on as other work, or is done and its place is taken."""
    if isinstance(replacement, Ending):
        return finish(execution, replacement)
    return finish(execution, ending.replaced(execution.fence, replacement.as_work()))


def _outcome(kind: FailureKind) -> Outcome:
    return {FailureKind.TIMEOUT: Outcome.TIMEOUT, FailureKind.CRASH: Outcome.CRASH}.get(kind, Outcome.ERROR)


def flush_logs(execution: Execution) -> None:
    """Store the log lines so far, so that a long job can be watched; never within the task's transaction."""
    if execution.logs and not connection.in_atomic_block:
        end = ending.completed(execution.fence)  # only the carrier of the lines
        end.logs, execution.logs = execution.logs, []
        _write_logs([end])


def replay_spool(worker_id: str, *, everything: bool = False) -> int:
    """Record what was kept on disk while the database was away; return how many were dealt with.

    An ending that somebody else decided meanwhile changes nothing, by its fence. Raises whatever the
    database raises: then the rest stays on disk.
    """
    dealt_with = 0
    for path, end in spooling.kept(worker_id, everything=everything):
        if record([end]):
            logger.warning("the kept outcome of job %s attempt %d is recorded", end.job_id, end.attempt)
        path.unlink(missing_ok=True)
        dealt_with += 1
    return dealt_with
