"""Run now: a job of a schedule, made by a person (SEMANTICS 20)."""

from __future__ import annotations

import uuid
from datetime import timedelta

from jobs.engine import enqueueing
from jobs.engine.compiling import compile_schedule
from jobs.engine.lifecycle import NewJob
from jobs.models import Job, Schedule
from jobs.rules.limits import limits
from jobs.rules.states import LIVE, Status, Trigger


class OverlappingError(Exception):
    """A run was asked for only if nothing of the schedule is running, and something is."""


def run_now(schedule: Schedule, *, overlap: str = "allow_all") -> str:
    """Make a job of `schedule` at once and return its id.

    It works while the schedule is paused, keeps every option of it (queue, priority, headers, expiry,
    limits), takes no nominal slot and moves nothing. `overlap` is its own: by default it runs beside
    others; `skip` raises `OverlappingError` when one is running.

    Raises `compiling.CompileError` when the schedule makes no sense.
    """
    template = schedule.template
    if schedule.stale or template is None:
        template = compile_schedule(schedule).template
    if overlap == "skip" and Job.objects.filter(schedule_id=schedule.pk, status__in=LIVE).exists():
        raise OverlappingError(f"{template['name']} is running already.")
    now = enqueueing.database_now()
    hard, soft = limits(template["timeout"])
    job = NewJob(
        id=enqueueing.new_id(),
        task=template["task"],
        queue=template["queue"],
        trigger=Trigger.MANUAL,
        status=Status.WAITING,
        available_at=now,
        schedule_id=schedule.pk,
        schedule_name=template["name"],
        policy_version=schedule.version,
        nonce=str(uuid.uuid4()),
        args=template["args"],
        kwargs=template["kwargs"],
        headers=template["headers"],
        priority=template["priority"],
        deadline_at=now + timedelta(seconds=template["deadline"]) if template["deadline"] else None,
        max_attempts=template["max_attempts"],
        backoff=template["backoff"],
        time_limit=hard,
        soft_time_limit=soft,
    )
    enqueueing.enqueue([job])
    return job.id
