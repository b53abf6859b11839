"""django-celery-beat's own DatabaseScheduler on PostgreSQL, messages by Celery.

One setting beyond the defaults: CONN_MAX_AGE=None. With Django's default it connects anew in every turn.
"""

from __future__ import annotations

import datetime as dt
import os
from collections.abc import Iterable
from typing import Any

from benchmarks.peers import _celery as base

VENV, LABEL = "celery", "django-celery-beat"
ENV = {"DJANGO_SETTINGS_MODULE": "benchmarks.peers._django"}
BROKER = (base.BEAT_DATABASE, "celery")
ALL_WORK = False  # several would each send everything
SCHEDULER = "django_celery_beat.schedulers:DatabaseScheduler"


def make() -> Any:
    """Return the app; `celery -A` asks for it by the module's attribute."""
    return base.app(base.BEAT_DATABASE, task_ignore_result=True, beat_max_loop_interval=5)


def __getattr__(name: str) -> Any:
    if name == "celery":
        return make()
    raise AttributeError(name)


def commands() -> list[list[str]]:
    return [base.beat_command(__name__, SCHEDULER)]


def setup() -> None:
    base.setup_django()


def seed(specs: Iterable[tuple[str, tuple[Any, ...]]], burst: bool) -> None:
    """Make the rows in bulk. In a burst the last run was 23 hours ago, so that all are due at once."""
    from django.db import connection
    from django_celery_beat.models import (
        ClockedSchedule,
        CrontabSchedule,
        IntervalSchedule,
        PeriodicTask,
        PeriodicTasks,
    )

    base.migrate()
    base.flush(base.BEAT_DATABASE)
    with connection.cursor() as cursor:
        cursor.execute(
            "TRUNCATE django_celery_beat_periodictask, django_celery_beat_crontabschedule, "
            "django_celery_beat_intervalschedule, django_celery_beat_clockedschedule CASCADE"
        )
    now = dt.datetime.now(dt.UTC)
    last = now - dt.timedelta(hours=23) if burst else now
    times: dict[tuple[Any, ...], Any] = {}
    tasks = []
    for name, spec in specs:
        kind, *values = spec
        if spec not in times:
            if kind == "cron":
                times[spec] = CrontabSchedule(minute=values[0], hour=values[1], timezone="UTC")
            elif kind == "every":
                times[spec] = IntervalSchedule(every=values[0], period="hours")
            else:
                times[spec] = ClockedSchedule(clocked_time=values[0])
        tasks.append((name, kind, spec))
    for model in (CrontabSchedule, IntervalSchedule, ClockedSchedule):
        model.objects.bulk_create([row for row in times.values() if isinstance(row, model)])
    field = {"cron": "crontab", "every": "interval", "at": "clocked"}
    PeriodicTask.objects.bulk_create(
        [
            PeriodicTask(
                name=name,
                task="bench.noop",
                args="[1]",
                one_off=kind == "at",
                last_run_at=None if kind == "at" else last,
                **{field[kind]: times[spec]},
            )
            for name, kind, spec in tasks
        ],
        batch_size=2000,
    )
    PeriodicTasks.update_changed()
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE")


class Bench:
    """One beat, turn by turn, in this process."""

    EDIT_IS_RELOAD = True

    def __init__(self) -> None:
        from celery import signals
        from celery.beat import Service

        base.flush(base.BEAT_DATABASE)
        service = Service(make(), scheduler_cls=SCHEDULER)
        self.scheduler = service.scheduler
        self.scheduler.producer  # noqa: B018  (connects to Redis)
        signals.beat_init.send(sender=service)

    def tick(self) -> float:
        return float(self.scheduler.tick())

    def loaded(self) -> int:
        return len(self.scheduler._schedule)

    def dispatched(self) -> int:
        return base.queued(BROKER)

    def edit_one(self) -> None:
        from django_celery_beat.models import PeriodicTask

        task = PeriodicTask.objects.get(name="s3")
        task.description = os.urandom(4).hex()
        task.save()

    def make_due(self, count: int) -> int:
        from django_celery_beat.models import PeriodicTask, PeriodicTasks

        names = [f"s{i}" for i in range(count * 7) if i % 20 in (16, 17, 18)][:count]
        long_ago = dt.datetime.now(dt.UTC) - dt.timedelta(days=3)
        PeriodicTask.objects.filter(name__in=names).update(last_run_at=long_ago)
        PeriodicTasks.update_changed()
        return len(names)

    def flush_state(self) -> int:
        """Write last runs back, as beat does every three minutes; return how many."""
        dirty = len(self.scheduler._dirty)
        self.scheduler.sync()
        return dirty

    def close(self) -> None:
        base.flush(base.BEAT_DATABASE)
