"""The story of a job: when it was due, what became of it, attempt by attempt, line by line."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

from django_celery_beat.models import PeriodicTask
from django_celery_results.models import TaskResult

from jobs.admin.presenting import (
    OUTCOME_LOOK,
    badge,
    duration_of,
    flower_url,
    level,
    pretty,
    relative,
    schedule_url,
    span,
    stamp,
    status_badge,
)
from jobs.models import Attempt, Job, JobLog, Worker
from jobs.rules.redaction import redact_text
from jobs.rules.states import Status

MOST_LINES = 500
LONG = 20_000

WHY = {
    "overlap": "An earlier run of the schedule was still going.",
    "missed": "Its time passed while nothing was scheduling, and catch-up left it out.",
    "paused": "The schedule was paused.",
    "excluded": "A calendar excludes this time.",
    "blackout": "It fell into a blackout window.",
    "expired": "It had not started by its deadline.",
    "dropped": "Too many runs were held already.",
    "exhausted": "Every attempt failed.",
    "permanent": "The error was permanent: another attempt would not help.",
    "poison": "It took its worker down again and again.",
    "rejected": "The task rejected it.",
    "cancelled": "Somebody cancelled it.",
    "discarded": "Somebody discarded this dead letter.",
}


def story(job: Job, now: datetime) -> dict[str, Any]:
    """Return the template context of a job's page."""
    attempts = list(Attempt.objects.filter(job_id=job.id).order_by("number"))
    schedule = PeriodicTask.objects.filter(pk=job.schedule_id).values_list("pk", flat=True).first()
    worker = Worker.objects.filter(pk=job.worker_id).first() if job.worker_id else None
    return {
        "job": job,
        "badge": status_badge(job.status, job.reason),
        "why": WHY.get(job.reason, ""),
        "hold": {"overlap": "Held back: an earlier run of the schedule is still going."}.get(
            job.hold, job.hold
        ),
        "schedule_link": schedule_url(schedule) if schedule else "",
        "flower": flower_url(job.id),
        "facts": list(_facts(job, worker, now)),
        "timeline": list(_timeline(job, attempts, now)),
        "attempts": [_attempt(row) for row in reversed(attempts)],
        "running": _running(job, worker, now),
        "args": pretty(job.args) if job.args else "",
        "kwargs": pretty(job.kwargs) if job.kwargs else "",
        "headers": pretty(job.headers) if job.headers else "",
        **_logs(job),
        **_result(job),
    }


def _facts(job: Job, worker: Worker | None, now: datetime) -> Iterator[tuple[str, str]]:
    yield "Queue", job.queue
    yield "Made by", job.trigger + (f", policy version {job.policy_version}" if job.policy_version else "")
    allowed = f" of {job.max_attempts}" if job.max_attempts else ""
    yield "Attempts", f"{job.attempt} started, {job.errors}{allowed} charged"
    if job.crashes:
        yield "Crashes", str(job.crashes)
    yield "Duration", span(duration_of(job, now))
    yield "Start delay", span(start_delay(job))
    if worker:
        yield "Worker", worker.name
    if job.priority is not None:
        yield "Priority", str(job.priority)
    if job.time_limit or job.soft_time_limit:
        limits = [span(timedelta(seconds=item)) for item in (job.soft_time_limit, job.time_limit) if item]
        yield "Time limits", " / ".join(limits)
    if job.deadline_at:
        yield "Start deadline", stamp(job.deadline_at)
    if job.skipped_count and job.skipped_through:
        yield "Stands for", f"{job.skipped_count} times up to {stamp(job.skipped_through)}"


def start_delay(job: Job) -> timedelta | None:
    """Return how long after it was due the last attempt started."""
    if job.started_at is None:
        return None
    due = job.scheduled_for if job.attempt == 1 and job.scheduled_for else job.available_at
    return job.started_at - due if job.started_at >= due else None


def _timeline(job: Job, attempts: list[Attempt], now: datetime) -> Iterator[dict[str, Any]]:
    steps: list[tuple[datetime, str, str, str]] = [(job.created_at, "Created", f"by {job.trigger}", "")]
    if job.scheduled_for:
        steps.append((job.scheduled_for, "Scheduled for", "the nominal time", ""))
    if job.published_at:
        steps.append((job.published_at, "Published", f"to the queue {job.queue}", ""))
    for row in attempts:
        steps.append((row.started_at, f"Attempt {row.number} started", f"on {row.worker_name}", "info"))
        look = OUTCOME_LOOK.get(row.outcome, "")
        steps.append((row.finished_at, f"Attempt {row.number}: {row.outcome}", row.error[:140], look))
    if job.status == Status.ACTIVE and job.started_at:
        steps.append((job.started_at, f"Attempt {job.attempt} started", "running now", "info"))
    if job.cancel_requested_at:
        steps.append((job.cancel_requested_at, "Cancel requested", "", "warning"))
    if job.status == Status.DELAYED:
        steps.append((job.available_at, "Due", "the next attempt" if job.attempt else "", "warning"))
    if job.finished_at:
        ends = [
            row.finished_at
            for row in attempts[-1:]
            if row.finished_at - job.finished_at < timedelta(seconds=1)
        ]
        look = {"completed": "success", "failed": "danger"}.get(job.status, "")
        steps.append((max([job.finished_at, *ends]), job.status.capitalize(), job.reason, look))
    previous: datetime | None = None
    for moment, title, text, look in sorted(steps, key=lambda step: step[0]):
        yield {
            "at": stamp(moment),
            "since": f"+{span(moment - previous)}" if previous and moment > previous else "",
            "relative": relative(moment, now),
            "title": title,
            "text": text,
            "look": look or "plain",
        }
        previous = moment


def _attempt(row: Attempt) -> dict[str, Any]:
    return {
        "number": row.number,
        "badge": badge(row.outcome, OUTCOME_LOOK.get(row.outcome, "")),
        "worker": row.worker_name or "–",
        "started": stamp(row.started_at),
        "duration": span(row.finished_at - row.started_at),
        "error": row.error,
        "traceback": row.traceback,
    }


def _running(job: Job, worker: Worker | None, now: datetime) -> dict[str, str] | None:
    if job.status != Status.ACTIVE or not job.started_at:
        return None
    return {
        "number": str(job.attempt),
        "worker": worker.name if worker else "–",
        "started": stamp(job.started_at),
        "duration": span(now - job.started_at),
    }


def _logs(job: Job) -> dict[str, Any]:
    newest = list(JobLog.objects.filter(job_id=job.id).order_by("-id")[: MOST_LINES + 1])
    lines = []
    for row in reversed(newest[:MOST_LINES]):
        name, look = level(row.level)
        at = stamp(row.logged_at) + f".{row.logged_at.microsecond // 1000:03}"
        lines.append({"at": at, "attempt": row.attempt, "level": name, "look": look, "logger": row.logger,
                      "text": row.content})  # fmt: skip
    return {"lines": lines, "lines_cut": MOST_LINES if len(newest) > MOST_LINES else 0}


def _result(job: Job) -> dict[str, Any]:
    row = TaskResult.objects.filter(task_id=job.id).values("status", "result").first()
    if row is None or job.status != Status.COMPLETED:
        return {"result": "", "has_result": False}
    return {"result": _readable(row["result"]), "has_result": True}


def _readable(text: str | None) -> str:
    try:
        return pretty(json.loads(text or "null"))[:LONG]
    except ValueError:
        return redact_text(text or "")[:LONG]
