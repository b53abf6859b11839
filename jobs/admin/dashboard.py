"""The first page: whether everything is well, and if not, where to look."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.contrib import admin
from django.db.models import Q
from django.http import HttpRequest
from django.urls import reverse
from django.utils import timezone

from jobs.admin.presenting import badge, job_url, relative, schedule_url, span, stamp
from jobs.admin.workers import LOOK as WORKER_LOOK
from jobs.engine.clock import database_now
from jobs.insight import dashboard as readers
from jobs.insight import throughput
from jobs.models import Schedule
from jobs.rules.states import Status

admin.site.index_template = "jobs/dashboard.html"

TILES = ("active", "waiting", "delayed", "completed", "failed", "skipped", "cancelled")
LOOK = {"failed": "danger", "active": "info", "completed": "success"}


def context(request: HttpRequest, context: dict[str, Any]) -> dict[str, Any]:
    """Return the dashboard's context, by the user's permissions: unfold's `DASHBOARD_CALLBACK`."""
    now = database_now()
    user = request.user
    if user.has_perm("jobs.view_job"):
        context |= _jobs(now)
    if user.has_perm("django_celery_beat.view_periodictask"):
        context |= _schedules(now)
    if user.has_perm("jobs.view_worker"):
        context["workers"] = [
            {
                "name": row.worker.name,
                "url": reverse("admin:jobs_worker_change", args=[row.worker.pk]),
                "badge": badge(row.state, WORKER_LOOK[row.state]),
                "heard": relative(row.worker.heartbeat_at, now),
                "load": f"{row.running} of {row.worker.concurrency}",
                "queues": row.worker.queues,
            }
            for row in readers.recent_workers(now)
        ]
    return context | {"title": "Overview", "now": stamp(timezone.now()), "zone": settings.TIME_ZONE}


def _jobs(now: Any) -> dict[str, Any]:
    jobs = reverse("admin:jobs_job_changelist")
    queues = readers.queues(now, getattr(settings, "QUEUES", ()))
    ended = throughput.ended(now)
    counts = {**readers.live(queues), **ended.texts}
    return {
        "tiles": [
            {
                "name": name,
                "count": counts[name],
                "look": "plain" if counts[name] == "0" else LOOK.get(name, "plain"),
                "when": "now" if name in ("active", "waiting", "delayed") else "last 24 hours",
                "url": f"{jobs}?status__exact={name}",
            }
            for name in TILES
        ],
        "queues": [
            {"row": row, "waiting": throughput.capped(row.waiting, readers.COUNT_LIMIT),
             "oldest": span(row.oldest_waiting) if row.oldest_waiting is not None else "–",
             "url": f"{jobs}?queue={row.name}"}
            for row in queues
        ],
        "stuck": [row.name for row in queues if row.is_stuck],
        "chart": _chart(ended.hours),
        "failures": [
            {
                "url": job_url(job.id),
                "task": job.task if job.schedule_name else job.trigger,
                "title": job.schedule_name or job.task,
                "error": job.error or job.reason,
                "when": relative(job.finished_at, now),
            }
            for job in readers.recent_failures()
        ],
        "failed_url": f"{jobs}?status__exact={Status.FAILED}",
    }  # fmt: skip


def _schedules(now: Any) -> dict[str, Any]:
    beat = readers.beat_health(now)
    problems = Schedule.objects.filter(~Q(problem=""), periodic_task__enabled=True)
    return {
        "beat": beat,
        "beat_overdue": span(beat.overdue) if beat.state == "late" else "",
        "problems": [
            {"name": row.periodic_task.name, "problem": row.problem, "url": schedule_url(row.pk)}
            for row in problems.select_related("periodic_task")[:5]
        ],
        "upcoming": [
            {
                "url": schedule_url(item.schedule_id),
                "name": item.name,
                "task": item.task,
                "relative": relative(item.at, now),
                "at": stamp(item.at),
            }
            for item in readers.upcoming(now)
        ],
    }


def _chart(hours: list[throughput.Hour]) -> dict[str, Any]:
    """Return the bars of the last 24 hours as shares of the highest."""
    most = max((hour.completed + hour.failed for hour in hours), default=0)
    bars = [
        {
            "hour": f"{timezone.localtime(hour.start):%H}",
            "title": f"{timezone.localtime(hour.start):%H:%M}: "
            f"{hour.completed:,} completed, {hour.failed:,} failed",
            "completed": round(100 * hour.completed / most, 1) if most else 0,
            "failed": max(round(100 * hour.failed / most, 1), 2) if hour.failed else 0,
        }
        for hour in hours
    ]
    return {"bars": bars, "most": f"{most:,}", "empty": not most}
