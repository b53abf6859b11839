"""Short ways to the rows that tests need."""

from __future__ import annotations

import json
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

from django_celery_beat.models import ClockedSchedule, CrontabSchedule, IntervalSchedule, PeriodicTask

from jobs.engine import attending, beats, executing, lifecycle, syncing
from jobs.engine.enqueueing import new_id
from jobs.engine.executing import Execution
from jobs.engine.records import Fence, NewJob
from jobs.models import Job, Schedule
from jobs.rules.states import Status, Trigger

NOON = datetime(2026, 3, 10, 12, 0, tzinfo=UTC)
"""An instant that has passed, whenever the tests run."""


def every(seconds: float, name: str = "", *, anchor: datetime = NOON, **fields: Any) -> Schedule:
    """An interval schedule, compiled, counted from `anchor`, with nothing decided before it."""
    interval, _ = IntervalSchedule.objects.get_or_create(every=int(seconds), period="seconds")
    return _settled(_row(name, interval=interval, start_time=anchor, **fields), anchor)


def cron(
    expression: str, name: str = "", *, tz: str = "UTC", since: datetime = NOON, **fields: Any
) -> Schedule:
    """A crontab schedule, compiled, with nothing decided before `since`."""
    minute, hour, day, month, weekday = expression.split()
    row = CrontabSchedule.objects.create(
        minute=minute, hour=hour, day_of_month=day, month_of_year=month, day_of_week=weekday, timezone=tz
    )
    return _settled(_row(name, crontab=row, **fields), since)


def once(at: datetime, name: str = "", *, since: datetime = NOON, **fields: Any) -> Schedule:
    """A one-shot schedule, compiled."""
    clocked = ClockedSchedule.objects.create(clocked_time=at)
    return _settled(_row(name, clocked=clocked, one_off=True, **fields), since)


def _row(name: str, **fields: Any) -> PeriodicTask:
    for what in ("args", "kwargs"):
        if what in fields:
            fields[what] = json.dumps(fields[what])
    fields.setdefault("task", "jobs.canary")
    return PeriodicTask.objects.create(name=name or f"schedule-{uuid.uuid4().hex[:8]}", **fields)


def _settled(row: PeriodicTask, since: datetime) -> Schedule:
    # As if it had been made at `since`: the trigger wrote the real time.
    Schedule.objects.filter(pk=row.pk).update(edited_at=since, decided_through=since, anchor=since)
    syncing.sync_stale(since)
    return Schedule.objects.select_related("periodic_task").get(pk=row.pk)


def job(status: Status = Status.WAITING, **fields: Any) -> Job:
    """A job row of the canary, as it is born."""
    values: dict[str, Any] = {
        "id": new_id(),
        "task": "jobs.canary",
        "queue": "default",
        "trigger": Trigger.ACTION,
        "status": status,
        "available_at": NOON,
    }
    new = NewJob(**{**values, **fields})
    assert lifecycle.birth([new]) == {new.id}
    return Job.objects.get(id=new.id)


def worker(name: str = "w@test") -> uuid.UUID:
    """A registered worker that is alive."""
    worker_id = uuid.uuid4()
    attending.register(
        worker_id, name=name, host="test", pid=1, queues=["default"], concurrency=1, tasks=["jobs.canary"]
    )
    return worker_id


def turning_beat(host: str = "test", *, failures: int = 0, error: str = "") -> uuid.UUID:
    """A registered beat that turns."""
    beat_id = uuid.uuid4()
    beats.beat(beat_id, host=host, pid=1, turns=1, publish_failures=failures, error=error)
    return beat_id


def begin(
    row: Job, *, worker_id: uuid.UUID | None = None, attempt: int = 1, max_attempts: int = 5
) -> Execution:
    """Start an attempt of `row` and return it; fails when it is refused."""
    execution = executing.begin(
        Fence(row.id, attempt),
        task=row.task,
        queue=row.queue,
        worker_id=worker_id or worker(),
        default_limit=60,
        default_max_attempts=max_attempts,
    )
    assert isinstance(execution, Execution), execution
    return execution


def minutes(n: float) -> timedelta:
    return timedelta(minutes=n)


def seconds(n: float) -> timedelta:
    return timedelta(seconds=n)
