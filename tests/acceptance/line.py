"""The whole line as real processes: any number of beats and workers over this test's database and Redis."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import psutil
from django.conf import settings
from django.db import connection

ROOT = Path(__file__).parents[2]

FAST = {
    "JADWAL_HEARTBEAT_SECONDS": "1",
    "JADWAL_LEASE_SECONDS": "6",
    "JADWAL_SWEEP_SECONDS": "1",
    "JADWAL_RECONCILE_SECONDS": "2",
    "JADWAL_PUBLISH_GRACE_SECONDS": "2",
    "JADWAL_SHUTDOWN_GRACE": "5",
}
"""The short form: lease 6 s, sweep 1 s."""


class Line:
    """Starts processes of the product and ends only those."""

    def __init__(self, folder: Path, **env: str) -> None:
        self.folder = folder
        self.env = {**os.environ, **FAST, "DATABASE_URL": database_url(), **env}
        self.env.pop("PYTEST_CURRENT_TEST", None)
        self.processes: list[subprocess.Popen[bytes]] = []

    def beat(self, *injected: str) -> subprocess.Popen[bytes]:
        """Start one more beat; `injected`: options of `tests.faults.injected`, for one with a fault in it."""
        return self.spawn(
            *_celery(injected), "-A", "scheduler_project", "beat", "-l", "INFO", "--pidfile="
        )  # fmt: skip

    def worker(
        self,
        *queues: str,
        concurrency: int = 2,
        name: str = "",
        wait: bool = True,
        injected: Sequence[str] = (),
    ) -> subprocess.Popen[bytes]:
        """Start one more worker and wait until it has registered; `injected` as for a beat."""
        name = name or f"w{len(self.processes)}"
        process = self.spawn(
            *_celery(injected), "-A", "scheduler_project", "worker", "-Q", ",".join(queues or ("default",)),
            "-c", str(concurrency), "-n", f"{name}@%h", "-l", "INFO", "-I", "tests.jobs.tasks",
            "--without-mingle", "--without-gossip",
        )  # fmt: skip
        if wait:
            self.wait_until_ready(process)
        return process

    def wait_until_ready(self, worker: subprocess.Popen[bytes]) -> None:
        """Wait until a worker takes messages."""
        eventually(lambda: b"ready." in self.log_of(worker), 30, lambda: self.tail(worker))

    def manage(self, *words: str, timeout: float = 60) -> subprocess.CompletedProcess[str]:
        """Run a management command to its end."""
        return subprocess.run(
            [sys.executable, "manage.py", *words],
            cwd=ROOT,
            env=self.env,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )

    def spawn(self, *words: str) -> subprocess.Popen[bytes]:
        """Start a process in a group of its own, its output in a file."""
        log = self.folder / f"{len(self.processes)}.log"
        program = Path(sys.executable).with_name(words[0])
        with log.open("wb") as out:
            process = subprocess.Popen(
                [str(program), *words[1:]],
                cwd=ROOT,
                env=self.env,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.processes.append(process)
        return process

    def log_of(self, process: subprocess.Popen[bytes]) -> bytes:
        return (self.folder / f"{self.processes.index(process)}.log").read_bytes()

    def tail(self, process: subprocess.Popen[bytes]) -> str:
        return self.log_of(process).decode(errors="replace")[-3_000:]

    def close(self) -> None:
        """Kill what still runs; tests that want a graceful end ask for it themselves."""
        for process in self.processes:
            kill_group(process)

    def __enter__(self) -> Line:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _celery(injected: Sequence[str]) -> tuple[str, ...]:
    return ("python", "-m", "tests.faults.injected", *injected) if injected else ("celery",)


def kill_group(process: subprocess.Popen[bytes]) -> None:
    """SIGKILL a process and all its children at once."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
    process.wait(timeout=10)


def children(process: subprocess.Popen[bytes]) -> list[psutil.Process]:
    return psutil.Process(process.pid).children(recursive=True)


def database_url() -> str:
    """The address of this test's database, which pytest-django has made."""
    name = settings.DATABASES["default"]["NAME"]
    return os.environ["DATABASE_URL"].rpartition("/")[0] + f"/{name}"


def eventually(check: Callable[[], Any], seconds: float, why: Callable[[], str] = str) -> Any:
    """Return `check()` as soon as it is true; fail with `why()` after `seconds`."""
    end = time.monotonic() + seconds
    while True:
        value = check()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError(f"not within {seconds} s\n{why()}")
        time.sleep(0.05)


def rows(sql: str, *params: object) -> list[tuple[Any, ...]]:
    """What a query returns, in a transaction of its own."""
    with connection.cursor() as cursor:
        cursor.execute(sql, params)
        return cursor.fetchall()
