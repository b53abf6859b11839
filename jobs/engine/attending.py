"""The register of workers: who is there, who is alive, and what they are asked to stop."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from django.db import connection
from django.db.models import Q
from django.db.models.functions import Now

from jobs.engine.records import Fence
from jobs.models import Attempt, Job, Worker
from jobs.rules.states import Outcome, Status


def register(
    worker_id: UUID, *, name: str, host: str, pid: int, queues: list[str], concurrency: int, tasks: list[str]
) -> None:
    """Write down a worker that starts.

    An earlier run under the same name on the same host has ended, whatever it managed to say: two nodes of
    one name cannot work. Its jobs are rescued at the next sweep, and need not wait for its lease.
    """
    Worker.objects.filter(name=name, host=host, stopped_at__isnull=True).exclude(id=worker_id).update(
        heartbeat_at=datetime.fromisoformat("1970-01-01T00:00:00+00:00")
    )
    Worker.objects.update_or_create(
        id=worker_id,
        defaults={
            "name": name,
            "host": host,
            "pid": pid,
            "queues": queues,
            "concurrency": concurrency,
            "tasks": tasks,
            "heartbeat_at": Now(),
            "stopped_at": None,
        },
    )


def beat(worker_id: UUID) -> bool:
    """Note that a worker is alive; return False if it is not in the register (any more)."""
    with connection.cursor() as cursor:
        cursor.execute(
            """UPDATE jobs_worker SET heartbeat_at = clock_timestamp()
               FROM (SELECT set_config('synchronous_commit', 'off', true) OFFSET 0) AS relaxed
               WHERE id = %s AND stopped_at IS NULL""",
            [worker_id],
        )
        return bool(cursor.rowcount)


def stop(worker_id: UUID) -> None:
    """Note that a worker has stopped in good order."""
    Worker.objects.filter(id=worker_id).update(stopped_at=Now())


def running(worker_id: UUID) -> int:
    """Return how many jobs a worker is running."""
    return Job.objects.filter(worker_id=worker_id, status=Status.ACTIVE).count()


TAKEN_AWAY = (Outcome.CRASH, Outcome.INTERRUPTED, Outcome.CANCELLED)
"""Ends that others may record for a worker."""


@dataclass(frozen=True, slots=True)
class Look:
    """What a worker's rows say about the attempts that it believes to run."""

    to_cancel: frozenset[str] = frozenset()
    """Jobs that somebody wants stopped."""
    lost: frozenset[Fence] = frozenset()
    """Attempts it runs that are no longer its own: the lease was lost, and they are decided."""
    orphans: frozenset[Fence] = frozenset()
    """Attempts that are its own by the ledger, and that it does not run."""
    forgotten: frozenset[Fence] = frozenset()
    """Attempts it runs whose start the database has forgotten in a crash."""


def look(worker_id: UUID, running: Collection[Fence], *, started: Collection[Fence] = ()) -> Look:
    """Compare the ledger with what a worker runs, or is about to; `started` are those known to have begun.

    Either side may be a moment behind the other: only what two looks in a row agree on is true.
    """
    attempts = {fence.job_id: fence.attempt for fence in running}
    rows = Job.objects.filter(Q(worker_id=worker_id, status=Status.ACTIVE) | Q(id__in=list(attempts)))
    to_cancel: set[str] = set()
    lost: set[Fence] = set()
    orphans: set[Fence] = set()
    forgotten: set[Fence] = set()
    for job in rows.only("id", "attempt", "status", "worker_id", "cancel_requested_at"):
        own = job.status == Status.ACTIVE and job.worker_id == worker_id
        if own and job.cancel_requested_at is not None:
            to_cancel.add(job.id)
        if own and attempts.get(job.id) != job.attempt:
            orphans.add(Fence(job.id, job.attempt))
        believed = attempts.get(job.id)
        if believed is not None and job.attempt >= believed and not (own and job.attempt == believed):
            lost.add(Fence(job.id, believed))
        if job.status == Status.WAITING and Fence(job.id, job.attempt + 1) in started:
            forgotten.add(Fence(job.id, job.attempt + 1))
    return Look(
        frozenset(to_cancel), frozenset(lost - _ended_here(lost)), frozenset(orphans), frozenset(forgotten)
    )


def _ended_here(lost: Collection[Fence]) -> set[Fence]:
    """Return those of `lost` that have ended as only the worker that ran them can say.

    It may not have heard of that itself: its main loop waits for the broker, or for its last jobs.
    """
    if not lost:
        return set()
    ended = Attempt.objects.filter(job_id__in=[one.job_id for one in lost]).exclude(outcome__in=TAKEN_AWAY)
    return {Fence(*row) for row in ended.values_list("job_id", "number")}
