"""What came of the earlier jobs of a schedule, for a task and its payload (SEMANTICS 27)."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django_celery_results.models import TaskResult

from jobs.engine.payload import decode
from jobs.engine.records import Started
from jobs.models import Job
from jobs.rules import templating
from jobs.rules.instants import rfc3339
from jobs.rules.states import Status


def previous_completed(schedule_id: int | None, job_id: str) -> Job | None:
    """Return the last job of a schedule that completed, other than `job_id`; None for none."""
    if schedule_id is None:
        return None
    done = Job.objects.filter(schedule_id=schedule_id, status=Status.COMPLETED).exclude(id=job_id)
    return done.order_by("-created_at").first()


def result_of(job: Job | None) -> Any:
    """Return what a completed job returned; None for none."""
    if job is None:
        return None
    return decode(TaskResult.objects.filter(task_id=job.id).values_list("result", flat=True).first())


def fill_payload(started: Started) -> Started:
    """Return a schedule's job with the names in its payload filled in.

    Only jobs of schedules: what a call such as `.delay()` hands over is data, and is left alone.
    """
    if started.schedule_id is None or not templating.names_in([started.args, started.kwargs]):
        return started

    def value_of(name: str) -> Any:
        match name:
            case "job_id":
                return started.job_id
            case "schedule":
                return started.schedule_name
            case "scheduled_for":
                return _text(started.scheduled_for)
            case "previous_scheduled_for":
                previous = previous_completed(started.schedule_id, started.job_id)
                return _text(previous.scheduled_for) if previous else None
            case "last_result":
                return result_of(previous_completed(started.schedule_id, started.job_id))
            case _:
                return getattr(started, name)

    return started._replace(
        args=templating.fill(started.args, value_of),
        kwargs=templating.fill(started.kwargs, value_of),
    )


def _text(moment: datetime | None) -> str | None:
    return rfc3339(moment) if moment else None
