"""The processes of a run, what is done to them, and their supervisor, which starts them again."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from functools import partial
from pathlib import Path

import psutil
import psycopg
import redis
from django.db import DatabaseError, InterfaceError, close_old_connections, connection
from django_celery_beat.models import IntervalSchedule, PeriodicTask

from jobs.engine import dispatching
from jobs.engine.clock import database_now
from jobs.engine.dispatching import Message
from jobs.models import Job, Schedule
from scheduler_project.standalone.errors import ServerError
from scheduler_project.standalone.servers import Postgres, Redis
from tests.acceptance.line import Line, eventually
from tests.faults import processes
from tests.faults.nemesis.plan import BEATS, WORKERS, Act
from tests.unit.rules.test_messages import BROKEN

Undo = Callable[[], None]
Process = subprocess.Popen[bytes]

END_SECONDS = 30.0
"""How long a worker may take to end after SIGTERM: its grace is 5 s."""

SCHEDULES = [
    *({"every": every, "overlap": "allow_all", "catch_up": "all"} for every in (1, 1, 2, 3, 4, 5, 7, 10)),
    {"every": 2, "overlap": "skip", "catch_up": "latest", "seconds": 3.0},
    {"every": 3, "overlap": "skip", "catch_up": "latest", "seconds": 0.5},
    {"every": 3, "overlap": "buffer_one", "catch_up": "latest", "seconds": 4.0},
    {"every": 5, "overlap": "buffer_all", "catch_up": "all", "seconds": 1.0},
]


class Stage:
    """Beats, workers, a caller, PostgreSQL and Redis."""

    def __init__(self, folder: Path, postgres: Postgres, redis: Redis, seed: int) -> None:
        self.folder = folder
        self.postgres, self.redis = postgres, redis
        self.notes, self.promises = folder / "notes", folder / "promises"
        self.dice = random.Random(seed)
        self.line = Line(
            folder,
            REDIS_URL=redis.url,
            DATABASE_IDLE_IN_TRANSACTION_TIMEOUT_MS="10000",
            DATABASE_LOCK_TIMEOUT_MS="5000",
        )
        self.beats: list[Process] = []
        self.workers: list[Process] = []
        self.caller: Process | None = None
        self.ended: set[int] = set()
        """Processes that were ended by an act; any other that ends does so by itself, and must not."""
        self.surprises: list[str] = []
        self.crashes: list[float] = []
        """When PostgreSQL crashed, by CLOCK_MONOTONIC."""
        self.schedules: list[Schedule] = []
        self.since: datetime | None = None

    # --- Beginning and end --------------------

    def open(self) -> None:
        """Start everything, and make the schedules."""
        self.beats = [self.line.beat() for _ in range(BEATS)]
        self.workers = [self._worker(which) for which in range(WORKERS)]
        self.schedules = self._make_schedules()
        self.since = database_now()
        self.caller = self.line.spawn(
            "python", "-m", "tests.faults.nemesis.caller",
            str(self.notes), str(self.promises), str(self.dice.randrange(1_000_000)),
        )  # fmt: skip

    def _worker(self, which: int) -> Process:
        return self.line.spawn(
            "celery", "-A", "scheduler_project", "worker", "-Q", "default", "-c", "2",
            "-n", f"w{which}@%h", "-l", "INFO", "-I", "tests.faults.nemesis.load",
            "--without-mingle", "--without-gossip",
        )  # fmt: skip

    def _make_schedules(self) -> list[Schedule]:
        start = database_now().replace(microsecond=0)
        made = []
        for number, wanted in enumerate(SCHEDULES):
            policy = dict(wanted)
            interval, _ = IntervalSchedule.objects.get_or_create(every=policy.pop("every"), period="seconds")
            row = PeriodicTask.objects.create(
                name=f"nemesis-{number}",
                task="tests.nemesis.work",
                interval=interval,
                start_time=start,
                args=json.dumps([str(self.notes), policy.pop("seconds", 0.0)]),
            )
            Schedule.objects.filter(pk=row.pk).update(max_catchup=10_000, **policy)
            made.append(row.pk)
        found = Schedule.objects.filter(pk__in=made)
        return list(found.select_related("periodic_task", "periodic_task__interval"))

    def quiet(self) -> datetime:
        """Let nobody make jobs any more; return the instant through which everything is due."""
        assert self.caller is not None
        self.caller.send_signal(signal.SIGTERM)
        self.caller.wait(timeout=60)
        close_old_connections()
        through = database_now()
        PeriodicTask.objects.update(enabled=False)
        return through

    def close(self) -> None:
        """End all processes, whatever their state."""
        for process in (*self.beats, *self.workers):
            if process.poll() is None:
                processes.kill(process)
        self.line.close()

    # --- The supervisor --------------------

    def tend(self) -> None:
        """Start again what has ended, and note what ended by itself."""
        for which, process in enumerate(self.beats):
            if self._has_ended(f"beat {which}", process):
                self.beats[which] = self.line.beat()
        for which, process in enumerate(self.workers):
            if self._has_ended(f"worker {which}", process):
                self.workers[which] = self._worker(which)

    def _has_ended(self, name: str, process: Process) -> bool:
        code = process.poll()
        if code is None:
            return False
        if process.pid not in self.ended:
            log = f"{self.line.processes.index(process)}.log"
            self.surprises.append(f"{name} (pid {process.pid}, {log}) ended by itself with {code}")
        return True

    # --- The acts --------------------

    def do(self, act: Act) -> Undo | None:
        """Do one act; return what ends it, for an act that lasts."""
        undo: Undo | None = getattr(self, f"_{act.name}")(act)
        return undo

    def _kill_beat(self, act: Act) -> None:
        self.ended.add(self.beats[act.which].pid)
        self.beats[act.which].kill()

    def _freeze_beat(self, act: Act) -> Undo | None:
        return self._freeze(self.beats[act.which])

    def _kill_worker(self, act: Act) -> None:
        worker = self.workers[act.which]
        if worker.poll() is None:
            self.ended.add(worker.pid)
            processes.kill(worker)

    def _kill_worker_main(self, act: Act) -> None:
        self.ended.add(self.workers[act.which].pid)
        self.workers[act.which].kill()

    def _kill_child(self, act: Act) -> None:
        worker = self.workers[act.which]
        if b"ready." not in self.line.log_of(worker):
            return  # Celery gives up when a child dies before its worker has come up; the supervisor's business
        with suppress(psutil.NoSuchProcess):
            children = psutil.Process(worker.pid).children()
            if children:
                children[act.number % len(children)].kill()

    def _stop_worker(self, act: Act) -> None:
        worker = self.workers[act.which]
        if worker.poll() is not None:
            return
        self.ended.add(worker.pid)
        worker.send_signal(signal.SIGTERM)
        try:
            worker.wait(timeout=END_SECONDS)
        except subprocess.TimeoutExpired:
            log = f"{self.line.processes.index(worker)}.log"
            self.surprises.append(f"worker {act.which} ({log}) did not end within {END_SECONDS} s of SIGTERM")
            processes.kill(worker)

    def _freeze_worker(self, act: Act) -> Undo | None:
        return self._freeze(self.workers[act.which])

    def _freeze(self, process: Process) -> Undo | None:
        if process.poll() is not None:
            return None
        return partial(processes.thaw, processes.freeze(process))

    def _kill_redis(self, act: Act) -> Undo:
        self.redis.kill()
        return lambda: _started(self.redis)

    def _freeze_redis(self, act: Act) -> Undo:
        frozen = self.redis.pid
        os.kill(frozen, signal.SIGSTOP)
        return partial(_go_on, frozen)

    def _flush_redis(self, act: Act) -> None:
        self._redis(lambda client: client.flushall())

    def _kill_clients(self, act: Act) -> None:
        self._redis(lambda client: client.client_kill_filter(_type="normal", skipme=True))

    def _send_rubbish(self, act: Act) -> None:
        items = self.dice.choices(list(BROKEN.values()), k=act.number)
        self._redis(lambda client: client.lpush("default", *items))

    def _redis(self, what: Callable[[redis.Redis], object]) -> None:
        client = redis.Redis.from_url(self.redis.url, socket_timeout=5)
        with client, suppress(redis.RedisError):
            what(client)

    def _send_duplicates(self, act: Act) -> None:
        """Messages of jobs that run, have run or will run: for the attempt that is next, and for that before."""
        try:
            close_old_connections()
            newest = list(Job.objects.exclude(status="skipped").order_by("-created_at")[: 10 * act.number])
        except (DatabaseError, InterfaceError):
            connection.close()
            return
        jobs = self.dice.choices(newest, k=act.number) if newest else []
        messages = [Message.of(job) for job in jobs]
        for job in jobs:
            if job.attempt:
                job.attempt -= 1
                messages.append(Message.of(job))
        dispatching.publish(messages)

    def _crash_postgres(self, act: Act) -> Undo:
        self.crashes.append(time.monotonic())
        os.kill(self.postgres.pid, signal.SIGQUIT)
        assert self.postgres.process is not None
        self.postgres.process.wait(timeout=30)
        return lambda: _started(self.postgres)

    def _restart_postgres(self, act: Act) -> None:
        self.postgres.stop()
        _started(self.postgres)

    def _end_sessions(self, act: Act) -> None:
        with psycopg.connect(self.postgres.admin_url, autocommit=True) as admin:
            admin.execute(
                "SELECT pg_terminate_backend(pid) FROM (SELECT pid FROM pg_stat_activity "
                "WHERE backend_type = 'client backend' AND pid <> pg_backend_pid() "
                "ORDER BY random() LIMIT %s) AS chosen",
                [act.number],
            )


def _started(server: Postgres | Redis) -> None:
    """Start a server, and again if it did not come up."""

    def start() -> bool:
        try:
            server.start()
        except ServerError:
            return False
        return True

    eventually(start, 60, server.last_words)


def _go_on(frozen: int) -> None:
    """Let a process go on, unless it was killed meanwhile."""
    with suppress(ProcessLookupError):
        os.kill(frozen, signal.SIGCONT)
