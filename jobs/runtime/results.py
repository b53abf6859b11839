"""The result backend: django-celery-results, in the same commit as the end of the attempt."""

from __future__ import annotations

from functools import partial
from typing import Any

from celery.canvas import maybe_signature
from django_celery_results.backends.database import DatabaseBackend

from jobs.engine import executing, finishing


def error_line(exc: BaseException | Any) -> str:
    """Return an error as one line: type and message."""
    original = getattr(exc, "exc", None)  # celery.exceptions.Retry carries what made it
    error = original if isinstance(original, BaseException) else exc
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


class DurableBackend(DatabaseBackend):  # type: ignore[misc]
    """Stores a result only together with the fenced end of its attempt.

    Celery calls `mark_as_*` in the pool child. For the job that runs there, the call becomes the end of
    the attempt, and what Celery's own method does (the result row, a chord's count, error callbacks)
    happens inside the same transaction, for the winner only.
    """

    def mark_as_done(
        self,
        task_id: str,
        result: Any,
        request: Any = None,
        store_result: bool = True,
        state: str = "SUCCESS",
    ) -> None:
        """End the attempt as completed."""
        store = partial(super().mark_as_done, task_id, result, request, store_result, state)
        execution = executing.current(task_id)
        if execution is None or execution.settled:
            store()
            return

        def follow_up_and_store() -> None:
            self._send_follow_ups(execution, result)
            store()  # after them: the stored result names its children

        finishing.complete(execution, follow_up_and_store)

    def _send_follow_ups(self, execution: executing.Execution, result: Any) -> None:
        """Make the jobs of links and of the chain's next step, in the transaction that ends this one."""
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
            finishing.fail(execution, error=error_line(exc), traceback=str(traceback or ""), then=store)

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
            execution, error=error_line(exc), traceback=str(traceback or ""), then=lambda: _drop(store())
        )


def _drop(_: Any) -> None:
    return None
