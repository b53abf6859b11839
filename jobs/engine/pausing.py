"""Pausing and resuming schedules (SEMANTICS 18).

A schedule is paused when its `PeriodicTask` is not enabled, so that a pause by django-celery-beat's own
admin means the same. Who, why and until when is kept with the policy; since when is
noted by `syncing`, which learns of every pause, whoever made it.
"""

from datetime import datetime

from django.db import transaction
from django_celery_beat.models import PeriodicTask

from jobs.models import Schedule


def pause(schedule: Schedule, *, note: str = "", actor: str = "", until: datetime | None = None) -> bool:
    """Let the times of `schedule` pass without jobs; return False if it was paused before."""
    with transaction.atomic():
        changed = PeriodicTask.objects.filter(pk=schedule.pk, enabled=True).update(enabled=False)
        Schedule.objects.filter(pk=schedule.pk).update(pause_note=note, paused_by=actor, paused_until=until)
    return bool(changed)


def resume(schedule: Schedule) -> bool:
    """Let `schedule` fire again from now on; return False if it was not paused."""
    return bool(PeriodicTask.objects.filter(pk=schedule.pk, enabled=False).update(enabled=True))


def resume_due(now: datetime) -> int:
    """Resume the schedules whose pause has an end that has come; return how many."""
    due = Schedule.objects.filter(paused_until__lte=now, paused_at__isnull=False)
    resumed: int = PeriodicTask.objects.filter(pk__in=due.values("pk"), enabled=False).update(enabled=True)
    return resumed
