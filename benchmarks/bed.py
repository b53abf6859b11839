"""A test bed: an own PostgreSQL, an own Redis, and processes of the product over them."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from scheduler_project.standalone.servers import Postgres, Redis

ROOT = Path(__file__).parent.parent


@contextlib.contextmanager
def bed() -> Iterator[Path]:
    """Start the servers, migrate, set Django up against them; stop everything at the end."""
    with tempfile.TemporaryDirectory(prefix="jadwal-bench-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        with Postgres(folder / "postgres") as postgres, Redis(folder / "redis") as redis:
            os.environ.update(
                DATABASE_URL=postgres.url,
                REDIS_URL=redis.url,
                SECRET_KEY="bench",
                JADWAL_STATE_DIR=str(folder / "state"),
                DJANGO_SETTINGS_MODULE="scheduler_project.settings",
                LOG_LEVEL="WARNING",
            )
            import django
            from django.core.management import call_command

            django.setup()
            call_command("migrate", verbosity=0)
            yield folder


@contextlib.contextmanager
def running(folder: Path, *commands: list[str]) -> Iterator[list[subprocess.Popen[bytes]]]:
    """Run `celery` commands of the product while the block lasts."""
    started = []
    try:
        for number, words in enumerate(commands):
            with (folder / f"process-{number}.log").open("wb") as log:
                program = [str(Path(sys.executable).with_name("celery")), "-A", "scheduler_project", *words]
                started.append(
                    subprocess.Popen(
                        program, cwd=ROOT, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
                    )
                )
        yield started
    finally:
        for process in started:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


BEAT = ["beat", "-l", "WARNING", "--pidfile="]


def worker(concurrency: int = 2, *more: str) -> list[str]:
    """The command of a worker on the default queue."""
    return ["worker", "-Q", "default", "-c", str(concurrency), "-l", "WARNING", "--without-mingle", *more]
