"""Schedules that run after others: as a trigger, and as a gate (SEMANTICS 23).

Both are decided by a beat from what is stored, so that no end of a job is overlooked, however it came: a
completed task, a poison job, an expired one. A trigger is idempotent by its nonce, `after:<upstream job>`.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.db import connection, transaction

from jobs.engine import dispatching, lifecycle, permitting
from jobs.engine.payload import decode
from jobs.engine.templates import job_from
from jobs.models import Job, Schedule
from jobs.rules import dependencies
from jobs.rules.states import Hold, Reason, Status, Trigger

_WANTED = """
    (d.after_on = 'any' OR (d.after_on = 'success' AND up.status = 'completed')
     OR (d.after_on = 'failure' AND up.status = 'failed'))
"""

_TRIGGERED = f"""
    SELECT d.periodic_task_id, d.template::text, d.version, up.id
    FROM jobs_schedule AS d
    JOIN django_celery_beat_periodictask AS t ON t.id = d.periodic_task_id AND t.enabled
    JOIN jobs_job AS up ON up.schedule_id = d.after_id
    WHERE d.after_id IS NOT NULL AND d.after_mode = 'trigger' AND NOT d.stale AND d.problem = ''
      AND up.status IN ('completed', 'failed') AND up.finished_at > d.edited_at
      AND up.finished_at > %(now)s - d.after_within AND up.finished_at <= %(now)s AND {_WANTED}
      AND NOT EXISTS (SELECT 1 FROM jobs_job AS mine
                      WHERE mine.schedule_id = d.periodic_task_id AND mine.nonce = 'after:' || up.id)
    ORDER BY up.finished_at LIMIT %(limit)s
    FOR UPDATE OF d SKIP LOCKED
"""  # noqa: S608  (put together from the constant above)


def trigger_due(now: datetime, *, limit: int = 200) -> int:
    """Make the jobs of schedules whose upstream has come to the wanted end; return how many.

    The rows of those schedules are locked: of two beats that make the same job, the second would wait for the
    first to commit.
    """
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute(_TRIGGERED, {"now": now, "limit": limit})
            found = [(pk, decode(template), *rest) for pk, template, *rest in cursor.fetchall()]
        withheld = _withhold({pk: template for pk, template, *_ in found}, now)
        jobs = [
            job_from(
                template,
                schedule_id=pk,
                version=version,
                trigger=Trigger.DEPENDENCY,
                available_at=now,
                nonce=f"after:{upstream}",
            )
            for pk, template, version, upstream in found
            if pk not in withheld
        ]
        new = lifecycle.birth(jobs, now=now)
        dispatching.publish_waiting(list(new))
    return len(new)


def _withhold(templates: dict[int, Any], now: datetime) -> set[int]:
    """Note which of these schedules may not run, and why; `claiming` looks at them again."""
    gate = permitting.Gate()
    obstacles = {pk: gate.obstacle(template) for pk, template in templates.items()}
    withheld = {pk: why for pk, why in obstacles.items() if why}
    for pk, why in withheld.items():
        Schedule.objects.filter(pk=pk).update(problem=why, next_run_at=now + permitting.LOOK_AGAIN)
    return set(withheld)


_GATED = f"""
    SELECT job.id, job.scheduled_for + d.after_within < %(now)s,
           EXISTS (SELECT 1 FROM jobs_job AS up
                   WHERE up.schedule_id = d.after_id AND up.status IN ('completed', 'failed') AND {_WANTED}
                     AND up.finished_at > job.scheduled_for - d.after_within)
    FROM jobs_job AS job JOIN jobs_schedule AS d ON d.periodic_task_id = job.schedule_id
    WHERE job.status = 'delayed' AND job.hold = 'upstream'
    ORDER BY job.scheduled_for LIMIT %(limit)s
    FOR UPDATE OF job SKIP LOCKED
"""  # noqa: S608  (as above)


def open_gates(now: datetime, *, limit: int = 200) -> int:
    """Let jobs go whose upstream has come to the wanted end, and skip those that waited too long.

    The end counts when it is no older than `after_within` before the nominal; the job waits as long after
    it. Returns how many were let go.
    """
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute(_GATED, {"now": now, "limit": limit})
            found = cursor.fetchall()
        moved = lifecycle.promote([job_id for job_id, _, ready in found if ready], now=now)
        lifecycle.skip(
            [job_id for job_id, late, ready in found if late and not ready], Reason.UPSTREAM, now=now
        )
        _drop_holds_of_ungated(now)
        dispatching.publish_waiting(moved)
    return len(moved)


def _drop_holds_of_ungated(now: datetime) -> None:
    """A gate that was taken away lets what it held go."""
    held = Job.objects.filter(status=Status.DELAYED, hold=Hold.UPSTREAM)
    free = list(
        held.exclude(
            schedule_id__in=Schedule.objects.filter(after__isnull=False, after_mode="gate").values("pk")
        )
        .select_for_update(skip_locked=True)
        .values_list("id", flat=True)
    )
    dispatching.publish_waiting(lifecycle.promote(free, now=now))


def check_acyclic(schedule: Schedule, after: Schedule | None) -> None:
    """Raise `dependencies.DependencyCycle` if `schedule`, run after `after`, would come after itself."""
    edges = {
        name: [upstream]
        for name, upstream in Schedule.objects.filter(after__isnull=False)
        .exclude(pk=schedule.pk)
        .values_list("periodic_task__name", "after__periodic_task__name")
    }
    if after is not None:
        edges[str(schedule)] = [str(after)]
    dependencies.check(edges)
