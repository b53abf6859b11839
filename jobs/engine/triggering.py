"""Run now: a job of a schedule, made by a person (SEMANTICS 20)."""

from __future__ import annotations

import uuid

from django.db import transaction

from jobs.engine import auditing, enqueueing, permitting
from jobs.engine.clock import database_now
from jobs.engine.compiling import Timing, compile_schedule, read_timing
from jobs.engine.payload import document
from jobs.engine.templates import job_from
from jobs.models import Job, Schedule
from jobs.rules import blackouts
from jobs.rules.states import LIVE, Trigger
from jobs.rules.timing import zone_name


class RefusedError(Exception):
    """A run that may not be: the message says why in one sentence."""


class OverlappingError(RefusedError):
    """A run was asked for only if nothing of the schedule is running, and something is."""


def run_now(schedule: Schedule, *, overlap: str = "allow_all") -> str:
    """Make a job of `schedule` at once and return its id.

    It works while the schedule is paused, keeps every option of it (queue, priority, headers, expiry,
    limits), takes no nominal slot and moves nothing. `overlap` is its own: by default it runs beside
    others; `skip` raises `OverlappingError` when one is running.

    Raises `RefusedError` inside an enforced blackout, `permitting.NotPermittedError` when nobody may schedule
    its task, and `compiling.CompileError` when the schedule makes no sense.
    """
    spec, template = schedule.spec, schedule.template
    if schedule.stale or template is None:
        compiled = compile_schedule(schedule)
        spec, template = compiled.spec, compiled.template
    permitting.ensure(template)
    now = database_now()
    timing = read_timing(document(spec))
    _check_blackouts(timing, now, template["name"])
    if overlap == "skip" and Job.objects.filter(schedule_id=schedule.pk, status__in=LIVE).exists():
        raise OverlappingError(f"{template['name']} is running already.")
    job = job_from(
        template,
        schedule_id=schedule.pk,
        version=schedule.version,
        trigger=Trigger.MANUAL,
        available_at=now,
        nonce=str(uuid.uuid4()),
    )
    with transaction.atomic():
        enqueueing.enqueue([job])
        auditing.record([schedule.periodic_task], "run now", job=job.id)
    return job.id


def _check_blackouts(timing: Timing, now: object, name: str) -> None:
    windows = timing.policy.blackouts
    if blackouts.blocks_manual_run(windows, now, zone_name(timing.spec)):  # type: ignore[arg-type]
        raise RefusedError(f"{name} is in a blackout that is enforced for manual runs as well.")
