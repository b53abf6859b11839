"""Jobs and schedules as JSON-ready dictionaries, with the same fields wherever they are shown."""

from __future__ import annotations

import json
import logging
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta
from typing import Any

from celery import current_app
from django_celery_results.models import TaskResult

from jobs.conf import conf
from jobs.engine import permitting
from jobs.engine.compiling import CompileError, Timing, queue_for
from jobs.engine.registry import load_tasks
from jobs.insight.formats import compact, instant, number, plain, seconds
from jobs.insight.previewing import next_run_at, timing_of
from jobs.models import Attempt, Job, JobLog, Limit, Schedule
from jobs.rules.crontab import CronSpec
from jobs.rules.describe import describe
from jobs.rules.redaction import redact, redact_text
from jobs.rules.states import Status
from jobs.rules.timing import (
    CalendarIntervalSpec,
    IntervalSpec,
    OneShotSpec,
    SolarSpec,
    TimingSpec,
    zone_name,
)

Document = dict[str, Any]

WITH_ROWS = (
    "periodic_task__crontab",
    "periodic_task__interval",
    "periodic_task__clocked",
    "periodic_task__solar",
    "calendar",
    "after__periodic_task",
)
"""What a schedule's document reads besides its policy: for `select_related`."""

STATES = ("active", "paused", "finished", "broken")
"""What a schedule can be: `finished` will not fire again, `broken` cannot."""

POLICY = (
    "overlap", "catch_up", "catchup_window", "max_catchup", "jitter", "day_match", "month_end", "dst_gap",
    "dst_fold", "max_runs", "deadline", "on_complete", "max_attempts", "backoff_base", "backoff_factor",
    "backoff_cap", "timeout", "roll", "group", "concurrency_key", "pause_after_failures", "manager", "note",
)  # fmt: skip


# --- Jobs ------------------------------------------------------------------------------------------


def job_document(job: Job) -> Document:
    """Return one job with its attempts and its result."""
    return job_documents([job])[0]


def job_documents(jobs: Iterable[Job]) -> list[Document]:
    """Return jobs with their attempts and results, in three queries."""
    rows = list(jobs)
    ids = [job.id for job in rows]
    attempts: dict[str, list[Attempt]] = defaultdict(list)
    for attempt in Attempt.objects.filter(job_id__in=ids).order_by("number"):
        attempts[attempt.job_id].append(attempt)
    done = [job.id for job in rows if job.status == Status.COMPLETED]
    results = (
        dict(TaskResult.objects.filter(task_id__in=done).values_list("task_id", "result")) if done else {}
    )
    return [_job(job, attempts[job.id], results.get(job.id)) for job in rows]


def _job(job: Job, attempts: Sequence[Attempt], result: str | None) -> Document:
    return {
        "id": job.id,
        "schedule": job.schedule_name or None,
        "task": job.task,
        "queue": job.queue,
        "status": job.status,
        "reason": job.reason or None,
        "trigger": job.trigger,
        "scheduled_for": instant(job.scheduled_for),
        "attempts": job.attempt,
        "max_attempts": job.max_attempts or attempts_allowed(job.task),
        "created_at": instant(job.created_at),
        "available_at": instant(job.available_at),
        "started_at": instant(job.started_at),
        "finished_at": instant(job.finished_at),
        "args": redact(plain(job.args)),
        "kwargs": redact(plain(job.kwargs)),
        "result": _result(result),
        "error": job.error or None,
        "attempt_history": [*map(_attempt, attempts), *_running(job)],
    }


def _attempt(attempt: Attempt) -> Document:
    return {
        "number": attempt.number,
        "worker": attempt.worker_name or None,
        "started_at": instant(attempt.started_at),
        "finished_at": instant(attempt.finished_at),
        "outcome": attempt.outcome,
        "error": attempt.error or None,
    }


def _running(job: Job) -> list[Document]:
    """The attempt that is under way is the job row itself."""
    if job.status != Status.ACTIVE:
        return []
    return [
        {
            "number": job.attempt,
            "worker": job.worker.name if job.worker else None,
            "started_at": instant(job.started_at),
            "finished_at": None,
            "outcome": None,
            "error": None,
        }
    ]


def _result(text: str | None) -> Any:
    if text is None:
        return None
    try:
        return redact(plain(json.loads(text)))
    except (ValueError, TypeError):
        return redact_text(text)  # a result that another serializer wrote


def attempts_allowed(task: str) -> int:
    """Return how many attempts a job of `task` has where its schedule does not say."""
    load_tasks()
    known = current_app.tasks.get(task)
    if known is None or not hasattr(known, "attempts_allowed"):
        return conf().max_attempts
    allowed = int(known.attempts_allowed())
    if known.leaves_retries_to_celery() and known.max_retries is not None:
        return max(allowed, int(known.max_retries) + 1)
    return allowed


def log_document(line: JobLog) -> Document:
    """Return one line that a task logged."""
    return {
        "attempt": line.attempt,
        "level": logging.getLevelName(line.level),
        "logger": line.logger,
        "message": line.content,
        "logged_at": instant(line.logged_at),
    }


# --- Schedules -------------------------------------------------------------------------------------


def schedule_limits() -> dict[str, Limit]:
    """Return the limits of all schedules by their names, for a list of documents."""
    return {limit.name: limit for limit in Limit.objects.filter(name__startswith="schedule:")}


def schedule_document(schedule: Schedule, limits: Mapping[str, Limit] | None = None) -> Document:
    """Return one schedule: when, what, how, and what is to come of it.

    `limits` are `schedule_limits()`, where many are asked for.
    """
    row = schedule.periodic_task
    problem = schedule.problem
    timing: Timing | None = None
    try:
        timing = timing_of(schedule)
        problem = "" if schedule.stale else problem
    except CompileError as error:
        problem = str(error)
    problem = problem or permitting.judge(row.task).objection
    next_at = next_run_at(schedule)
    triggered = schedule.after_id is not None and schedule.after_mode == "trigger"
    state = _state(schedule, timing, problem, ended=next_at is None and not triggered)
    return {
        "name": row.name,
        "task": row.task,
        "queue": _queue(schedule),
        "enabled": row.enabled,
        **_pause(schedule, is_paused=state == "paused"),
        "state": state,
        **_when(schedule, timing, triggered=triggered),
        "next_run_at": None if problem else instant(next_at),
        "last_run_at": instant(row.last_run_at),
        "runs": schedule.runs,
        "problem": problem or None,
        "about": row.description or None,
        "args": _stored(row.args),
        "kwargs": _stored(row.kwargs),
        "priority": row.priority,
        "start": instant(row.start_time),
        "end": instant(row.expires),
        **{name: _setting(getattr(schedule, name)) for name in POLICY},
        **_links(schedule, limits),
        "version": schedule.version,
        "created_at": instant(schedule.created_at),
    }


def _state(schedule: Schedule, timing: Timing | None, problem: str, *, ended: bool) -> str:
    """Return `active`, `paused`, `finished` (it will not fire again) or `broken` (it cannot)."""
    if problem:
        return "broken"
    if not schedule.periodic_task.enabled:
        fired = schedule.runs > 0 and timing is not None and timing.once and not schedule.stale
        return "finished" if fired else "paused"
    return "finished" if ended else "active"


def _queue(schedule: Schedule) -> str | None:
    if schedule.template and not schedule.stale:
        return str(schedule.template["queue"])
    return queue_for(schedule.periodic_task.task, schedule.periodic_task.queue)


def _pause(schedule: Schedule, *, is_paused: bool) -> Document:
    return {
        "paused": is_paused,
        "pause_note": (schedule.pause_note or None) if is_paused else None,
        "paused_until": instant(schedule.paused_until) if is_paused else None,
        "paused_by": (schedule.paused_by or None) if is_paused else None,
    }


_ENDS = {"success": "has succeeded", "failure": "has failed", "any": "has ended"}


def _when(schedule: Schedule, timing: Timing | None, *, triggered: bool) -> Document:
    """Return when it runs; for one that another schedule starts, after which."""
    if triggered:
        text = f"When {schedule.after} {_ENDS[schedule.after_on]}"
        return {
            "timing": {"kind": "after", "expression": str(schedule.after), "tz": "UTC"},
            "description": text,
        }
    return {
        "timing": _timing(timing.spec, schedule) if timing else None,
        "description": describe(timing.spec) if timing else None,
    }


def _links(schedule: Schedule, limits: Mapping[str, Limit] | None) -> Document:
    """Return what ties a schedule to something else: a calendar, another schedule, its limit."""
    name = f"schedule:{schedule.pk}"
    limit = Limit.objects.filter(name=name).first() if limits is None else limits.get(name)
    after = schedule.after
    return {
        "calendar": str(schedule.calendar) if schedule.calendar else None,
        "after": str(after) if after else None,
        "after_mode": schedule.after_mode if after else None,
        "after_on": schedule.after_on if after else None,
        "after_within": seconds(schedule.after_within) if after else None,
        "max_active": limit.max_active if limit else None,
        "rate": number(limit.max_per_second) if limit and limit.max_per_second else None,
    }


def _timing(spec: TimingSpec, schedule: Schedule) -> Document:
    match spec:
        case CronSpec():
            kind, expression = "cron", spec.expression
        case IntervalSpec():
            kind, expression = "interval", compact(spec.every)
        case OneShotSpec():
            said = {"tz": schedule.once_tz or "UTC", "local": schedule.once_wall or None}
            return {"kind": "once", "expression": instant(spec.at), **said}
        case SolarSpec():
            kind, expression = "solar", f"{spec.event} {spec.latitude:g},{spec.longitude:g}"
        case CalendarIntervalSpec():
            letters = {"day": "d", "week": "w", "month": "mo", "year": "y"}
            kind, expression = "calendar_interval", f"{spec.every}{letters[spec.unit]}"
    return {"kind": kind, "expression": expression, "tz": zone_name(spec)}


def _setting(value: Any) -> Any:
    if isinstance(value, timedelta):
        return seconds(value)
    if isinstance(value, float):
        return number(value)
    return (str(value) or None) if isinstance(value, str) else value


def _stored(text: str) -> Any:
    try:
        return redact(plain(json.loads(text))) if text else None
    except (ValueError, TypeError):
        return redact_text(text)  # it is broken; the problem says so
