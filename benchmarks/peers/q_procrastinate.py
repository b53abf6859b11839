"""Procrastinate: jobs in PostgreSQL, LISTEN/NOTIFY, psycopg 3."""

from __future__ import annotations

from functools import cache
from typing import Any

from benchmarks import kit
from benchmarks.environments import python_of

VENV, LABEL = "procrastinate", "Procrastinate"
SETTINGS = {"2p": "2 processes, concurrency 10, async task, finished jobs kept (its default)"}
MAX_JOBS = 5_000


@cache
def made() -> tuple[Any, Any]:
    """Return the app and its task."""
    import procrastinate

    app = procrastinate.App(connector=procrastinate.PsycopgConnector(conninfo=kit.postgres_url()))

    @app.task(name="noop")
    async def noop(sent_at: int) -> None:
        kit.noop(sent_at)

    return app, noop


def __getattr__(name: str) -> Any:
    if name == "app":
        return made()[0]
    raise AttributeError(name)


def commands(shape: str) -> list[list[str]]:
    processes = {"2p": 2}[shape]
    program = [python_of(VENV), "-m", "procrastinate", "--app", f"{__name__}.app", "--log-level", "error"]
    return [[*program, "worker", "--concurrency", "10"]] * processes


def prepare() -> None:
    import psycopg

    app, _ = made()
    with psycopg.connect(kit.postgres_url(), autocommit=True) as connection:
        if connection.execute("SELECT to_regclass('procrastinate_jobs')").fetchone() == (None,):
            with app.open():
                app.schema_manager.apply_schema()
        connection.execute("TRUNCATE procrastinate_jobs, procrastinate_events, procrastinate_periodic_defers")
        connection.execute("ANALYZE procrastinate_jobs")


class Client:
    def __init__(self) -> None:
        app, self.task = made()
        app.open()

    def one(self, sent_at: int) -> None:
        self.task.defer(sent_at=sent_at)

    def many(self, count: int) -> None:
        for done in range(0, count, 1000):
            self.task.batch_defer(*({"sent_at": 0} for _ in range(min(1000, count - done))))
