"""What a running task can ask about itself (SEMANTICS 27)."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from jobs.engine import executing, history


class NoJobError(RuntimeError):
    """There is no running job in this process."""


@dataclass(frozen=True, slots=True)
class JobContext:
    """The job a task runs for. `job_id` is the same across attempts: the idempotency key."""

    job_id: str
    schedule: str | None
    scheduled_for: datetime | None
    attempt: int
    trigger: str
    _schedule_id: int | None = None

    @property
    def previous_scheduled_for(self) -> datetime | None:
        """The nominal time of the last job of this schedule that completed, before this one."""
        previous = history.previous_completed(self._schedule_id, self.job_id)
        return previous.scheduled_for if previous else None

    @property
    def last_result(self) -> Any:
        """What the last job of this schedule that completed returned; None for none."""
        return history.result_of(history.previous_completed(self._schedule_id, self.job_id))


@dataclass(frozen=True, slots=True)
class Occasion:
    """Why a task runs: a key that is the same for every attempt, and the nominal time if there is one."""

    key: str
    scheduled_for: datetime | None = None


def occasion() -> Occasion:
    """Return the occasion of the running job, as the key of what must happen once.

    Where no job runs (the task was called as a plain function) it is a fresh one: every call is its own.
    """
    execution = executing.current()
    if execution is None:
        return Occasion(f"call-{uuid.uuid4()}")
    return Occasion(execution.started.job_id, execution.started.scheduled_for)


def context() -> JobContext:
    """Return the context of the job that runs in this process.

    Raises `NoJobError` when none does: the task was called as a plain function.
    """
    execution = executing.current()
    if execution is None:
        raise NoJobError("no job is running here: the task was called as a plain function")
    started = execution.started
    return JobContext(
        job_id=started.job_id,
        schedule=started.schedule_name or None,
        scheduled_for=started.scheduled_for,
        attempt=started.attempt,
        trigger=started.trigger,
        _schedule_id=started.schedule_id,
    )
