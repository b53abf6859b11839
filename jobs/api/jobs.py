"""Jobs: asking for one, looking at it, stopping it."""

from __future__ import annotations

from datetime import datetime
from http import HTTPStatus
from typing import Any, Literal

from django.db import transaction
from django.http import HttpRequest
from ninja import Query, Router, Schema
from pydantic import AwareDatetime, Field

from jobs.api.problems import Problem
from jobs.engine import auditing, cancelling, enqueueing, permitting
from jobs.engine.compiling import queue_for
from jobs.insight import documents
from jobs.models import Job
from jobs.rules.states import Status

router = Router(tags=["jobs"])

IdText = Field(default=None, min_length=1, max_length=155, pattern=r"^[\x21-\x7e]+$")


class NewJob(Schema):
    """What a job is asked for with."""

    task: str = Field(min_length=1, max_length=200)
    args: list[Any] = []
    kwargs: dict[str, Any] = {}
    queue: str | None = Field(default=None, min_length=1, max_length=200)
    priority: int | None = Field(default=None, ge=0, le=9)
    eta: AwareDatetime | None = None
    expires: AwareDatetime | None = None
    id: str | None = IdText
    """Chosen by the caller, it makes the request idempotent: the same id makes one job."""


class Which(Schema):
    """Which jobs are listed."""

    status: Status | None = None
    task: str | None = None
    queue: str | None = None
    before: datetime | None = None
    """Made before this instant: to page on, the `created_at` of the last one of a page."""
    limit: int = Field(default=50, ge=1, le=500)


@router.post("", response={201: dict, 200: dict}, summary="Ask for a job")
def create(request: HttpRequest, new: NewJob) -> tuple[Literal[200, 201], dict[str, Any]]:
    """Make a job. 201 when it is new; 200 with the job there is, when one has this id already."""
    if not permitting.is_known(new.task):
        raise Problem(HTTPStatus.UNPROCESSABLE_ENTITY, f"There is no task named {new.task!r}.")
    if refusal := permitting.refusal(request.user, new.task):
        raise Problem(HTTPStatus.FORBIDDEN, refusal)
    with transaction.atomic():
        existing = Job.objects.filter(id=new.id).first() if new.id else None
        if existing is not None:
            return 200, documents.job_document(_visible(request, existing))
        job_id = enqueueing.action(
            task=new.task,
            queue=queue_for(new.task, new.queue),
            job_id=new.id,
            args=new.args,
            kwargs=new.kwargs,
            eta=new.eta,
            expires=new.expires,
            priority=new.priority,
        )
        auditing.record_jobs([job_id], "enqueue")
    return 201, documents.job_document(Job.objects.get(id=job_id))


@router.get("", response=dict, summary="List jobs")
def list_(request: HttpRequest, which: Query[Which]) -> dict[str, Any]:
    """List jobs, the newest first."""
    _may(request, "jobs.view_job")
    wanted = which.dict(exclude_none=True)
    limit, before = wanted.pop("limit"), wanted.pop("before", None)
    found = Job.objects.filter(**wanted)
    if before is not None:
        found = found.filter(created_at__lt=before)
    return {"items": documents.job_documents(found.order_by("-created_at", "-id")[:limit])}


@router.get("/{job_id}", response=dict, summary="Look at a job")
def show(request: HttpRequest, job_id: str) -> dict[str, Any]:
    """Show a job, its attempts and its result."""
    return documents.job_document(_found(request, job_id))


@router.post("/{job_id}/cancel", response={202: dict}, summary="Stop a job")
def cancel(request: HttpRequest, job_id: str) -> tuple[Literal[202], dict[str, Any]]:
    """Cancel a job that has not begun, or ask its worker to stop it. 409 when it has ended."""
    _may(request, "jobs.cancel_job")
    _found(request, job_id)
    if cancelling.cancel([job_id]) == (0, 0):
        raise Problem(HTTPStatus.CONFLICT, f"The job {job_id} has ended.")
    return 202, documents.job_document(Job.objects.get(id=job_id))


def _may(request: HttpRequest, permission: str) -> None:
    if not request.user.has_perm(permission):
        raise Problem(HTTPStatus.FORBIDDEN, f"That takes the permission {permission}.")


def _found(request: HttpRequest, job_id: str) -> Job:
    job = Job.objects.filter(id=job_id).first()
    if job is None:
        raise Problem(HTTPStatus.NOT_FOUND, f"There is no job {job_id}.")
    return _visible(request, job)


def _visible(request: HttpRequest, job: Job) -> Job:
    """Who may ask for a task's jobs may look at them; who may look at jobs may look at all."""
    if not request.user.has_perm("jobs.view_job") and permitting.refusal(request.user, job.task):
        raise Problem(HTTPStatus.FORBIDDEN, "That takes the permission jobs.view_job.")
    return job
