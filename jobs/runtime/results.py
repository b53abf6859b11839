"""The result backend: django-celery-results, in the same commit as the end of the attempt."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from functools import partial
from typing import Any

from celery.app.task import Context
from celery.canvas import maybe_signature
from celery.exceptions import Retry
from celery.result import GroupResult
from celery.states import REVOKED, SUCCESS
from django.db import Error, connection, transaction
from django_celery_results.backends.database import DatabaseBackend

from jobs.engine import cancelling, ending, executing, finishing, payload
from jobs.models import Job
from jobs.rules.replacing import predecessors_of

logger = logging.getLogger(__name__)


def error_line(exc: BaseException | None) -> str:
    """Return an error as one line: type and message. Empty where a task asked for a retry without an error."""
    error = exc.exc if isinstance(exc, Retry) else exc
    if error is None:
        return ""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


class DurableBackend(DatabaseBackend):  # type: ignore[misc]
    """Stores a result only together with the fenced end of its attempt.

    Celery calls `mark_as_*` in the pool child. For the job that runs there, the call becomes the end of
    the attempt: what Celery's own method writes (the result row, a chord's count, error callbacks) is
    collected in the ending's document, and recorded with it, for the winner only.
    """

    def _store_result(
        self,
        task_id: str,
        result: Any,
        status: str,
        traceback: Any = None,
        request: Any = None,
        **kwargs: Any,
    ) -> Any:
        ids = [task_id, *predecessors_of(task_id)]
        end = ending.being_collected()
        if end is None:
            for one in ids:
                stored = super()._store_result(one, result, status, traceback, request, **kwargs)
            return stored
        if status == SUCCESS:
            result = payload.storable_result(result, handed_on=bool(getattr(request, "chord", None)))
        content_type, content_encoding, content = self.encode_content(result)
        meta = {**self._get_meta_from_request(request), "children": self.current_task_children(request)}
        row = {
            "status": status,
            "result": content,
            "traceback": traceback,
            "content_type": content_type,
            "content_encoding": content_encoding,
            "meta": self.encode_content(meta)[2],
        }
        row |= self._get_extended_properties(request, traceback)
        end.results += [{"task_id": one, **row} for one in ids]
        return content

    def apply_chord(self, header_result_args: Any, body: Any, **kwargs: Any) -> None:
        """Count the parts of a chord; of one that follows a task, from that task's end on."""
        end = ending.being_collected()
        if end is None:
            super().apply_chord(header_result_args, body, **kwargs)
            return
        header = (
            header_result_args
            if isinstance(header_result_args, GroupResult)
            else self.app.GroupResult(*header_result_args)
        )
        parts = [part.as_tuple() for part in header]
        size = body.get("chord_size", None) or len(parts)
        end.chords.append({"group_id": header.id, "sub_tasks": json.dumps(parts), "count": size})

    def on_chord_part_return(self, request: Any, state: str, result: Any, **kwargs: Any) -> None:
        """Count down the chord that a job is part of, when its end is recorded."""
        end = ending.being_collected()
        if end is None:
            super().on_chord_part_return(request, state, result, **kwargs)
        elif request.group and request.id:
            end.chord_parts.append(
                {"id": request.id, "group": request.group, "chord": request.chord, "state": state}
            )

    def mark_as_done(
        self,
        task_id: str,
        result: Any,
        request: Any = None,
        store_result: bool = True,
        state: str = "SUCCESS",
    ) -> None:
        """End the attempt as completed, unless it has ended together with its effects."""
        store = partial(super().mark_as_done, task_id, result, request, store_result, state)
        execution = executing.current(task_id)
        if execution is None:
            store()
        elif not execution.settled:
            finishing.complete(execution, partial(self._follow_up_and_store, execution, result, store))

    def complete_within(self, execution: executing.Execution, result: Any, request: Any, keep: bool) -> bool:
        """End the attempt as completed within the transaction that is open; return False if it is too late."""
        store = partial(super().mark_as_done, execution.fence.job_id, result, request, keep)
        return finishing.complete_within(
            execution, partial(self._follow_up_and_store, execution, result, store)
        )

    def _follow_up_and_store(
        self, execution: executing.Execution, result: Any, store: Callable[[], None]
    ) -> None:
        self._send_follow_ups(execution, result)
        store()  # after them: the stored result names its children

    def _send_follow_ups(self, execution: executing.Execution, result: Any) -> None:
        """Make the jobs of links and of the chain's next step, which are born when this one's end is recorded."""
        job_id = execution.fence.job_id
        family = {"parent_id": job_id, "root_id": execution.started.headers.get("root_id") or job_id}
        for callback in execution.callbacks:
            maybe_signature(callback, app=self.app).apply_async((result,), **family)
        if execution.chain:
            *rest, following = execution.chain
            maybe_signature(following, app=self.app).apply_async((result,), chain=rest, **family)

    def mark_as_failure(
        self,
        task_id: str,
        exc: BaseException,
        traceback: Any = None,
        request: Any = None,
        store_result: bool = True,
        call_errbacks: bool = True,
        state: str = "FAILURE",
    ) -> None:
        """End the attempt as failed for good."""
        store = partial(
            super().mark_as_failure, task_id, exc, traceback, request, store_result, call_errbacks, state
        )
        execution = _being_run(task_id)
        if execution is None:
            store()
        else:
            finishing.fail(execution, error=error_line(exc), traceback=str(traceback or ""), collect=store)

    def mark_as_retry(
        self,
        task_id: str,
        exc: BaseException,
        traceback: Any = None,
        request: Any = None,
        store_result: bool = True,
        state: str = "RETRY",
    ) -> Any:
        """End the attempt; the job is delayed until its next one."""
        store = partial(super().mark_as_retry, task_id, exc, traceback, request, store_result, state)
        execution = _being_run(task_id)
        if execution is None:
            return store()
        return finishing.retry(
            execution, error=error_line(exc), traceback=str(traceback or ""), collect=lambda: _drop(store())
        )

    def mark_as_revoked(
        self,
        task_id: str,
        reason: str = "",
        request: Any = None,
        store_result: bool = True,
        state: str = REVOKED,
    ) -> None:
        """Cancel the job that a worker was told by broadcast to revoke; one that runs elsewhere runs on."""
        with transaction.atomic():
            if not cancelling.cancel_pending([task_id]) and not Job.objects.filter(id=task_id).exists():
                super().mark_as_revoked(task_id, reason, request, store_result, state)

    def is_cached(self, task_id: str) -> bool:
        """Say that every result may be asked for: so the error of a chord names the member that failed."""
        return True

    def _call_task_errbacks(self, request: Any, exc: Any, traceback: Any) -> None:
        """Call error callbacks, each for itself: what one breaks in our transaction is no other's loss."""
        for errback in request.errbacks:
            alone = Context(vars(request), errbacks=[errback])
            if not connection.in_atomic_block:
                super()._call_task_errbacks(alone, exc, traceback)
                continue
            try:
                with transaction.atomic():
                    super()._call_task_errbacks(alone, exc, traceback)
            except Error:
                logger.exception("an error callback of job %s broke off: what it did is undone", request.id)


def _being_run(task_id: str) -> executing.Execution | None:
    """Return the execution of this process whose end is not known yet, if it is that of `task_id`."""
    execution = executing.current(task_id)
    if execution is None or execution.settled or ending.being_collected() is not None:
        return None
    return execution


def _drop(_: Any) -> None:
    return None
