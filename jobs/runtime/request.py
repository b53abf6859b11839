"""A job as the worker's main process sees it: lost children, hard limits, cancellations, shutdown."""

from __future__ import annotations

import logging
from functools import cached_property
from typing import Any

from billiard.einfo import ExceptionWithTraceback
from billiard.exceptions import Terminated, TimeLimitExceeded, WorkerLostError
from celery import signals
from celery.exceptions import Reject
from celery.states import FAILURE
from celery.worker.request import Request, task_ready

from jobs.engine import finishing, losing, payload
from jobs.engine.dispatching import FENCE_HEADER
from jobs.engine.records import Fence
from jobs.models import Job
from jobs.rules.redaction import redact_text
from jobs.rules.states import Status
from jobs.runtime import ledger
from jobs.runtime.connections import short_connection

logger = logging.getLogger(__name__)

FLUSH_SECONDS = 5.0


class DurableRequest(Request):  # type: ignore[misc]
    """A request that records in the database what the pool child could not."""

    @property
    def fence(self) -> Fence:
        """The attempt this message is for: the first one for a message from another program."""
        return Fence(self.id, int(self.request_dict.get(FENCE_HEADER) or 1))

    def send_event(self, type: str, **fields: Any) -> None:
        """Tell consoles what happened, through Redis: so without what looks like a secret."""
        if not (self.eventer and self.eventer.enabled and self.task.send_events):
            return  # as Celery would; asked first, because nothing need be masked that nobody sees
        shown = {key: redact_text(item) if isinstance(item, str) else item for key, item in fields.items()}
        super().send_event(type, **shown)

    def on_failure(self, exc_info: Any, send_failed_event: bool = True, return_ok: bool = False) -> Any:
        """Take note of a child that died or was killed; the others have recorded their own end."""
        exc = exc_info.exception
        if isinstance(exc, ExceptionWithTraceback):
            exc = exc.exc
        ours = isinstance(exc, WorkerLostError | TimeLimitExceeded | SystemExit | KeyboardInterrupt)
        if return_ok or not ours or self._already_cancelled or self._already_revoked:
            if isinstance(exc, Terminated) and not (self._already_cancelled or self._already_revoked):
                return self._announce_revoked("terminated", True, str(exc), False)
            if isinstance(exc, Reject) and not exc.requeue:
                return self._announce_failed(exc, exc_info)
            return super().on_failure(exc_info, send_failed_event, return_ok)
        status = self._record_loss(exc)
        if status == Status.FAILED:
            self._call_hooks(exc, exc_info)
            return self._announce_failed(exc, exc_info)
        task_ready(self)
        self.send_event("task-retried", exception=repr(exc), traceback=exc_info.traceback)
        return None

    def _announce_failed(self, exc: BaseException, exc_info: Any) -> None:
        """Do what Celery does in the main process for a task that has failed; its end is recorded."""
        task_ready(self)
        args, kwargs = self._arguments
        facts = {"task_id": self.id, "exception": exc, "args": args, "kwargs": kwargs, "einfo": exc_info}
        self.task.request_stack.push(self._context)
        try:
            signals.task_failure.send(sender=self.task, traceback=exc_info.traceback, **facts)
        finally:
            self.task.request_stack.pop()
        self.send_event("task-failed", exception=repr(exc), traceback=exc_info.traceback)

    def _call_hooks(self, exc: BaseException, exc_info: Any) -> None:
        """Call the hooks of a task whose process could not: Celery does so here, for a hard limit."""
        args, kwargs = self._arguments
        try:
            self.task.on_failure(exc, self.id, args, kwargs, exc_info)
            self.task.after_return(FAILURE, exc, self.id, args, kwargs, exc_info)
        except Exception:
            logger.exception("job %s has failed, and so has a hook of its task", self.id)

    @cached_property
    def _arguments(self) -> tuple[list[Any], dict[str, Any]]:
        """The arguments by the row: a message of ours carries none."""
        try:
            with short_connection():
                job = Job.objects.filter(id=self.id).first()
        except finishing.DATABASE_TROUBLE:
            job = None
        return tuple(payload.decode(payload.document([job.args, job.kwargs]))) if job else ([], {})

    def _record_loss(self, exc: BaseException) -> Status | None:
        try:
            status = self._declare_lost(exc)
        except finishing.DATABASE_TROUBLE as trouble:
            logger.error("job %s lost its process; the heart will say so, for now: %s", self.id, trouble)
            return None
        logger.error("job %s lost its process (%s); it is now %s", self.id, exc, status or "decided already")
        return status

    def _declare_lost(self, exc: BaseException) -> Status | None:
        ledger.finisher().flush(FLUSH_SECONDS)  # it may have handed over its end before it died
        with short_connection():
            if isinstance(exc, TimeLimitExceeded):
                limit = float(exc.args[0]) if exc.args else 0.0
                return losing.timed_out(self.fence, limit, self.task.attempts_allowed())
            return losing.crashed(self.fence, f"The process that ran it died: {exc}.")

    def on_timeout(self, soft: bool, timeout: float) -> None:
        """A hard limit has come through `on_failure` already; a soft one is only logged."""
        if soft:
            super().on_timeout(soft, timeout)

    def _announce_cancelled(self, emit_retry: bool = True) -> None:
        """The worker is shutting down and its grace is over: the job goes back, and nothing is charged."""
        task_ready(self)
        self.send_event("task-cancelled")
        self._already_cancelled = True
        try:
            with short_connection():
                if losing.interrupted(self.fence):
                    logger.warning("job %s was interrupted by the shutdown and is waiting again", self.id)
        except finishing.DATABASE_TROUBLE as trouble:  # its worker's end is noticed by a beat
            logger.error("job %s is interrupted, which could not be recorded: %s", self.id, trouble)

    def _announce_revoked(self, reason: str, terminated: bool, signum: Any, expired: bool) -> None:
        """Somebody cancelled it: the row says so, with all that follows; then workers and consoles hear of it."""
        task_ready(self)
        self.acknowledge()
        self._already_revoked = True
        try:
            with short_connection():
                if not losing.cancelled(self.fence, f"Cancelled: {reason}."):
                    if Job.objects.filter(id=self.id).exists():
                        return  # somebody else had decided
                    # A message of another program that has not become a job.
                    self.task.backend.mark_as_revoked(self.id, reason, self._context, self.store_errors)
        except finishing.DATABASE_TROUBLE as trouble:
            logger.error("the cancellation of job %s could not be recorded: %s", self.id, trouble)
            return
        facts = {"terminated": terminated, "signum": signum, "expired": expired}
        self.send_event("task-revoked", **facts)
        signals.task_revoked.send(sender=self.task, request=self._context, **facts)
