"""Stopping jobs: before they start, or while they run."""

from __future__ import annotations

import logging
from collections.abc import Collection, Sequence
from datetime import datetime

from celery import current_app
from django.db import transaction
from django.db.models import Q, QuerySet

from jobs.engine import auditing, lifecycle
from jobs.engine.dispatching import BROKER_ERRORS, doorbell
from jobs.models import Job
from jobs.rules.states import Hold, Status

logger = logging.getLogger(__name__)


def cancel(ids: Sequence[str], *, now: datetime | None = None, kill: bool = False) -> tuple[int, int]:
    """Cancel jobs; return how many were cancelled before they started, and how many are asked to stop.

    A running job is asked through its worker: its row is marked, and the worker is told at once by
    broadcast, or finds the mark at its next heartbeat. `kill` sends SIGKILL instead of SIGTERM.
    """
    with transaction.atomic():
        # What is being retried or rescued at this moment looks active to one statement and is not to the next:
        # the rows stand still first. In one order, so that two such calls cannot wait for each other.
        list(Job.objects.filter(id__in=ids).order_by("id").select_for_update().values_list("id"))
        cancelled = lifecycle.cancel_pending(ids, now=now)
        asked = lifecycle.request_cancel(ids, now=now)
        auditing.record_jobs([*cancelled, *asked], "cancel", kill=kill)
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
        with transaction.atomic():
            cancelled = lifecycle.cancel_pending(ids)
            if cancelled:
                auditing.record_queue(queue, "purge", cancelled=len(cancelled))
        if cancelled:
            return len(cancelled)
    return 0


def _broadcast(ids: Sequence[str], *, kill: bool) -> None:
    """Tell all workers, as `control.revoke` does; but that would try for as long as the broker is away."""
    if not ids or doorbell.is_muted():
        return
    exchange = current_app.control.mailbox.exchange
    arguments = {"task_id": list(ids), "terminate": True, "signal": "SIGKILL" if kill else "SIGTERM"}
    try:
        with current_app.producer_or_acquire() as producer:
            producer.publish(
                {"method": "revoke", "arguments": arguments, "destination": None},
                exchange=exchange.name,
                declare=[exchange],
                headers={"clock": current_app.clock.forward(), "expires": 0},
                serializer="json",
                retry=False,
            )
    except BROKER_ERRORS as exc:
        why = doorbell.mute(exc)
        logger.warning("cancel: workers will see it at their next heartbeat, the broker is silent: %s", why)


def stop_running_of(schedule_id: int, *, kill: bool, keep: Collection[str]) -> None:
    """Cancel every live job of a schedule but the held ones in `keep` (SEMANTICS 16)."""
    others = Job.objects.filter(
        schedule_id=schedule_id, status__in=[Status.DELAYED, Status.WAITING, Status.ACTIVE]
    ).exclude(id__in=list(keep))
    cancel(list(others.values_list("id", flat=True)), kill=kill)
