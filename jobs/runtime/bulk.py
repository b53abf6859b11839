"""Many jobs of one task in a few statements."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from itertools import islice
from typing import Any

from celery import Task, current_app
from django.db import transaction

from jobs.engine import enqueueing, executing, payload
from jobs.engine.clock import database_now
from jobs.engine.compiling import queue_for
from jobs.engine.records import NewJob
from jobs.rules.states import Status, Trigger

BATCH = 1_000
"""Jobs in one statement."""

Arguments = Sequence[Any] | Mapping[str, Any]
"""What one job is called with: positional arguments, or keyword arguments."""


def enqueue_many(
    task: Task | str,
    calls: Iterable[Arguments],
    *,
    queue: str | None = None,
    priority: int | None = None,
    eta: datetime | None = None,
    expires: datetime | None = None,
) -> list[str]:
    """Make a job of `task` for each of `calls`, as `task.delay()` would; return their ids in that order.

        ids = enqueue_many(send_reminder, [(user.id,) for user in users])

    All of them, or none: it is one transaction, part of the caller's if there is one. Messages go out when it
    commits. `eta` and `expires` are aware datetimes that hold for every job. Raises `PayloadError` for
    arguments that cannot be stored, and `TypeError` for a call that is neither a sequence nor a mapping.
    """
    name = task if isinstance(task, str) else task.name
    target = queue or queue_for(name)
    headers, (hard, soft) = _headers(name), _limits(name)
    later = eta is not None and eta > database_now() + enqueueing.NEAR
    ids: list[str] = []
    with transaction.atomic():
        for batch in _batches(calls):
            jobs = [
                NewJob(
                    id=enqueueing.new_id(),
                    task=name,
                    queue=target,
                    trigger=Trigger.ACTION,
                    status=Status.DELAYED if later else Status.WAITING,
                    available_at=eta if later else None,
                    args=args,
                    kwargs=kwargs,
                    headers=headers,
                    deadline_at=expires,
                    priority=priority,
                    time_limit=hard,
                    soft_time_limit=soft,
                )
                for args, kwargs in map(_encoded, batch)
            ]
            enqueueing.enqueue(jobs, fresh=True)
            ids += [job.id for job in jobs]
    return ids


def _headers(task: str) -> dict[str, Any]:
    registered, running = current_app.tasks.get(task), executing.current()
    headers: dict[str, Any] = {}
    if registered is not None and registered.ignore_result:
        headers["ignore_result"] = True
    if running is not None:
        headers["parent_id"] = running.started.job_id
        headers["root_id"] = running.started.headers.get("root_id") or running.started.job_id
    return headers


def _limits(task: str) -> tuple[float | None, float | None]:
    """Return the hard and the soft limit of an attempt, which a job keeps from when it was asked for."""
    registered = current_app.tasks.get(task)
    return getattr(registered, "time_limit", None), getattr(registered, "soft_time_limit", None)


def _batches(calls: Iterable[Arguments]) -> Iterator[list[Arguments]]:
    remaining = iter(calls)
    while batch := list(islice(remaining, BATCH)):
        yield batch


def _encoded(call: Arguments) -> tuple[list[Any], dict[str, Any]]:
    if isinstance(call, str | bytes) or not isinstance(call, Sequence | Mapping):
        raise TypeError(f"a call is a sequence of arguments or a mapping of keyword arguments, not {call!r}")
    args, kwargs = ((), dict(call)) if isinstance(call, Mapping) else (call, {})
    running = executing.current()
    if running is not None:  # references in the place of its secrets: what is stored must not show them
        args, kwargs = running.concealed(args), running.concealed(kwargs)
    stored_args, stored_kwargs, _ = payload.encode_call(args, kwargs, {})
    return stored_args, stored_kwargs
