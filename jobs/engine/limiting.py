"""Concurrency and rate limits: what exceeds them waits, and nothing is dropped (SEMANTICS 24).

A job is subject to the limits of its queue, its schedule and its concurrency key. A start takes the rows of
those limits `FOR UPDATE`, in the order of their names, counts, and starts or defers: two workers cannot
both take the last place. Jobs without limits never come here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

from django.db import connection, transaction
from django.db.models import Q

from jobs.engine import dispatching, lifecycle
from jobs.engine.clock import database_now
from jobs.engine.records import Fence, Started
from jobs.models import Job, Limit
from jobs.rules.states import Hold, Status

PAUSED = "paused by an operator"


def names_for(queue: str, schedule_id: int | None, concurrency_key: str) -> list[str]:
    """Return the names of the limits that a job is subject to, whether they exist or not."""
    names = [f"queue:{queue}"]
    if schedule_id is not None:
        names.append(f"schedule:{schedule_id}")
    if concurrency_key:
        names.append(f"key:{concurrency_key}")
    return sorted(names)


def start_within(
    fence: Fence, start: Callable[[], Started | None], *, now: datetime | None = None
) -> Started | str | None:
    """Start a job if its limits have room, by `start`; else defer it.

    Returns what started, or a sentence that says why it was deferred, or None when the job has no limits or
    cannot start for another reason.
    """
    with transaction.atomic():
        job = Job.objects.filter(id=fence.job_id, status=Status.WAITING, attempt=fence.attempt - 1).first()
        if job is None:
            return None
        limits = list(
            Limit.objects.filter(name__in=names_for(job.queue, job.schedule_id, job.concurrency_key))
            .select_for_update()
            .order_by("name")
        )
        if not limits:
            return None
        now = now or database_now()
        full = next((limit for limit in limits if not _has_place(limit)), None)
        if full is not None:
            lifecycle.defer(fence.job_id, attempt=fence.attempt, hold=Hold.CONCURRENCY, now=now)
            return f"the limit {full.name} has no place"
        early = max((limit.next_start_at for limit in limits if limit.next_start_at), default=now)
        if early > now:
            lifecycle.defer(fence.job_id, attempt=fence.attempt, until=early, now=now)
            return f"its rate allows the next start at {early.isoformat()}"
        started = start()
        if started is not None:
            _count_start(limits, now)
        return started


def _count_start(limits: Sequence[Limit], now: datetime) -> None:
    for limit in limits:
        if limit.max_per_second:
            limit.next_start_at = now + timedelta(seconds=1 / limit.max_per_second)
            limit.save(update_fields=["next_start_at"])


def _has_place(limit: Limit) -> bool:
    if limit.max_active is None:
        return True
    return active_under(limit.name) < limit.max_active


def active_under(name: str) -> int:
    """Return how many active jobs count against the limit of that name."""
    return Job.objects.filter(_subject_to(name), status=Status.ACTIVE).count()


def _subject_to(name: str) -> Q:
    kind, _, rest = name.partition(":")
    match kind:
        case "queue":
            return Q(queue=rest)
        case "schedule":
            return Q(schedule_id=int(rest))
        case _:
            return Q(concurrency_key=rest)


def release(now: datetime, *, limit: int = 200) -> int:
    """Let the oldest jobs go that a limit held back, as many as there are places; return how many.

    Letting one too many go is harmless: its start counts again.
    """
    released: list[str] = []
    with transaction.atomic():
        for place in Limit.objects.filter(max_active__isnull=False).order_by("name"):
            free = (place.max_active or 0) - Job.objects.filter(
                _subject_to(place.name), status__in=[Status.ACTIVE, Status.WAITING]
            ).count()
            if free > 0:
                released += _oldest_held(_subject_to(place.name), min(free, limit), now)
        released += _orphans(now, limit)
        moved = lifecycle.promote(released, now=now)
        dispatching.publish_waiting(moved)
    return len(moved)


def _oldest_held(which: Q, count: int, now: datetime) -> list[str]:
    held = Job.objects.filter(which, status=Status.DELAYED, hold=Hold.CONCURRENCY, available_at__lte=now)
    return list(
        held.order_by("available_at", "id")
        .select_for_update(skip_locked=True)
        .values_list("id", flat=True)[:count]
    )


def _orphans(now: datetime, limit: int) -> list[str]:
    """Held jobs none of whose limits exists any more."""
    with connection.cursor() as cursor:
        cursor.execute(
            """SELECT id FROM jobs_job
               WHERE status = 'delayed' AND hold = 'concurrency' AND available_at <= %s
                 AND NOT EXISTS (SELECT 1 FROM jobs_limit
                                 WHERE max_active IS NOT NULL AND name IN (
                                   'queue:' || queue, 'schedule:' || schedule_id,
                                   'key:' || nullif(concurrency_key, '')))
               LIMIT %s FOR UPDATE SKIP LOCKED""",
            [now, limit],
        )
        return [row[0] for row in cursor.fetchall()]


def set_limit(
    name: str, *, max_active: int | None = None, max_per_second: float | None = None, note: str = ""
) -> None:
    """Set, change or, with two Nones, remove the limit of that name."""
    if max_active is None and max_per_second is None:
        Limit.objects.filter(name=name).delete()
        return
    Limit.objects.update_or_create(
        name=name, defaults={"max_active": max_active, "max_per_second": max_per_second, "note": note}
    )


def pause_queue(queue: str) -> bool:
    """Let nothing of `queue` start; return False if it was paused before. Running jobs run on."""
    was = Limit.objects.filter(name=f"queue:{queue}").first()
    if was is not None and was.max_active == 0:
        return False
    before = None if was is None else was.max_active
    Limit.objects.update_or_create(name=f"queue:{queue}", defaults={"max_active": 0, "note": _paused(before)})
    return True


def _paused(before: int | None) -> str:
    """Return the note of a paused queue: it keeps the limit that is to come back."""
    return PAUSED if before is None else f"{PAUSED}; was {before}"


def resume_queue(queue: str) -> bool:
    """Let jobs of `queue` start again, with the limit it had; return False if it was not paused."""
    paused = Limit.objects.filter(name=f"queue:{queue}", max_active=0).first()
    if paused is None:
        return False
    before = paused.note.partition("; was ")[2]
    if before or paused.max_per_second is not None:
        paused.max_active, paused.note = (int(before) if before else None), ""
        paused.save(update_fields=["max_active", "note"])
    else:
        paused.delete()
    return True


def limit_queue(queue: str, *, max_active: int | None, max_per_second: float | None) -> None:
    """Set or remove the limit of a queue. One that is paused stays so, and has the limit when it goes on."""
    if queue not in paused_queues():
        set_limit(f"queue:{queue}", max_active=max_active, max_per_second=max_per_second)
        return
    for limit in Limit.objects.filter(name=f"queue:{queue}"):
        limit.max_per_second, limit.note = max_per_second, _paused(max_active)
        limit.save(update_fields=["max_per_second", "note"])


def queue_limits() -> dict[str, tuple[int | None, float | None]]:
    """Return how many may be active and how many may start a second, for each queue that has a limit.

    Of a paused queue it is the limit that it has when it goes on.
    """
    found = {}
    for limit in Limit.objects.filter(name__startswith="queue:"):
        most = limit.max_active
        if most == 0:
            before = limit.note.partition("; was ")[2]
            most = int(before) if before else None
        found[limit.name.removeprefix("queue:")] = (most, limit.max_per_second)
    return found


def paused_queues() -> set[str]:
    """Return the queues of which nothing may start."""
    names = Limit.objects.filter(name__startswith="queue:", max_active=0).values_list("name", flat=True)
    return {name.removeprefix("queue:") for name in names}
