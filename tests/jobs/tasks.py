"""Tasks that tests run, here and in real workers (`celery worker -I tests.jobs.tasks`)."""

from __future__ import annotations

import logging
import os
import shlex
import subprocess
import time
from pathlib import Path
from typing import Any

from celery import shared_task
from celery.exceptions import Reject

from jobs.public import Permanent, RetryAfter, context

logger = logging.getLogger(__name__)


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


@shared_task(name="tests.slow_once")
def slow_once(path: str, sleep: float) -> int:
    """Note begin and end; only the first attempt takes `sleep` seconds. Returns the attempt's number."""
    _note(path, "begin")
    if context().attempt == 1:
        time.sleep(sleep)
    _note(path, "end")
    return context().attempt


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


@shared_task(name="tests.gives_up", bind=True, max_retries=0)
def gives_up(self: Any) -> None:
    raise self.retry(exc=KeyError("the cause"))


@shared_task(name="tests.rejects")
def rejects() -> None:
    raise Reject("not today", requeue=False)


@shared_task(name="tests.later", bind=True, max_retries=1)
def later(self: Any, path: str) -> None:
    """Log a line; ask for another attempt in a second, and in that one call a task for two seconds later."""
    _note(path, "begin")
    logger.info("attempt %d", context().attempt)
    if self.request.retries == 0:
        raise self.retry(countdown=1)
    record.apply_async((path,), countdown=2, expires=60)
    _note(path, "end")


@shared_task(name="tests.silent", ignore_result=True)
def silent(fail: bool = False) -> str:
    if fail:
        raise ValueError("quietly")
    return "nobody keeps this"


@shared_task(name="tests.not_json")
def not_json() -> object:
    return object()


@shared_task(name="tests.together", atomic=True)
def together(name: str, fail: bool = False) -> str:
    """Leave something in the database, in the transaction that ends the attempt."""
    from django.contrib.auth.models import Group

    Group.objects.create(name=name)
    if fail:
        raise ValueError("after the effect")
    return name


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


@shared_task(name="tests.eat_memory")
def eat_memory(path: str, most_mb: int = 2_000) -> None:
    """Take memory until there is no more; stop at `most_mb`, so that no machine suffers from a missing limit."""
    _note(path, "begin")
    eaten = []
    while len(eaten) * 16 < most_mb:
        eaten.append(b"x" * (16 * 1024 * 1024))
    raise RuntimeError(f"nothing has kept it from taking {most_mb} MB")


@shared_task(name="tests.with_child")
def with_child(path: str, pids: str) -> None:
    """In the first attempt: start a process that starts another, write down their pids, and wait for them."""
    _note(path, "begin")
    if context().attempt == 1:
        script = "sleep 600 & echo $$ $! > " + shlex.quote(pids) + "; wait"
        subprocess.run(["sh", "-c", script], check=True)
    _note(path, "end")


@shared_task(name="tests.kill_self")
def kill_self(path: str) -> None:
    _note(path, "begin")
    os.kill(os.getpid(), 9)


def lines(path: Path) -> list[list[str]]:
    """What the tasks noted so far."""
    return [line.split() for line in path.read_text().splitlines()] if path.exists() else []
