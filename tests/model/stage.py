"""The real side: an empty database and Redis for each example, and what is found in them."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from typing import Any

import redis as redis_client
from django.conf import settings
from django.db import connection

from jobs.engine import syncing
from jobs.engine.dispatching import FENCE_HEADER
from jobs.engine.doorbell import doorbell
from jobs.models import Schedule as ScheduleRow
from tests.jobs import builders
from tests.model.life import Attempt, Job
from tests.model.timetable import EVERY, MAX_CATCHUP, WINDOW, Schedule

START = builders.NOON
QUEUES = ("default", "billing")
OVERLAPS = ("skip", "buffer_one", "buffer_all", "cancel_other", "allow_all")
DEADLINES = (None, timedelta(minutes=30), timedelta(hours=3))

_TABLES = (
    "jobs_joblog", "jobs_attempt", "jobs_job", "jobs_worker", "jobs_limit", "django_celery_results_taskresult",
)  # fmt: skip

_COLUMNS = (
    "id", "task", "queue", "status", "reason", "hold", "available_at", "deadline_at", "max_attempts", "attempt",
    "errors", "crashes", "started_at", "expected_end_at", "finished_at", "published_at", "cancel_requested_at",
    "skipped_count", "scheduled_for",
)  # fmt: skip


class Stage:
    """One example's database and Redis."""

    offered: dict[tuple[str, timedelta | None], int]
    """The schedules there are, by what they do: made once, because that takes long."""

    def __init__(self) -> None:
        self.redis = redis_client.Redis.from_url(settings.REDIS_URL)
        self.empty()

    @classmethod
    def prepare(cls) -> None:
        """Make the schedules, each asleep."""
        cls.offered = {}
        for overlap in OVERLAPS:
            for deadline in DEADLINES:
                row = builders.every(EVERY.total_seconds(), anchor=START)
                ScheduleRow.objects.filter(pk=row.pk).update(
                    overlap=overlap,
                    deadline=deadline,
                    catch_up="all",
                    catchup_window=WINDOW,
                    max_catchup=MAX_CATCHUP,
                )
                cls.offered[overlap, deadline] = row.pk
        syncing.sync_stale(START)

    def wake(self, overlap: str, deadline: timedelta | None) -> Schedule:
        """Let a schedule run from the start of the example on."""
        pk = self.offered[overlap, deadline]
        ScheduleRow.objects.filter(pk=pk).update(next_run_at=START + EVERY)
        return Schedule(pk, overlap, deadline, START)

    def empty(self) -> None:
        """Delete what the last example left.

        Examples commit: a transaction around them, rolled back at the end, would be faster, but then nothing
        would be sent on commit, no lock would be let go, and a beat's turn would not see its own messages in
        Redis. DELETE takes a millisecond for such small tables; TRUNCATE would take hundreds.
        """
        with connection.cursor() as cursor:
            for table in _TABLES:
                cursor.execute(f"DELETE FROM {table}")
            cursor.execute(
                "UPDATE jobs_schedule SET decided_through = %s, next_run_at = NULL, runs = 0", [START]
            )
        self.redis.flushdb()
        doorbell.unmute()

    def close(self) -> None:
        self.empty()
        self.redis.close()

    def jobs(self) -> dict[str, Job]:
        """Every job as its row says, with its attempts."""
        attempts: dict[str, list[Attempt]] = {}
        rows = self.rows(
            "SELECT job_id, number, started_at, finished_at, outcome FROM jobs_attempt ORDER BY number"
        )
        for job_id, *values in rows:
            attempts.setdefault(job_id, []).append(Attempt(*values))
        columns = ", ".join(_COLUMNS)
        found = {}
        for key, schedule, worker, *row in self.rows(
            f"SELECT concurrency_key, schedule_id, worker_id, {columns} FROM jobs_job"
        ):
            job = Job(
                **dict(zip(_COLUMNS, row, strict=True)),
                key=key,
                schedule=schedule,
                worker=str(worker) if worker else None,
            )
            job.attempts = attempts.pop(job.id, [])
            found[job.id] = job
        assert not attempts, f"attempts of no job: {attempts}"
        return found

    def born_of(self, schedule: int) -> dict[datetime, str]:
        """The rows that stand for nominals of a schedule."""
        return dict(self.rows("SELECT scheduled_for, id FROM jobs_job WHERE schedule_id = %s", schedule))

    def log_lines(self) -> dict[str, int]:
        """How many lines each job has logged."""
        return dict(self.rows("SELECT job_id, count(*) FROM jobs_joblog GROUP BY job_id"))

    def messages(self) -> list[tuple[str, str, int]]:
        """What Redis holds: queue, job, attempt."""
        return [
            (queue, head["id"], head[FENCE_HEADER])
            for queue in QUEUES
            for head in (json.loads(item)["headers"] for item in self._items(queue))
        ]

    def take(self, message: tuple[str, str, int]) -> None:
        """Take one message out, as a worker does."""
        queue, job_id, attempt = message
        for item in self._items(queue):
            head = json.loads(item)["headers"]
            if (head["id"], head[FENCE_HEADER]) == (job_id, attempt):
                self.redis.lrem(queue, 1, item)
                return
        raise AssertionError(f"there is no message {message}")

    def _items(self, queue: str) -> list[bytes]:
        return self.redis.lrange(queue, 0, -1)  # type: ignore[return-value]

    @staticmethod
    def rows(sql: str, *params: object) -> list[Any]:
        with connection.cursor() as cursor:
            cursor.execute(sql, params)
            return cursor.fetchall()
