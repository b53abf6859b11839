"""One job in a pool child: start, Celery's tracer, finish."""

from __future__ import annotations

import logging
import time
from functools import partial
from typing import Any

from billiard.einfo import ExceptionInfo
from celery import current_app
from celery.app.task import Context
from celery.app.trace import TraceInfo, get_actual_ignore_result, trace_ok_t
from celery.exceptions import Ignore, Reject
from celery.states import FAILURE, IGNORED, REJECTED, RETRY
from django.db import close_old_connections, connection

from jobs.engine import executing, finishing
from jobs.engine.dispatching import FENCE_HEADER
from jobs.engine.executing import Execution, Refusal
from jobs.engine.records import Fence, Started
from jobs.rules.declared_values import COUNTS
from jobs.runtime import identity, ledger
from jobs.runtime.intake import STARTED_HEADER
from jobs.runtime.outbox import CANVAS, as_time, stored_headers
from jobs.runtime.results import error_line
from jobs.runtime.strategy import ETA_HEADER

logger = logging.getLogger(__name__)

START_PAUSE_MOST = 2.0
"""Seconds between two tries to start while the database is away, at most."""


def run_job(task: Any, tracer: Any, uuid: str, args: Any, kwargs: Any, request: dict[str, Any]) -> Any:
    """Start the job a message is about, run it by Celery's `tracer`, and see that its end is recorded.

    Returns what the tracer returns, which goes to the worker's main process.
    """
    close_old_connections()  # a connection that died since the last job is noticed here, not in the task
    started = request.pop(STARTED_HEADER, None)
    if started is not None:
        return _run_started(task, started, tracer, uuid, request)
    fence = _fence(task, uuid, args, kwargs, request)
    if fence is None:
        return _nothing_to_do()
    execution = _begin(task, fence, request)
    if isinstance(execution, Refusal):
        logger.info("message for job %s starts nothing: %s", execution.fence.job_id, execution.why)
        return _nothing_to_do()
    return _run(execution, tracer, uuid, request)


def _run_started(task: Any, started: Started, tracer: Any, uuid: str, request: dict[str, Any]) -> Any:
    """Run what the main process has started; it also records a plain end."""
    execution = executing.execution_of(started, task.attempts_allowed(), identity.worker_id())
    execution.hand_over = ledger.finisher().hand_over
    return _run(execution, tracer, uuid, request)


def _begin(task: Any, fence: Fence, request: dict[str, Any]) -> Execution | Refusal:
    """Start the attempt, however long the database is away: meanwhile this child takes nothing else.

    A start that was committed although its answer was lost is refused the second time, because another
    copy of the message may be running by it; the heart finds such an attempt, which nobody runs.
    """
    pause = 0.1
    while True:
        try:
            return executing.begin(
                fence,
                task=task.name,
                queue=request["delivery_info"]["routing_key"],
                worker_id=identity.worker_id(),
                default_limit=float(task.time_limit or task.app.conf.task_time_limit),
                default_max_attempts=task.attempts_allowed(),
            )
        except finishing.DATABASE_TROUBLE as exc:
            logger.warning("the start of job %s waits for the database: %s", fence.job_id, exc)
            connection.close()
            time.sleep(pause)
            pause = min(2 * pause, START_PAUSE_MOST)


def _run(execution: Execution, tracer: Any, uuid: str, request: dict[str, Any]) -> Any:
    started = execution.started
    request.update(started.headers)
    request.update({key: started.headers.get(key) for key in CANVAS})
    request.update(
        args=started.args,
        kwargs=started.kwargs,
        retries=started.errors,
        periodic_task_name=started.schedule_name or None,
    )
    token = executing.enter(execution)
    try:
        result = tracer(uuid, started.args, started.kwargs, request)
        if not execution.settled:
            _settle(execution, result, request)
        return result
    except Exception as exc:
        return _end_without_result(execution, exc, request)
    finally:
        executing.leave(token)


def _end_without_result(execution: Execution, exc: Exception, request: dict[str, Any]) -> Any:
    """The task is over, but Celery could not store what came of it: the job must not stay active.

    It fails like a task that raised, so that a chord it is part of hears of it.
    """
    logger.exception("job %s: its outcome could not be stored", execution.fence.job_id)
    einfo = ExceptionInfo()
    if not execution.settled:
        try:
            _tell_failure(execution, exc, str(einfo.traceback), request)
        except Exception:
            logger.exception("job %s: its failure could not be stored either", execution.fence.job_id)
            finishing.fail(execution, error=error_line(exc), traceback=str(einfo.traceback))
    return trace_ok_t(einfo, TraceInfo(FAILURE, exc), 0.0, None)


def _tell_failure(
    execution: Execution, exc: BaseException, traceback: str | None, request: dict[str, Any]
) -> None:
    """Tell the result backend of a failure that Celery's tracer has not told it of."""
    context = Context(request, errbacks=request.get("errbacks") or [])
    task = current_app.tasks[execution.started.task]
    keep = not get_actual_ignore_result(task, context) or task.store_errors_even_if_ignored
    task.backend.mark_as_failure(execution.fence.job_id, exc, traceback, context, keep)


def _settle(execution: Execution, result: Any, request: dict[str, Any]) -> None:
    """Record an end that the result backend did not see: it is not called when results are ignored."""
    info = result.info
    state = info.state if info is not None else None
    if state == RETRY:
        finishing.retry(execution, error=error_line(info.retval), traceback=_text(result.retval))
    elif state == REJECTED and isinstance(info.retval, Reject):
        tell = partial(_tell_failure, execution, info.retval, None, request)
        error = str(info.retval.reason)
        finishing.reject(execution, requeue=bool(info.retval.requeue), error=error, collect=tell)
    elif state == IGNORED and execution.replacement is not None:
        finishing.continue_as(execution, execution.replacement)
    elif state == IGNORED:
        finishing.ignore(execution)
    elif state == FAILURE:
        finishing.fail(execution, error=error_line(info.retval), traceback=_text(result.retval))
    else:
        finishing.complete(execution)


def _text(einfo: Any) -> str:
    return str(getattr(einfo, "traceback", "") or "")


def _fence(task: Any, uuid: str, args: Any, kwargs: Any, request: dict[str, Any]) -> Fence | None:
    attempt = request.get(FENCE_HEADER)
    if attempt is not None:
        return Fence(uuid, int(attempt))
    from jobs.conf import conf

    if not conf().adopt_foreign:
        logger.warning("message %s of task %s has no job and is refused", uuid, task.name)
        return None
    own = {key: value for key, value in request.items() if key not in _REQUEST_ONLY}
    return executing.adopt(
        job_id=uuid,
        task=task.name,
        queue=request["delivery_info"]["routing_key"],
        args=args,
        kwargs=kwargs,
        headers=stored_headers(own, request, {"reply_to": request.get("reply_to")}),
        eta=as_time(request.get(ETA_HEADER)),
        expires=as_time(request.get("expires")),
        priority=_priority(request["delivery_info"].get("priority")),
        limits=request.get("timelimit"),
    )


def _priority(said: Any) -> int | None:
    """Return a foreign message's priority within the bounds that kombu keeps, whatever the message says."""
    lowest, highest = COUNTS["priority"]
    return min(max(int(said), lowest), highest) if isinstance(said, int) else None


_REQUEST_ONLY = frozenset(
    {
        "args", "kwargs", "hostname", "is_eager", "delivery_info", "properties", "reply_to",
        "correlation_id", "redelivered", "utc", ETA_HEADER, *CANVAS,
    }
)  # fmt: skip
"""What a worker adds to a message's headers."""


def _nothing_to_do() -> Any:
    """Tell the main process that this message is dealt with: no result, no event of success."""
    try:
        raise Ignore
    except Ignore as exc:
        einfo = ExceptionInfo(internal=True)
        return trace_ok_t(einfo, TraceInfo(IGNORED, exc), 0.0, None)
