"""What the console shows at a glance. Every query here is bounded, however many jobs there are."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db import connection

from jobs.conf import conf
from jobs.engine.compiling import CompileError
from jobs.insight import beats, previewing
from jobs.insight.throughput import capped
from jobs.models import Job, Schedule, Worker
from jobs.rules.describe import describe
from jobs.rules.states import Status

COUNT_LIMIT = 50_000
"""Counting the waiting jobs of a queue stops here: more is more."""
LATER_LIMIT = 5_000
"""So many active and delayed jobs are looked at: an index has no queue for them, so their rows are read."""
GROUP_WINDOW = 5_000
"""Dead letters that are looked at to group them by error."""
LATE = timedelta(seconds=15)
"""A schedule that is overdue for longer was not forgotten by chance."""

_WAITING = """
    WITH RECURSIVE names AS (
        (SELECT queue FROM jobs_job WHERE status = 'waiting' ORDER BY queue LIMIT 1)
        UNION ALL
        SELECT (SELECT job.queue FROM jobs_job AS job WHERE job.status = 'waiting' AND job.queue > names.queue
                ORDER BY job.queue LIMIT 1)
        FROM names WHERE names.queue IS NOT NULL
    )
    SELECT queue,
           (SELECT count(*) FROM (SELECT 1 FROM jobs_job AS job WHERE job.status = 'waiting'
                AND job.queue = names.queue LIMIT %(limit)s) AS found),
           (SELECT min(job.available_at) FROM jobs_job AS job
            WHERE job.status = 'waiting' AND job.queue = names.queue)
    FROM names WHERE queue IS NOT NULL
"""
"""The queues with waiting jobs, from the index alone: the next name is looked up, not found among all rows."""
# The delayed are in two indexes, those that are held back and those that are not; each is named by its condition.
_STARTED_OR_LATER = """
    SELECT queue, status, count(*) FROM (
        (SELECT queue, status FROM jobs_job WHERE status = 'active' LIMIT %(limit)s)
        UNION ALL
        (SELECT queue, status FROM jobs_job WHERE status = 'delayed' AND hold = '' LIMIT %(limit)s)
        UNION ALL
        (SELECT queue, status FROM jobs_job WHERE status = 'delayed' AND hold <> '' LIMIT %(limit)s)
    ) AS found GROUP BY queue, status
"""


@dataclass(frozen=True, slots=True)
class BeatHealth:
    """Whether something is deciding about schedules: by what is overdue, and by who has been heard of."""

    state: str
    """`ok`, `late`, `down` (nobody is there) or `idle` (there is nothing to be late with)."""
    text: str
    overdue: timedelta = timedelta(0)
    trouble: str = ""
    """What went wrong for a beat lately; empty where nothing did."""


@dataclass(slots=True)
class QueueRow:
    """A queue, its work and its workers."""

    name: str
    waiting: int = 0
    active: int = 0
    delayed: int = 0
    oldest_waiting: timedelta | None = None
    workers: int = 0
    slots: int = 0

    @property
    def is_stuck(self) -> bool:
        """Whether work waits that nobody will do."""
        return self.waiting > 0 and self.workers == 0


@dataclass(frozen=True, slots=True)
class WorkerRow:
    """A worker, whether it is alive, and what it does."""

    worker: Worker
    state: str
    silent_for: timedelta
    running: int


@dataclass(frozen=True, slots=True)
class Upcoming:
    """One firing to come."""

    schedule_id: int
    name: str
    task: str
    at: datetime
    local: datetime


@dataclass(frozen=True, slots=True)
class ErrorGroup:
    """Dead letters that failed alike."""

    error: str
    task: str
    count: int
    newest: datetime
    example: str


@dataclass(frozen=True, slots=True)
class LastJob:
    """The newest job of a schedule."""

    id: str
    status: str
    reason: str
    created_at: datetime


def _rows(sql: str, params: Sequence[Any] | dict[str, Any] = ()) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(sql, params)
        return list(cursor.fetchall())


def beat_health(now: datetime) -> BeatHealth:
    """Return whether beat keeps up: it decides about every schedule within a moment of its time."""
    due, stale, known = _rows(
        """SELECT (SELECT min(next_run_at) FROM jobs_schedule WHERE NOT stale AND next_run_at IS NOT NULL),
                  (SELECT min(edited_at) FROM jobs_schedule WHERE stale),
                  EXISTS (SELECT 1 FROM jobs_schedule)"""
    )[0]
    overdue = max((now - moment for moment in (due, stale) if moment), default=timedelta(0))
    count, trouble = len(beats.alive(now)), beats.trouble(now)
    if overdue > LATE:
        what = "A schedule is" if due and now - due > LATE else "An edit is"
        return BeatHealth("late", f"{what} undecided. Is beat running?", overdue, trouble)
    if not count:
        return BeatHealth("down", "No scheduler shows a sign of life. Is beat running?", overdue)
    if not known:
        return BeatHealth("idle", "There are no schedules yet.", trouble=trouble)
    if due is None:
        return BeatHealth("idle", "No schedule has a next run.", trouble=trouble)
    return BeatHealth("ok", f"Every schedule is decided on time, by {count} scheduler(s).", trouble=trouble)


def queues(now: datetime, expected: Iterable[str] = ()) -> list[QueueRow]:
    """Return every queue that is expected, has work, or has a worker."""
    found: dict[str, QueueRow] = {name: QueueRow(name) for name in expected}
    for name, count, oldest in _rows(_WAITING, {"limit": COUNT_LIMIT}):
        row = found.setdefault(name, QueueRow(name))
        row.waiting, row.oldest_waiting = count, max(now - oldest, timedelta(0))
    for name, status, count in _rows(_STARTED_OR_LATER, {"limit": LATER_LIMIT}):
        setattr(found.setdefault(name, QueueRow(name)), status, count)
    alive = Worker.objects.alive(now, conf().lease)  # type: ignore[attr-defined]
    for names, slots in alive.values_list("queues", "concurrency"):
        for name in names:
            row = found.setdefault(name, QueueRow(name))
            row.workers += 1
            row.slots += slots
    return sorted(found.values(), key=lambda row: row.name)


def live(rows: Sequence[QueueRow]) -> dict[str, str]:
    """Return for people how many jobs are active, waiting and delayed, by the rows of all queues."""
    texts = {}
    for status in (Status.ACTIVE, Status.DELAYED):
        texts[str(status)] = capped(sum(getattr(row, status) for row in rows), LATER_LIMIT)
    more = "+" if any(row.waiting >= COUNT_LIMIT for row in rows) else ""
    texts["waiting"] = f"{sum(row.waiting for row in rows):,}{more}"
    return texts


def worker_rows(now: datetime, workers: Sequence[Worker]) -> list[WorkerRow]:
    """Return workers with their state and the number of jobs they run, in one query."""
    running = dict(
        _rows(
            """SELECT worker_id, count(*) FROM jobs_job
               WHERE status = 'active' AND worker_id = ANY(%s) GROUP BY worker_id""",
            [[worker.id for worker in workers]],
        )
    )
    return [
        WorkerRow(worker, state_of(worker, now), now - worker.heartbeat_at, running.get(worker.id, 0))
        for worker in workers
    ]


def state_of(worker: Worker, now: datetime) -> str:
    """Return `alive`, `stopped` (in good order) or `dead`."""
    if worker.stopped_at is not None:
        return "stopped"
    return "alive" if worker.heartbeat_at > now - conf().lease else "dead"


def recent_workers(now: datetime, *, limit: int = 12) -> list[WorkerRow]:
    """Return the workers that are there, and those that died within the hour."""
    rows = Worker.objects.filter(stopped_at__isnull=True, heartbeat_at__gt=now - timedelta(hours=1))
    return worker_rows(now, list(rows.order_by("name")[:limit]))


def recent_failures(*, limit: int = 8) -> list[Job]:
    """Return the newest dead letters."""
    return list(Job.objects.filter(status=Status.FAILED).order_by("-finished_at")[:limit])


def upcoming(now: datetime, *, limit: int = 10) -> list[Upcoming]:
    """Return the next firings of all schedules in order.

    They are among the next firings of the schedules that fire soonest, so only those are looked at.
    """
    soonest = (
        Schedule.objects.filter(
            next_run_at__isnull=False, stale=False, problem="", periodic_task__enabled=True
        )
        .select_related("periodic_task")
        .order_by("next_run_at")[:limit]
    )
    found: list[Upcoming] = []
    for schedule in soonest:
        row = schedule.periodic_task
        try:
            firings = previewing.upcoming(schedule, after=now, limit=limit)
        except CompileError:
            continue
        found += [
            Upcoming(schedule.pk, row.name, row.task, item.scheduled_for, item.local) for item in firings
        ]
    return sorted(found, key=lambda item: (item.at, item.name))[:limit]


def describe_schedule(schedule: Schedule) -> str:
    """Return the timing of a schedule in plain English, or what is wrong with it."""
    try:
        return describe(previewing.timing_of(schedule).spec)
    except CompileError:
        return "No valid time"


def last_jobs(schedule_ids: Sequence[int]) -> dict[int, LastJob]:
    """Return the newest job of each of these schedules, in one query that reads one row for each."""
    rows = _rows(
        """SELECT s.id, j.id, j.status, j.reason, j.created_at
           FROM unnest(%s::int[]) AS s(id), LATERAL (
               SELECT id, status, reason, created_at FROM jobs_job
               WHERE schedule_id = s.id ORDER BY created_at DESC LIMIT 1) AS j""",
        [list(schedule_ids)],
    )
    return {pk: LastJob(*values) for pk, *values in rows}


def error_groups() -> list[ErrorGroup]:
    """Return the newest dead letters grouped by error class and task, the most frequent first.

    The class is found as `insight.dead_letters` finds it, so that a group can be selected by it.
    """
    rows = _rows(
        r"""SELECT coalesce(substring(error from '^([A-Za-z_][A-Za-z0-9_.]*)(?::|$)'), reason), task,
                   count(*), max(finished_at), (array_agg(error ORDER BY finished_at DESC))[1]
            FROM (SELECT error, reason, task, finished_at FROM jobs_job WHERE status = 'failed'
                  ORDER BY finished_at DESC LIMIT %s) AS dead
            GROUP BY 1, 2 ORDER BY 3 DESC, 4 DESC LIMIT 50""",
        [GROUP_WINDOW],
    )
    return [ErrorGroup(*row) for row in rows]
