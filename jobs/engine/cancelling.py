"""Stopping jobs: before they start, or while they run."""

from __future__ import annotations

import logging
from collections.abc import Collection, Sequence
from datetime import datetime

from celery import current_app
from django.db import transaction

from jobs.engine import lifecycle
from jobs.engine.dispatching import BROKER_ERRORS
from jobs.models import Job
from jobs.rules.states import Status

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
