"""The task class of the application: what `@shared_task` makes.

Nothing of it is new to an author: `.delay()`, `apply_async`, `self.retry()`, `autoretry_for` and the time
limits mean what Celery documents. What differs is where the truth is.
"""

from __future__ import annotations

import inspect
import logging
import os
import signal
from functools import cached_property, partial
from typing import Any

from celery import Task, group
from celery.canvas import _chain, _chord
from celery.exceptions import Ignore, Reject, Retry, SoftTimeLimitExceeded

from jobs.rules.replacing import successor_of
from jobs.runtime.errors import Permanent, retry_after_of

logger = logging.getLogger(__name__)


def die_of_memory() -> None:
    """End this process as the kernel would, if its memory is limited: it cannot be trusted any more."""
    from jobs.conf import conf

    if conf().memory_limit is not None:
        os.kill(os.getpid(), signal.SIGKILL)


def _execution_of(request: Any) -> Any:
    """Return the execution of this process that a task's request is about; None: it runs as a plain function."""
    from jobs.engine import executing

    return executing.current(request.id) if request.id else None


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

    def apply_async(self, args: Any = None, kwargs: Any = None, *others: Any, **options: Any) -> Any:
        """Call the task, as in Celery. A call without options says what the task itself does, and nothing else."""
        app = self._get_app()
        if others or options or self._looks_at_calls or app.conf.task_always_eager:
            return super().apply_async(args, kwargs, *others, **options)
        if self.typing:
            self.__header__(*(args or ()), **(kwargs or {}))
        return app.send_task(
            self.name,
            args,
            kwargs,
            task_type=self,
            result_cls=self.AsyncResult,
            ignore_result=self.ignore_result,
            **self._said,
        )

    @cached_property
    def _said(self) -> dict[str, Any]:
        """The options that the task itself gives to each call; Celery remembers them in the same way."""
        return {key: value for key, value in self._get_exec_options().items() if value is not None}

    @cached_property
    def _looks_at_calls(self) -> bool:
        """Whether something of the author's looks at each call, or Celery cannot look at its arguments: a class's."""
        return bool(
            type(self).shadow_name is not Task.shadow_name
            or not hasattr(self, "__header__")
            or self._dump_pydantic_arguments is not None
            or self.__v2_compat__
        )

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
        from jobs.runtime.masking import mask_exception

        execution = _execution_of(self.request)
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

    def retry(self, *args: Any, **kwargs: Any) -> Any:
        """Ask for another attempt, as in Celery. Once that gives up, the job fails for good."""
        try:
            return super().retry(*args, **kwargs)
        except Retry:
            raise
        except Exception:
            execution = _execution_of(self.request)
            if execution is not None:
                execution.retries_used_up = True
            raise

    def replace(self, sig: Any) -> Any:
        """Put other work in the place of this task, as in Celery; its result is also this task's.

        A single task goes on under the same id, in the same row. The last step of a chain, or the body of a
        chord, comes later than the end of this attempt, so it is a job of its own.
        """
        execution = _execution_of(self.request)
        if execution is None or not isinstance(sig, _chain | _chord | group):
            return super().replace(sig)
        own = self.request.id
        self.request.id = successor_of(own, self.request.replaced_task_nesting)
        self.request.stands_in_for = own
        try:
            return super().replace(sig)
        finally:
            self.request.id = own
            self.request.__dict__.pop("stands_in_for", None)

    def on_replace(self, sig: Any) -> Any:
        """Apply what takes the place of this task: its jobs are born in the commit that ends this attempt."""
        own = self.request.__dict__.pop("stands_in_for", None)
        if own is None:
            return super().on_replace(sig)
        self.request.id = own
        execution = _execution_of(self.request)
        execution.replacement = execution.replaced_by(sig.delay)
        raise Ignore("Replaced by new task")

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
        # A task that is a class has no `__header__`.
        fits = getattr(self, "__header__", None) or inspect.signature(self.run).bind
        try:
            fits(*args, **kwargs)
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
