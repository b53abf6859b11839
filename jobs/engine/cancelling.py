"""Stopping jobs: before they start, or while they run."""

from __future__ import annotations

import logging
from collections.abc import Collection, Sequence
from datetime import datetime

from celery import current_app
from django.db import transaction
from django.db.models import Q, QuerySet

from jobs.engine import lifecycle
from jobs.engine.dispatching import BROKER_ERRORS
from jobs.models import Job
from jobs.rules.states import Hold, Status

logger = logging.getLogger(__name__)


def cancel(ids: Sequence[str], *, now: datetime | None = None, kill: bool = False) -> tuple[int, int]:
    """Cancel jobs; return how many were cancelled before they started, and how many are asked to stop.

    A running job is asked through its worker: its row is marked, and the worker is told at once by
    broadcast, or finds the mark at its next heartbeat. `kill` sends SIGKILL instead of SIGTERM.
    """
    with transaction.atomic():
        cancelled = lifecycle.cancel_pending(ids, now=now)
        asked = lifecycle.request_cancel(ids, now=now)
        transaction.on_commit(lambda: _broadcast(asked, kill=kill), robust=True)
    return len(cancelled), len(asked)


def purgeable(queue: str, before: datetime) -> QuerySet[Job]:
    """Return the jobs of `queue` that wait for a place since before then; what is due later is left out."""
    waiting = Q(status=Status.WAITING) | Q(status=Status.DELAYED, hold=Hold.CONCURRENCY)
    return Job.objects.filter(waiting, queue=queue, created_at__lte=before)


def purge(queue: str, before: datetime, *, limit: int = 1_000) -> int:
    """Cancel at most `limit` of the purgeable jobs; return how many. Zero: nothing is left.

    One that starts meanwhile runs on. Their messages stay in Redis and do nothing.
    """
    while ids := list(purgeable(queue, before).values_list("id", flat=True)[:limit]):
        cancelled = lifecycle.cancel_pending(ids)
        if cancelled:
            return len(cancelled)
    return 0


def _broadcast(ids: Sequence[str], *, kill: bool) -> None:
    if not ids:
        return
    try:
        current_app.control.revoke(list(ids), terminate=True, signal="SIGKILL" if kill else "SIGTERM")
    except BROKER_ERRORS as exc:
        logger.warning("cancel: workers will see it at their next heartbeat, the broker is silent: %s", exc)


def stop_running_of(schedule_id: int, *, kill: bool, keep: Collection[str]) -> None:
    """Cancel every live job of a schedule but the held ones in `keep` (SEMANTICS 16)."""
    others = Job.objects.filter(
        schedule_id=schedule_id, status__in=[Status.DELAYED, Status.WAITING, Status.ACTIVE]
    ).exclude(id__in=list(keep))
    cancel(list(others.values_list("id", flat=True)), kill=kill)
