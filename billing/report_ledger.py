"""Every write of a report run's status. Each is guarded by the status and the job it believes in."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.db import models, transaction
from django.db.models import ExpressionWrapper, Q
from django.db.models.functions import Now

from billing.models import ReportRun
from billing.periods import LocalDay

Status = ReportRun.Status
NO_JOB_TAKES = timedelta(days=1)


def run_for(report: str, period: LocalDay, job_key: str) -> ReportRun:
    """Return the one run of this report and period, made if it is new."""
    run, _ = ReportRun.objects.get_or_create(
        report=report, period_start=period.day, zone=period.zone, defaults={"job_key": job_key}
    )
    return run


def begin(run: ReportRun, job_key: str, **written: Any) -> bool:
    """Commit that this job is about to send the report; False if it is being sent, or was.

    A failed run may be tried again; one that is in doubt only when a person says so.
    """
    free = ReportRun.objects.filter(pk=run.pk, status__in=[Status.PENDING, Status.FAILED])
    with transaction.atomic(durable=True):
        mine = free.update(
            status=Status.SENDING, job_key=job_key, tried_at=Now(), error="", refused={}, **written
        )
    return mine == 1


def sent(run: ReportRun, job_key: str, refused: dict[str, str]) -> None:
    """The mail server took it. That is news also where doubt had been raised meanwhile."""
    rows = ReportRun.objects.filter(pk=run.pk, job_key=job_key, status__in=[Status.SENDING, Status.IN_DOUBT])
    rows.update(status=Status.SENT, sent_at=Now(), refused=refused)


def not_taken(run: ReportRun, job_key: str, error: str) -> None:
    """It was not taken, and may be tried again."""
    _leave_sending(run, job_key, Status.PENDING, error)


def refused(run: ReportRun, job_key: str, error: str) -> None:
    """The mail server will not take it."""
    _leave_sending(run, job_key, Status.FAILED, error)


def doubted(run: ReportRun, job_key: str, error: str) -> None:
    """It may have been taken."""
    _leave_sending(run, job_key, Status.IN_DOUBT, error)


def allow_again(run: ReportRun) -> bool:
    """A person decided that a report in doubt is to go out once more.

    One whose job was lost for good while sending counts as in doubt when no job can still be at it.
    """
    long_ago = ExpressionWrapper(Now() - NO_JOB_TAKES, models.DateTimeField())
    stuck = Q(status=Status.SENDING, tried_at__lt=long_ago)
    rows = ReportRun.objects.filter(Q(status=Status.IN_DOUBT) | stuck, pk=run.pk)
    return bool(rows.update(status=Status.PENDING, error=""))


def _leave_sending(run: ReportRun, job_key: str, status: Status, error: str) -> None:
    rows = ReportRun.objects.filter(pk=run.pk, job_key=job_key, status=Status.SENDING)
    rows.update(status=status, error=error)
