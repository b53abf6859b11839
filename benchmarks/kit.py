"""What every contender needs, in whatever virtual environment it runs: standard library only.

Addresses come from the environment, which the harness sets. `noop` is the job that all of them run: it
counts itself in a memory-mapped file, so that counting costs no network call.
"""

from __future__ import annotations

import mmap
import os
import struct
import threading
import time
from pathlib import Path
from typing import NamedTuple

_LAYOUT = struct.Struct("=QQQ")  # jobs, monotonic ns of the first, of the last


def folder() -> Path:
    """Where the processes of this run leave their counts and logs."""
    return Path(os.environ["BENCH_FOLDER"])


def redis_url(database: int) -> str:
    """The benchmark's Redis, one of its databases."""
    return f"{os.environ['BENCH_REDIS_URL']}/{database}"


def postgres_url() -> str:
    """The benchmark's PostgreSQL, the database of this contender."""
    return os.environ["BENCH_DATABASE_URL"]


class _Counter:
    """This process's own count, in a page that the harness reads."""

    def __init__(self) -> None:
        self.pid = os.getpid()
        self.jobs = self.first = 0
        for name in ("counts", "latencies"):
            (folder() / name).mkdir(parents=True, exist_ok=True)
        with (folder() / "counts" / str(self.pid)).open("w+b") as file:
            file.write(bytes(_LAYOUT.size))
            file.flush()
            self.page = mmap.mmap(file.fileno(), _LAYOUT.size)
        self.latencies = (folder() / "latencies" / str(self.pid)).open("a", buffering=1)

    def add(self, at: int, sent_at: int) -> None:
        self.jobs += 1
        self.first = self.first or at
        _LAYOUT.pack_into(self.page, 0, self.jobs, self.first, at)
        if sent_at:
            self.latencies.write(f"{at - sent_at}\n")


_mine: _Counter | None = None
_lock = threading.Lock()


def noop(sent_at: int = 0) -> None:
    """Count this call. `sent_at`: CLOCK_MONOTONIC ns of the enqueueing, where latency is measured."""
    global _mine
    now = time.monotonic_ns()
    with _lock:
        if _mine is None or _mine.pid != os.getpid():
            _mine = _Counter()
        _mine.add(now, sent_at)


class Count(NamedTuple):
    """What all processes together have run: how many, and when the first and the last began (ns)."""

    jobs: int
    first: int
    last: int


def count() -> Count:
    """Return the sum over all processes."""
    pages = [path.read_bytes() for path in (folder() / "counts").glob("*")]
    rows = [_LAYOUT.unpack(page) for page in pages if len(page) == _LAYOUT.size]
    began = [row for row in rows if row[0]]
    if not began:
        return Count(0, 0, 0)
    return Count(sum(row[0] for row in began), min(row[1] for row in began), max(row[2] for row in began))


def latencies() -> list[float]:
    """Return the milliseconds from enqueueing to the first line of the job, for the jobs that had a time."""
    lines = (line for path in (folder() / "latencies").glob("*") for line in path.read_text().split())
    return [int(line) / 1e6 for line in lines]


def forget() -> None:
    """Start counting anew; only while no worker runs."""
    for name in ("counts", "latencies"):
        for path in (folder() / name).glob("*"):
            path.unlink()


def forget_latencies() -> None:
    """Drop the latencies so far; workers may be running."""
    for path in (folder() / "latencies").glob("*"):
        os.truncate(path, 0)
