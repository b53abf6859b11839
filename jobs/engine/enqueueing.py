"""From a call such as `task.delay()` to a job row: a transactional outbox.

Inside `transaction.atomic()` the row is part of the caller's transaction, and the message goes out when it
commits. A call that rolls back leaves nothing behind.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from uuid_utils import uuid7

from jobs.engine import dispatching, ending, lifecycle, payload
from jobs.engine.clock import database_now
from jobs.engine.dispatching import Message
from jobs.engine.records import NewJob
from jobs.rules.states import Status, Trigger

NEAR = timedelta(milliseconds=50)
"""A job that is due within this time is born waiting: promoting it would take longer."""


def new_id() -> str:
    """Return a new job id: a UUIDv7, so that ids sort by time."""
    return str(uuid7())


def enqueue(jobs: Sequence[NewJob], *, fresh: bool = False) -> set[str]:
    """Store `jobs` and publish those that are due; return the ids that are new.

    `fresh`: their ids are of `new_id`, so all of them are.

    At the end of a task they are follow-ups, and become part of its ending instead.

    Raises whatever the database raises; trouble with the broker is nobody's error here.
    """
    end = ending.being_collected()
    if end is not None:
        end.jobs += jobs
        return {job.id for job in jobs}
    new = lifecycle.birth(jobs, fresh=fresh)
    dispatching.publish_on_commit(
        [Message.of(job) for job in jobs if job.id in new and job.status is Status.WAITING],
        wait=False,  # the caller waits for the database, and nothing depends on the broker's answer
    )
    return new


def action(
    *,
    task: str,
    queue: str,
    job_id: str | None = None,
    args: Sequence[Any] = (),
    kwargs: dict[str, Any] | None = None,
    headers: dict[str, Any] | None = None,
    eta: datetime | None = None,
    expires: datetime | None = None,
    priority: int | None = None,
    time_limit: float | None = None,
    soft_time_limit: float | None = None,
    trigger: Trigger = Trigger.ACTION,
) -> str:
    """Make one job for an action and return its id, which the caller may have chosen.

    Raises `payload.PayloadError` when the arguments cannot be stored, `payload.PayloadTooLarge` when they
    are more than a job may carry.
    """
    stored_args, stored_kwargs, stored_headers = payload.encode_call(args, kwargs or {}, headers or {})
    later = eta is not None and (bool(ending.being_collected()) or eta > database_now() + NEAR)
    job = NewJob(
        id=job_id or new_id(),
        task=task,
        queue=queue,
        trigger=trigger,
        status=Status.DELAYED if later else Status.WAITING,
        available_at=eta if later else None,
        args=stored_args,
        kwargs=stored_kwargs,
        headers=stored_headers,
        deadline_at=expires,
        priority=priority,
        time_limit=time_limit,
        soft_time_limit=soft_time_limit,
    )
    enqueue([job], fresh=not job_id)
    return job.id
