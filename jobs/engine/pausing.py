"""Pausing and resuming schedules (SEMANTICS 18).

A schedule is paused when its `PeriodicTask` is not enabled, so that a pause by django-celery-beat's own
admin means the same. Who, why and until when is kept with the policy; since when is
noted by `syncing`, which learns of every pause, whoever made it.
"""

import logging
from datetime import datetime

from django.db import connection, transaction
from django_celery_beat.models import PeriodicTask

from jobs.engine import auditing, permitting, syncing
from jobs.models import Schedule

logger = logging.getLogger(__name__)


def pause(schedule: Schedule, *, note: str = "", actor: str = "", until: datetime | None = None) -> bool:
    """Let the times of `schedule` pass without jobs; return False if it was paused before."""
    with transaction.atomic():
        changed = PeriodicTask.objects.filter(pk=schedule.pk, enabled=True).update(enabled=False)
        Schedule.objects.filter(pk=schedule.pk).update(pause_note=note, paused_by=actor, paused_until=until)
        until_text = until.isoformat() if until else None
        auditing.record([schedule.periodic_task], "pause", note=note, until=until_text)
    return bool(changed)


def resume(schedule: Schedule, *, catch_up: bool = False) -> bool:
    """Let `schedule` fire again from now on; return False if it was not paused.

    With `catch_up` the times that passed are decided by its catch-up policy, as if no beat had run; else
    the ledger says of them that it was paused. Raises `permitting.NotPermittedError` when nobody may schedule
    its task.
    """
    permitting.ensure_task(schedule.periodic_task.task)
    with transaction.atomic():
        # The PeriodicTask first, like every other edit: its trigger locks the policy, never the reverse.
        changed = PeriodicTask.objects.filter(pk=schedule.pk, enabled=False).update(enabled=True)
        if changed and catch_up:
            syncing.forget_pause(schedule.pk)
        if changed:
            auditing.record([schedule.periodic_task], "resume", catch_up=catch_up)
    return bool(changed)


def pause_failing() -> list[str]:
    """Pause the schedules whose last jobs failed, as many in a row as they allow; return their names.

    Cancelled and skipped jobs neither count nor break the row (SEMANTICS 19). A schedule that another beat
    has in hand is left for the next turn.
    """
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute(_FAILING)
            found = cursor.fetchall()
        for pk, name, limit in found:
            note = f"Paused by the system after {limit} failed jobs in a row."
            if pause(Schedule.objects.get(pk=pk), note=note, actor="system"):
                logger.error("schedule %s: %s", name, note)
    return [name for _, name, _ in found]


# The CTE keeps the planner with the index of the few that want this: every turn asks.
_FAILING = """
    WITH watched AS MATERIALIZED (
        SELECT periodic_task_id FROM jobs_schedule WHERE pause_after_failures > 0
    )
    SELECT s.periodic_task_id, t.name, s.pause_after_failures
    FROM watched JOIN jobs_schedule AS s ON s.periodic_task_id = watched.periodic_task_id
    JOIN django_celery_beat_periodictask AS t ON t.id = s.periodic_task_id AND t.enabled
    WHERE (SELECT count(*) = s.pause_after_failures AND bool_and(last.status = 'failed')
           FROM (SELECT status FROM jobs_job
                 WHERE schedule_id = s.periodic_task_id AND status IN ('completed', 'failed')
                   AND finished_at > COALESCE(s.resumed_at, s.created_at)
                 ORDER BY created_at DESC LIMIT s.pause_after_failures) AS last)
    FOR UPDATE OF s SKIP LOCKED FOR NO KEY UPDATE OF t SKIP LOCKED
"""


def resume_due(now: datetime) -> int:
    """Resume the schedules whose pause has an end that has come; return how many.

    One that somebody else has in hand is left for the next turn.
    """
    with transaction.atomic():
        due = [
            schedule.pk
            for schedule in Schedule.objects.filter(paused_until__lte=now, paused_at__isnull=False)
            .select_for_update(skip_locked=True, of=("self", "periodic_task"))
            .select_related("periodic_task")
            .only("periodic_task__id")
        ]
        resumed: int = PeriodicTask.objects.filter(pk__in=due, enabled=False).update(enabled=True)
    return resumed
