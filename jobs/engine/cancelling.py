"""Stopping jobs: before they start, or while they run."""

from __future__ import annotations

import logging
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime

from celery import current_app
from django.db import transaction
from django.db.models import Q, QuerySet

from jobs.engine import aftermath, auditing, lifecycle
from jobs.engine.doorbell import BROKER_ERRORS, doorbell
from jobs.models import Job
from jobs.rules.states import Hold, Status

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Order:
    """To revoke tasks: what workers are told."""

    ids: Sequence[str]
    terminate: bool = False
    """Also those that run, which get `signal`."""
    signal: str | int | None = "SIGTERM"
    destination: Sequence[str] | None = None
    """Names of workers; None: all of them."""


def cancel(ids: Sequence[str], *, now: datetime | None = None, kill: bool = False) -> tuple[int, int]:
    """Cancel jobs; return how many were cancelled before they started, and how many are asked to stop.

    A running job is asked through its worker: its row is marked, and the worker is told at once by
    broadcast, or finds the mark at its next heartbeat. `kill` sends SIGKILL instead of SIGTERM.
    """
    with transaction.atomic():
        _hold_still(ids)
        cancelled = cancel_pending(ids, now=now)
        asked = lifecycle.request_cancel(ids, now=now)
        auditing.record_jobs([*cancelled, *asked], "cancel", kill=kill)
        order = Order(asked, terminate=True, signal="SIGKILL" if kill else "SIGTERM")
        transaction.on_commit(lambda: broadcast(order), robust=True)
    return len(cancelled), len(asked)


def revoke(order: Order, *, silent: bool = False) -> None:
    """Cancel the jobs of `order` that have not started; with `terminate`, ask the running ones to stop.

    Unless it is to be `silent`, workers are told when that is committed: one may have a message of another
    program that is no job yet.
    """
    with transaction.atomic():
        _hold_still(order.ids)
        reached = cancel_pending(order.ids)
        if order.terminate:
            reached += lifecycle.request_cancel(order.ids)
        auditing.record_jobs(reached, "cancel", kill=False)
        if not silent:
            transaction.on_commit(lambda: broadcast(order), robust=True)


def _hold_still(ids: Sequence[str]) -> None:
    """Lock jobs: what is being retried or rescued looks active to one statement and is not to the next.

    In one order, so that two calls cannot wait for each other.
    """
    list(Job.objects.filter(id__in=ids).order_by("id").select_for_update().values_list("id"))


def cancel_pending(ids: Sequence[str], *, now: datetime | None = None) -> list[str]:
    """Cancel those of `ids` that have not started, with all that follows from it; return which they are.

    Belongs into a transaction.
    """
    cancelled = lifecycle.cancel_pending(ids, now=now)
    aftermath.revoked(cancelled, "revoked")
    return cancelled


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
            cancelled = cancel_pending(ids)
            if cancelled:
                auditing.record_queue(queue, "purge", cancelled=len(cancelled))
        if cancelled:
            return len(cancelled)
    return 0


def broadcast(order: Order) -> None:
    """Tell workers, as Celery's `control.revoke` does; but that tries for as long as the broker is away."""
    if not order.ids or doorbell.is_muted():
        return
    exchange = current_app.control.mailbox.exchange
    arguments = {"task_id": list(order.ids), "terminate": order.terminate, "signal": order.signal}
    try:
        with current_app.producer_or_acquire() as producer:
            producer.publish(
                {"method": "revoke", "arguments": arguments, "destination": order.destination},
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
