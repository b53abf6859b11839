"""The result backend: django-celery-results, in the same commit as the end of the attempt."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from typing import Any

from celery.canvas import maybe_signature
from celery.result import GroupResult
from celery.states import SUCCESS
from django_celery_results.backends.database import DatabaseBackend

from jobs.engine import ending, executing, finishing, payload


def error_line(exc: BaseException | Any) -> str:
    """Return an error as one line: type and message."""
    original = getattr(exc, "exc", None)  # celery.exceptions.Retry carries what made it
    error = original if isinstance(original, BaseException) else exc
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
        end = ending.being_collected()
        if end is None:
            return super()._store_result(task_id, result, status, traceback, request, **kwargs)
        if status == SUCCESS:
            result = payload.storable_result(result, handed_on=bool(getattr(request, "chord", None)))
        content_type, content_encoding, content = self.encode_content(result)
        meta = {**self._get_meta_from_request(request), "children": self.current_task_children(request)}
        row = {
            "task_id": task_id,
            "status": status,
            "result": content,
            "traceback": traceback,
            "content_type": content_type,
            "content_encoding": content_encoding,
            "meta": self.encode_content(meta)[2],
        }
        end.results.append(row | self._get_extended_properties(request, traceback))
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
        execution = executing.current(task_id)
        if execution is None or execution.settled:
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
        execution = executing.current(task_id)
        if execution is None or execution.settled:
            return store()
        return finishing.retry(
            execution, error=error_line(exc), traceback=str(traceback or ""), collect=lambda: _drop(store())
        )


def _drop(_: Any) -> None:
    return None
