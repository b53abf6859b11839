"""Running past times of a schedule again, or for the first time (SEMANTICS 21)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from django.db import transaction

from jobs.engine import auditing, dispatching, lifecycle, permitting
from jobs.engine.clock import database_now
from jobs.engine.compiling import compile_schedule, read_timing
from jobs.engine.payload import document
from jobs.engine.templates import job_from
from jobs.models import Job, Schedule
from jobs.rules.planning import preview
from jobs.rules.states import Hold, Status, Trigger

Reprocess = Literal["none", "failed", "all"]

TICK = timedelta(microseconds=1)
MOST = 10_000


class TooManyError(ValueError):
    """The range holds more nominals than one backfill takes."""


@dataclass(frozen=True, slots=True)
class Slot:
    """One nominal of the range, and what will become of it."""

    scheduled_for: datetime
    job: Job | None
    """The job it has already, if it ran."""
    runs: bool


def slots(
    schedule: Schedule, since: datetime, until: datetime, *, reprocess: Reprocess = "none"
) -> list[Slot]:
    """Return the nominals in `[since, until]`, both ends included, by today's timing, ascending.

    Nominals that ran are left alone unless `reprocess` says otherwise; those that were skipped count as not
    run. Raises `TooManyError`, `permitting.NotPermittedError` when nobody may schedule its task, and
    `compiling.CompileError` for a schedule that makes no sense.
    """
    compiled = compile_schedule(schedule)
    permitting.ensure(compiled.template)
    timing = read_timing(document(compiled.spec))
    found = preview(
        str(schedule.pk), timing.spec, timing.policy, after=since - TICK, until=until, limit=MOST + 1
    )
    if len(found) > MOST:
        raise TooManyError(f"The range holds more than {MOST} times; take a shorter one.")
    times = [one.scheduled_for for one in found if one.skipped is None]
    ran: dict[datetime, Job] = {}
    jobs = Job.objects.filter(schedule_id=schedule.pk, scheduled_for__in=times).exclude(status=Status.SKIPPED)
    for job in jobs.order_by("created_at"):
        if job.scheduled_for is not None:
            ran[job.scheduled_for] = job
    return [Slot(time, ran.get(time), _runs(ran.get(time), reprocess)) for time in times]


def _runs(job: Job | None, reprocess: Reprocess) -> bool:
    if job is None:
        return True
    if job.status not in (Status.COMPLETED, Status.FAILED, Status.CANCELLED):
        return False  # still under way
    return reprocess == "all" or (reprocess == "failed" and job.status == Status.FAILED)


def backfill(
    schedule: Schedule,
    chosen: Sequence[Slot],
    *,
    per_minute: float | None = None,
    side_by_side: bool = False,
) -> list[str]:
    """Make the jobs of the slots that run, ascending, and return their ids.

    One after the other (`buffer_all`) unless they may run `side_by_side`; `per_minute` spreads their starts.
    They carry a nonce: the slots in the ledger stay what they were. Raises `permitting.NotPermittedError`
    when nobody may schedule its task.
    """
    template = compile_schedule(schedule).template
    permitting.ensure(template)
    now = database_now()
    gap = timedelta(seconds=60 / per_minute) if per_minute else timedelta(0)
    jobs = []
    for number, slot in enumerate(slot for slot in chosen if slot.runs):
        due = now + gap * number
        later = bool(gap * number) or not side_by_side
        jobs.append(
            job_from(
                template,
                schedule_id=schedule.pk,
                version=schedule.version,
                trigger=Trigger.BACKFILL,
                status=Status.DELAYED if later else Status.WAITING,
                hold=Hold.NOTHING if side_by_side else Hold.OVERLAP,
                available_at=due,
                scheduled_for=slot.scheduled_for,
                nonce=f"backfill:{now.isoformat()}:{slot.scheduled_for.isoformat()}",
            )
        )
    with transaction.atomic():
        new = lifecycle.birth(jobs)
        made = [job.id for job in jobs if job.id in new]
        dispatching.publish_waiting(made)
        if made:
            auditing.record(
                [schedule.periodic_task],
                "backfill",
                jobs=len(made),
                first=chosen[0].scheduled_for.isoformat(),
                last=chosen[-1].scheduled_for.isoformat(),
            )
    return made
