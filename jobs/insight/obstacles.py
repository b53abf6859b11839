"""What keeps a schedule, or a job, from running: nobody decides, nobody works, or somebody said no."""

from __future__ import annotations

from datetime import datetime, timedelta

from celery import current_app
from django.db import connection

from jobs.conf import conf
from jobs.engine import limiting, permitting
from jobs.engine.compiling import queue_for
from jobs.engine.registry import load_tasks
from jobs.insight import beats
from jobs.insight.formats import instant
from jobs.models import Job, Limit, Schedule, Worker
from jobs.rules.states import Status

LATE = timedelta(seconds=10)
"""A time that is due for longer than this and not decided: no beat is running."""

_LISTENERS = """
    SELECT count(*) FROM pg_stat_activity
    WHERE datname = current_database() AND query ILIKE 'listen jadwal_schedules%%'
"""


def queue_of(schedule: Schedule) -> str:
    """Return the queue that jobs of `schedule` go to."""
    if schedule.template and not schedule.stale:
        return str(schedule.template["queue"])
    return queue_for(schedule.periodic_task.task, schedule.periodic_task.queue)


def what_blocks(schedule: Schedule, now: datetime, at: datetime | None = None) -> str:
    """Return what keeps `schedule` from running at `at`, as the end of a sentence; empty for nothing."""
    if not schedule.periodic_task.enabled and not (
        at is not None and schedule.paused_until is not None and at > schedule.paused_until
    ):
        return _pause(schedule)
    denied = objection(schedule)
    if denied:
        return denied[:1].lower() + denied[1:].rstrip(".")
    if not beat_is_running(now):
        return "no scheduler is running: start one, 'celery beat'"
    return what_blocks_queue(queue_of(schedule), schedule.periodic_task.task, now)


def objection(schedule: Schedule) -> str:
    """Return why nobody may schedule the task of a schedule, in a sentence; empty where somebody may."""
    return permitting.judge(schedule.periodic_task.task).objection


def what_blocks_queue(queue: str, task: str, now: datetime) -> str:
    """Return why jobs of `task` on `queue` do not start; empty when some worker would take them."""
    if queue in limiting.paused_queues():
        return f"the queue {queue!r} is paused: 'manage.py queues resume {queue}'"
    workers = [one for one in alive(now) if queue in one.queues]
    if not workers:
        return f"no worker takes jobs from the queue {queue!r}"
    if not any(task in one.tasks for one in workers if one.tasks) and all(one.tasks for one in workers):
        return f"no worker of the queue {queue!r} has a task named {task!r}"
    load_tasks()
    if task not in current_app.tasks and not any(one.tasks for one in workers):
        return f"no task named {task!r} is registered"
    return ""


def what_holds(job: Job) -> str:
    """Return the limit that holds a delayed job back, as people know it; empty when none is full."""
    names = limiting.names_for(job.queue, job.schedule_id, job.concurrency_key)
    for limit in Limit.objects.filter(name__in=names, max_active__isnull=False).order_by("name"):
        kind, _, rest = limit.name.partition(":")
        if kind == "queue" and limit.max_active == 0:
            return f"the queue {rest!r} is paused"
        which = (
            "this schedule" if kind == "schedule" else f"the {'queue' if kind == 'queue' else 'key'} {rest!r}"
        )
        if limit.max_active is not None and limiting.active_under(limit.name) >= limit.max_active:
            return f"{which} may have {limit.max_active} active at once"
    return ""


def beat_is_running(now: datetime) -> bool:
    """Return whether some beat decides what is due.

    Nothing may be overdue, and one of them must have been heard of within the lease.
    """
    overdue = Schedule.objects.filter(stale=False, next_run_at__lt=now - LATE)
    unread = Schedule.objects.filter(stale=True, edited_at__lt=now - LATE)
    if overdue.exists() or unread.exists():
        return False
    return bool(beats.alive(now))


def listening_beats() -> int:
    """Return how many connections listen for edits of schedules: one for each beat that can."""
    with connection.cursor() as cursor:
        cursor.execute(_LISTENERS)
        row = cursor.fetchone()
    return int(row[0])


def alive(now: datetime) -> list[Worker]:
    """Return the workers that were heard of within their lease."""
    return list(Worker.objects.alive(now, conf().lease))  # type: ignore[attr-defined]


def earlier_run(job: Job) -> Job | None:
    """Return the run of the same schedule that was under way when `job` was skipped or held."""
    others = Job.objects.filter(schedule_id=job.schedule_id, created_at__lt=job.created_at)
    for other in others.exclude(status=Status.SKIPPED).order_by("-created_at")[:100]:
        if other.finished_at is None or other.finished_at > job.created_at:
            return other
    return None


def _pause(schedule: Schedule) -> str:
    until = f" until {instant(schedule.paused_until)}" if schedule.paused_until else ""
    note = f" ({schedule.pause_note.rstrip('.')})" if schedule.pause_note else ""
    by = f" by {schedule.paused_by}" if schedule.paused_by and schedule.paused_by != "system" else ""
    return f"it is paused{by}{until}{note}"
