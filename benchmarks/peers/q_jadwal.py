"""This product as a job queue: start, finish, attempt and result of every job are committed."""

from __future__ import annotations

import os
import sys

if "JADWAL_CHECKOUT" in os.environ:
    sys.path.insert(0, os.environ["JADWAL_CHECKOUT"])
from benchmarks.peers import _jadwal as base

VENV, LABEL = "jadwal", "Jadwal"
SETTINGS = {
    "2p": "prefork -c 2, the project's own settings, no gossip, mingle or heartbeat, log level WARNING"
}
TABLES = {
    "completed jobs": "SELECT count(*) FROM jobs_job WHERE status = 'completed' AND attempt = 1",
    "attempts": "SELECT count(*) FROM jobs_attempt WHERE outcome = 'completed' AND finished_at >= started_at",
    "results": "SELECT count(*) FROM django_celery_results_taskresult WHERE status = 'SUCCESS'",
}


def commands(shape: str) -> list[list[str]]:
    concurrency = {"2p": "2"}[shape]
    flags = ["-l", "WARNING", "--without-gossip", "--without-mingle", "--without-heartbeat"]
    return [base.command("worker", "-Q", "default", "-c", concurrency, *flags)]


def prepare() -> None:
    base.setup()
    base.migrate()
    base.forget_jobs()


def finished(url: str) -> int:
    """Return how many jobs are committed as completed."""
    return _count(url, "SELECT count(*) FROM jobs_job WHERE status = 'completed'")


def settled(count: int) -> None:
    """Raise unless `count` jobs are completed, each with one attempt and one result."""
    url = base.addresses()["DATABASE_URL"]
    found = {what: _count(url, query) for what, query in TABLES.items()}
    if set(found.values()) != {count}:
        raise AssertionError(f"{count} jobs ran; the database has {found}")


def _count(url: str, query: str) -> int:
    import psycopg

    with psycopg.connect(url) as connection:
        row = connection.execute(query).fetchone()
    return int(row[0]) if row else 0


class Client:
    """Enqueues by `.delay()`, and in bulk by `enqueue_many`."""

    def __init__(self) -> None:
        base.setup()
        from celery import current_app

        self.task = current_app.tasks["bench.noop"]

    def one(self, sent_at: int) -> None:
        self.task.delay(sent_at)

    def many(self, count: int) -> None:
        from jobs import public

        bulk = getattr(public, "enqueue_many", None)
        if bulk is None:
            raise NotImplementedError("this checkout has no enqueue_many")
        for done in range(0, count, 1000):
            bulk(self.task, [[0]] * min(1000, count - done))
