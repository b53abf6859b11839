"""From a compiled schedule's template to a job: one place for what a job inherits."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from jobs.engine.enqueueing import new_id
from jobs.engine.records import NewJob
from jobs.rules.limits import limits
from jobs.rules.states import Status, Trigger


def job_from(
    template: dict[str, Any],
    *,
    schedule_id: int,
    version: int,
    trigger: Trigger,
    available_at: datetime,
    status: Status = Status.WAITING,
    scheduled_for: datetime | None = None,
    nonce: str | None = None,
    hold: str = "",
    reason: str = "",
) -> NewJob:
    """Return a job of a schedule, with every option the schedule has. Its deadline counts from when it is due."""
    deadline = template["deadline"]
    hard, soft = limits(template["timeout"])
    return NewJob(
        id=new_id(),
        task=template["task"],
        queue=template["queue"],
        trigger=trigger,
        status=status,
        reason=reason,
        hold=hold,
        schedule_id=schedule_id,
        schedule_name=template["name"],
        policy_version=version,
        scheduled_for=scheduled_for,
        nonce=nonce,
        available_at=available_at,
        deadline_at=None if deadline is None else available_at + timedelta(seconds=deadline),
        args=template["args"],
        kwargs=template["kwargs"],
        headers=template["headers"],
        priority=template["priority"],
        max_attempts=template["max_attempts"],
        backoff=template["backoff"],
        time_limit=hard,
        soft_time_limit=soft,
        concurrency_key=template["concurrency_key"],
    )
