"""Tasks that tests run, here and in real workers (`celery worker -I tests.jobs.tasks`)."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

from celery import shared_task

from jobs.public import Permanent, RetryAfter, context


def _note(path: str, what: str) -> None:
    """Add a line to a file outside the system: what really happened, whatever the database says."""
    here = context()
    line = f"{here.job_id} {here.attempt} {os.getpid()} {time.monotonic():.6f} {what}\n"
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    try:
        os.write(descriptor, line.encode())
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@shared_task(name="tests.record")
def record(path: str, sleep: float = 0) -> str:
    """Note begin and end in `path`."""
    _note(path, "begin")
    time.sleep(sleep)
    _note(path, "end")
    return context().job_id


@shared_task(name="tests.add")
def add(x: float, y: float) -> float:
    return x + y


@shared_task(name="tests.fails", max_attempts=3)
def fails(text: str = "no") -> None:
    raise ValueError(text)


@shared_task(name="tests.permanent")
def permanent() -> None:
    raise Permanent("this can never work")


@shared_task(name="tests.come_back")
def come_back() -> None:
    from datetime import timedelta

    raise RetryAfter("busy", timedelta(hours=2))


@shared_task(name="tests.auto", autoretry_for=(KeyError,), max_retries=2, retry_backoff=True)
def auto(kind: str) -> None:
    raise {"key": KeyError, "value": ValueError}[kind](kind)


@shared_task(name="tests.asks", bind=True, max_retries=1)
def asks(self: Any, note: str) -> str:
    if self.request.retries == 0:
        raise self.retry(args=[note + "!"], countdown=60)
    return note


@shared_task(name="tests.silent", ignore_result=True)
def silent(fail: bool = False) -> str:
    if fail:
        raise ValueError("quietly")
    return "nobody keeps this"


@shared_task(name="tests.not_json")
def not_json() -> object:
    return object()


@shared_task(name="tests.swallow", soft_time_limit=1, time_limit=2)
def swallow(path: str) -> None:
    """Swallow the soft limit, so that only the hard one ends it."""
    _note(path, "begin")
    end = time.monotonic() + 30
    while time.monotonic() < end:
        try:
            time.sleep(30)
        except Exception:
            pass


@shared_task(name="tests.kill_self")
def kill_self(path: str) -> None:
    _note(path, "begin")
    os.kill(os.getpid(), 9)


def lines(path: Path) -> list[list[str]]:
    """What the tasks noted so far."""
    return [line.split() for line in path.read_text().splitlines()] if path.exists() else []
