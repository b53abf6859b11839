"""A test bed: an own PostgreSQL, an own Redis, and processes of the product over them."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
import redis
from psycopg import sql

from scheduler_project.standalone.servers import Postgres, Redis

ROOT = Path(__file__).parent.parent


@dataclass(slots=True)
class Servers:
    """Both servers, and the folder in which everything of this run lies."""

    folder: Path
    postgres: Postgres
    redis: Redis
    _clients: dict[int, redis.Redis] = field(default_factory=dict)

    def database(self, name: str) -> str:
        """Return the URL of the database `name`, made when it is missing."""
        owner, database = sql.Identifier(self.postgres.role), sql.Identifier(name)
        with psycopg.connect(self.postgres.admin_url, autocommit=True) as connection:
            if not connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [name]).fetchone():
                connection.execute(sql.SQL("CREATE DATABASE {} OWNER {}").format(database, owner))
        return self.postgres.url.rpartition("/")[0] + f"/{name}"

    @property
    def redis_url(self) -> str:
        """The URL of Redis, without a database number."""
        return self.redis.url.rpartition("/")[0]

    def client(self, database: int) -> redis.Redis:
        """Return a client of one of Redis's databases, always the same."""
        if database not in self._clients:
            self._clients[database] = redis.Redis.from_url(f"{self.redis_url}/{database}")
        return self._clients[database]

    def environment(self, database: str, *, redis_database: int = 0) -> dict[str, str]:
        """Return the variables for a process that works on these servers; `database` is PostgreSQL's."""
        url = self.database(database)
        mine = {key: value for key, value in os.environ.items() if key != "DJANGO_SETTINGS_MODULE"}
        return {
            **mine,
            "BENCH_FOLDER": str(self.folder),
            "BENCH_REDIS_URL": self.redis_url,
            "BENCH_DATABASE_URL": url,
            "DATABASE_URL": url,
            "REDIS_URL": f"{self.redis_url}/{redis_database}",
            "SECRET_KEY": "bench",
            "JADWAL_STATE_DIR": str(self.folder / "state"),
            "LOG_LEVEL": "WARNING",
            "JADWAL_SCHEDULABLE": "bench.noop",
            "PYTHONPATH": str(ROOT),
            "PYTHONDONTWRITEBYTECODE": "1",
        }


@contextlib.contextmanager
def servers() -> Iterator[Servers]:
    """Start both servers on free ports in a temporary folder; stop them and delete it at the end."""
    with tempfile.TemporaryDirectory(prefix="jadwal-bench-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        with Postgres(folder / "postgres", temporary=True) as postgres, Redis(folder / "redis") as cache:
            started = Servers(folder, postgres, cache)
            os.environ.update(BENCH_FOLDER=name, BENCH_REDIS_URL=started.redis_url)
            yield started


@contextlib.contextmanager
def bed() -> Iterator[Path]:
    """Start the servers, migrate, set Django up against them; stop everything at the end."""
    with servers() as started:
        os.environ.update(
            DATABASE_URL=started.postgres.url,
            REDIS_URL=started.redis.url,
            SECRET_KEY="bench",
            JADWAL_STATE_DIR=str(started.folder / "state"),
            DJANGO_SETTINGS_MODULE="scheduler_project.settings",
            LOG_LEVEL="WARNING",
        )
        import django
        from django.core.management import call_command

        django.setup()
        call_command("migrate", verbosity=0)
        yield started.folder


@contextlib.contextmanager
def processes(
    programs: Iterable[Sequence[str]], *, logs: Path, environment: Mapping[str, str], cwd: Path = ROOT
) -> Iterator[list[subprocess.Popen[bytes]]]:
    """Run `programs` while the block lasts, each in a group of its own; then end them in order."""
    started: list[subprocess.Popen[bytes]] = []
    try:
        for number, program in enumerate(programs):
            with (logs / f"process-{number}.log").open("wb") as log:
                started.append(
                    subprocess.Popen(
                        program,
                        cwd=cwd,
                        env=dict(environment),
                        stdout=log,
                        stderr=subprocess.STDOUT,
                        start_new_session=True,
                    )
                )
        yield started
    finally:
        end(started)


class Failed(Exception):
    """A contender did not do its work; the message says what it printed."""


def ask(
    name: str,
    program: Sequence[str],
    *words: object,
    environment: Mapping[str, str],
    limit: float | None = None,
    root: Path = ROOT,
) -> dict[str, Any]:
    """Run one verb of a driver and return the JSON object that it printed.

    Raises `Failed` if there is none, and `subprocess.TimeoutExpired` after `limit` seconds, if it has one.
    """
    done = subprocess.run(
        [*program, *map(str, words)],
        cwd=root,
        env=environment,
        capture_output=True,
        text=True,
        timeout=limit,
        check=False,
    )
    lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
    if done.returncode or not lines:
        raise Failed(f"{name} {' '.join(map(str, words))}: {done.stderr[-3000:]}")
    found: dict[str, Any] = json.loads(lines[-1])
    return found


def wait(
    done: Callable[[], bool],
    limit: float,
    complaint: str,
    *,
    running: Sequence[subprocess.Popen[bytes]] = (),
    logs: Path | None = None,
    pause: float = 0.02,
) -> None:
    """Wait until `done`. Raises `Failed` after `limit` seconds, or as soon as one of `running` has ended."""
    deadline = time.monotonic() + limit
    while not done():
        ended = any(process.poll() is not None for process in running)
        if ended or time.monotonic() > deadline:
            last = "".join(
                path.read_text(errors="replace")[-1000:] for path in (logs or Path()).glob("process-*.log")
            )
            raise Failed(f"{complaint}{' (a process ended)' if ended else ''}\n{last if logs else ''}")
        time.sleep(pause)


def end(started: Sequence[subprocess.Popen[bytes]], patience: float = 8.0) -> None:
    """End processes and their children: SIGTERM, then SIGKILL after `patience` seconds."""
    for process in started:
        process.terminate()
    deadline = time.monotonic() + patience
    for process in started:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(max(0.05, deadline - time.monotonic()))
    for process in started:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@contextlib.contextmanager
def running(folder: Path, *commands: list[str]) -> Iterator[list[subprocess.Popen[bytes]]]:
    """Run `celery` commands of the product while the block lasts."""
    celery = str(Path(sys.executable).with_name("celery"))
    programs = [[celery, "-A", "scheduler_project", *words] for words in commands]
    with processes(programs, logs=folder, environment=os.environ) as started:
        yield started


BEAT = ["beat", "-l", "WARNING", "--pidfile="]


def worker(concurrency: int = 2, *more: str) -> list[str]:
    """The command of a worker on the default queue."""
    return ["worker", "-Q", "default", "-c", str(concurrency), "-l", "WARNING", "--without-mingle", *more]
