"""Where a fault happens: beats and workers over the test's database and a Redis of their own."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Self, TypeVar

from celery import current_app
from django_celery_beat.models import IntervalSchedule, PeriodicTask

from jobs.engine.clock import database_now
from jobs.engine.doorbell import doorbell
from jobs.models import Job, Schedule
from scheduler_project.standalone.servers import Redis
from tests.acceptance.line import Line, children, eventually
from tests.conftest import forget_connections
from tests.faults.oracle import Oracle

T = TypeVar("T")

LEASE, SWEEP, GRACE = 6.0, 1.0, 5.0
"""Seconds, as `tests.acceptance.line.FAST` sets them."""

__all__ = ["GRACE", "LEASE", "SWEEP", "Scene", "children", "eventually"]


class Scene:
    """One line with its own Redis, an oracle, a seeded random, and figures to report."""

    def __init__(self, folder: Path, seed: int, *, full: bool) -> None:
        self.folder = folder
        self.full = full
        self.seed = seed
        self.random = random.Random(seed)
        self.figures: dict[str, Any] = {}
        self.notes = folder / "notes"
        self.oracle = Oracle(self.notes)
        self.redis = Redis(folder / "redis")
        self.line = Line(folder)

    def size(self, short: T, full: T) -> T:
        """Return the number of the form that runs."""
        return full if self.full else short

    def schedules(
        self,
        count: int,
        *,
        every: int = 1,
        task: str = "tests.record",
        start: datetime | None = None,
        spread: bool = False,
        **policy: Any,
    ) -> list[Schedule]:
        """Make `count` interval schedules of `every` seconds on a known grid, whose task notes.

        `start` is the first nominal time. `spread`: not all at the same instants, but evenly one after another.
        """
        policy.setdefault("overlap", "allow_all")
        policy.setdefault("catch_up", "all")
        interval, _ = IntervalSchedule.objects.get_or_create(every=every, period="seconds")
        start = start or database_now().replace(microsecond=0) - timedelta(seconds=every)
        apart = timedelta(seconds=every) / count if spread else timedelta(0)
        before = PeriodicTask.objects.count()
        made = [
            PeriodicTask.objects.create(
                name=f"s{before + number}",
                task=task,
                interval=interval,
                start_time=start + number * apart,
                args=f'["{self.notes}"]' if task == "tests.record" else "[]",
            )
            for number in range(count)
        ]
        chosen = Schedule.objects.filter(periodic_task__in=made)
        chosen.update(**policy)
        return list(chosen.select_related("periodic_task", "periodic_task__interval"))

    def decided_through(self, schedules: list[Schedule]) -> datetime:
        """Return the instant up to which all of `schedules` are decided."""
        found = Schedule.objects.filter(pk__in=[schedule.pk for schedule in schedules])
        return min(found.values_list("decided_through", flat=True))

    def disable(self, schedules: list[Schedule], seconds: float = 20) -> datetime:
        """Disable `schedules` and wait until a beat has decided what they owe; return through when that is."""
        keys = [schedule.pk for schedule in schedules]
        through = database_now()
        PeriodicTask.objects.filter(pk__in=keys).update(enabled=False)
        eventually(lambda: not Schedule.objects.filter(pk__in=keys, stale=True).exists(), seconds, self.tails)
        return through

    def client(self) -> Any:
        """Return a client of this scene's Redis."""
        import redis

        return redis.Redis.from_url(self.redis.url)

    def wait(self, seconds: float) -> None:
        """Let so much time pass for the processes; there is no event to wait for."""
        end = time.monotonic() + seconds
        eventually(lambda: time.monotonic() >= end, seconds + 5)

    def tails(self) -> str:
        """Return the ends of all logs, for the message of a failure."""
        return "\n".join(f"--- {p.args}\n{self.line.tail(p)[-1500:]}" for p in self.line.processes)

    def stop_gracefully(self, process: subprocess.Popen[bytes], seconds: float = 20) -> int:
        """SIGTERM, and wait for the end; return the exit code."""
        process.send_signal(signal.SIGTERM)
        return process.wait(timeout=seconds)

    def wait_for_completed(self, count: int, seconds: float) -> None:
        """Wait until `count` jobs are completed."""
        eventually(
            lambda: Job.objects.filter(status="completed").count() >= count,
            seconds,
            lambda: f"{Job.objects.filter(status='completed').count()} of {count}\n{self.tails()}",
        )

    def __enter__(self) -> Self:
        self.redis.start()
        self.line.env["REDIS_URL"] = self.redis.url
        self._broker = broker(self.redis.url)
        self._broker.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self.line.close()
        if self.redis.running:
            os.kill(self.redis.pid, signal.SIGCONT)  # a stopped one could not be stopped in order
        self._broker.__exit__(None, None, None)
        self.redis.stop()


@contextmanager
def broker(url: str) -> Iterator[None]:
    """Let this process publish to the Redis at `url`."""
    before = current_app.conf.broker_url
    try:
        _use_broker(url)
        yield
    finally:
        _use_broker(before)


def _use_broker(url: str) -> None:
    current_app.conf.broker_url = current_app.conf.broker_read_url = current_app.conf.broker_write_url = url
    current_app.set_current()
    forget_connections()
    doorbell.unmute()
