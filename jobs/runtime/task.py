"""The task class of the application: what `@shared_task` makes.

Nothing of it is new to an author: `.delay()`, `apply_async`, `self.retry()`, `autoretry_for` and the time
limits mean what Celery documents. What differs is where the truth is.
"""

from __future__ import annotations

import logging
import os
import signal
from functools import partial
from typing import Any

from celery import Task
from celery.exceptions import Ignore, Reject, Retry, SoftTimeLimitExceeded

from jobs.runtime.errors import Permanent, retry_after_of

logger = logging.getLogger(__name__)


def die_of_memory() -> None:
    """End this process as the kernel would, if its memory is limited: it cannot be trusted any more."""
    from jobs.conf import conf

    if conf().memory_limit is not None:
        os.kill(os.getpid(), signal.SIGKILL)


class DurableTask(Task):  # type: ignore[misc]
    """A task whose calls are jobs."""

    Request = "jobs.runtime.request:DurableRequest"
    Strategy = "jobs.runtime.strategy:durable"
    abstract = True

    max_attempts: int | None = None
    """How often the platform tries, for tasks that do not use Celery's own retry options."""

    atomic: bool = False
    """Whether it runs in a transaction that also ends the attempt: its effects in this database and its
    completion are one commit, or neither is there. So they happen exactly once, whatever dies."""

    schedulable: bool | str = True
    """Who may schedule it: whoever has the permission of its app (True), `"anyone"` who edits schedules, or
    nobody (False). Calls are not asked."""

    _celery_trace: Any = None

    @property
    def __trace__(self) -> Any:
        """The tracer the pool child calls: Celery's, between our start and our finish."""
        from jobs.runtime import trace

        if self._celery_trace is None:
            return None
        return partial(trace.run_job, self, self._celery_trace)

    @__trace__.setter
    def __trace__(self, tracer: Any) -> None:
        self._celery_trace = tracer

    @classmethod
    def on_bound(cls, app: Any) -> None:
        """Drop the default soft limit where the task's own hard limit is shorter."""
        hard, soft = cls.time_limit, cls.soft_time_limit
        if hard is not None and soft is not None and soft >= hard:
            cls.soft_time_limit = None

    def attempts_allowed(self) -> int:
        """How many attempts a job of this task has: Celery's own options are read as the policy."""
        from jobs.conf import conf

        if self.max_attempts is not None:
            return self.max_attempts
        if self.leaves_retries_to_celery():
            return 1
        return conf().max_attempts

    def leaves_retries_to_celery(self) -> bool:
        """Whether the author said with `autoretry_for` which errors are worth another try."""
        return bool(getattr(self, "autoretry_for", None))

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run the task; within a worker, turn a failure into a retry where the policy has one left."""
        from jobs.engine import executing
        from jobs.runtime.masking import mask_exception

        execution = executing.current(self.request.id) if self.request.id else None
        if execution is None or execution.entered or self.request.called_directly:
            return super().__call__(*args, **kwargs)
        execution.entered = True
        try:
            if execution.problem:
                raise Permanent(execution.problem)
            self._check_arguments(args, kwargs)
            if self.atomic:
                return self._run_atomically(execution, args, kwargs)
            result = execution.concealed(self.run(*args, **kwargs))
        except (Retry, Ignore, Reject) as exc:
            mask_exception(exc, execution.secret_values)
            raise
        except MemoryError:
            die_of_memory()
            raise
        except Exception as exc:
            mask_exception(exc, execution.secret_values)
            self._retry_or_raise(execution, exc)
            raise
        self._take_follow_ups(execution)
        return result

    def _run_atomically(self, execution: Any, args: Any, kwargs: Any) -> Any:
        from django.db import transaction

        with transaction.atomic():
            result = execution.concealed(self.run(*args, **kwargs))
            self._take_follow_ups(execution)
            keep = not (self.ignore_result or self.request.ignore_result)
            if not self.backend.complete_within(execution, result, self.request, keep):
                raise Ignore("somebody else has decided about the job: what it did here is rolled back")
        return result

    def _take_follow_ups(self, execution: Any) -> None:
        """Keep links and the rest of the chain from Celery's tracer, which would send them too early.

        They are sent in the transaction that ends the attempt, and so for the winner only.
        """
        execution.callbacks, execution.chain = self.request.callbacks or [], self.request.chain or []
        self.request.callbacks = self.request.chain = None

    def _check_arguments(self, args: Any, kwargs: Any) -> None:
        try:
            self.__header__(*args, **kwargs)
        except TypeError as exc:
            raise Permanent(f"The arguments do not fit the task: {exc}.") from exc

    def _retry_or_raise(self, execution: Any, exc: Exception) -> None:
        from jobs.rules.retry import FailureKind, RetryAt

        kind = FailureKind.ERROR
        if isinstance(exc, SoftTimeLimitExceeded):
            kind = FailureKind.TIMEOUT
        elif isinstance(exc, Permanent) or (self.throws and isinstance(exc, self.throws)):
            kind = FailureKind.PERMANENT
        verdict = execution.judge(kind, retry_after_of(exc))
        if isinstance(verdict, RetryAt):
            raise Retry(exc=exc, when=verdict.at) from exc
