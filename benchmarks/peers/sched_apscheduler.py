"""APScheduler 3 with its SQLAlchemy store on PostgreSQL.

Its job pushes one JSON message to a Redis list, in the scheduler's own thread, so that "sent" means the same
as for the others: a message is in Redis.
"""

from __future__ import annotations

import datetime as dt
import json
import pickle
from collections.abc import Iterable
from functools import cache
from typing import Any

from benchmarks import kit
from benchmarks.environments import python_of

VENV, LABEL = "apscheduler", "APScheduler"
BROKER = (6, "apscheduler")
ALL_WORK = False  # several would each send everything


@cache
def client() -> Any:
    import redis

    return redis.Redis.from_url(kit.redis_url(BROKER[0]))


def push(number: int) -> None:
    """The job."""
    client().lpush(BROKER[1], json.dumps({"task": "bench.noop", "args": [number]}))


def commands() -> list[list[str]]:
    return [[python_of(VENV), "-c", f"from {__name__} import serve; serve()"]]


def serve() -> None:
    """Run the scheduler until the process is ended."""
    from apscheduler.schedulers.blocking import BlockingScheduler

    _scheduler(BlockingScheduler).start()


def setup() -> None:
    """There is nothing to set up."""


def _scheduler(kind: type) -> Any:
    from apscheduler.executors.debug import DebugExecutor
    from apscheduler.jobstores.sqlalchemy import SQLAlchemyJobStore

    url = "postgresql+psycopg://" + kit.postgres_url().partition("://")[2]
    return kind(
        jobstores={"default": SQLAlchemyJobStore(url=url, tablename="aps_jobs")},
        executors={"default": DebugExecutor()},
        job_defaults={"coalesce": True, "misfire_grace_time": None},
        timezone="UTC",
    )


def _by_hand() -> Any:
    """Return a scheduler without a loop: its turns are taken by calling it."""
    from apscheduler.schedulers.base import BaseScheduler

    class ByHand(BaseScheduler):
        def wakeup(self) -> None:
            """Nobody sleeps."""

        def shutdown(self, wait: bool = True) -> None:
            super().shutdown(wait)

    return _scheduler(ByHand)


def seed(specs: Iterable[tuple[str, tuple[Any, ...]]], burst: bool) -> None:
    """Write the store's own rows in bulk; in a burst all are due now."""
    from apscheduler.job import Job
    from apscheduler.triggers.cron import CronTrigger
    from apscheduler.triggers.date import DateTrigger
    from apscheduler.triggers.interval import IntervalTrigger
    from sqlalchemy import text

    client().flushdb()
    scheduler = _by_hand()
    scheduler.start(paused=True)
    store, now, rows = scheduler._jobstores["default"], dt.datetime.now(dt.UTC), []
    for name, (kind, *values) in specs:
        if kind == "cron":
            trigger: Any = CronTrigger(minute=values[0], hour=values[1], timezone="UTC")
        elif kind == "every":
            trigger = IntervalTrigger(hours=values[0], timezone="UTC")
        else:
            trigger = DateTrigger(values[0], timezone="UTC")
        job = Job(
            scheduler,
            id=name,
            name=name,
            func=push,
            args=(1,),
            kwargs={},
            trigger=trigger,
            executor="default",
            misfire_grace_time=None,
            coalesce=True,
            max_instances=1,
        )
        job.next_run_time = now if burst else trigger.get_next_fire_time(None, now)
        state = pickle.dumps(job.__getstate__(), pickle.HIGHEST_PROTOCOL)
        rows.append({"id": name, "next_run_time": job.next_run_time.timestamp(), "job_state": state})
    with store.engine.begin() as connection:
        connection.execute(text("TRUNCATE aps_jobs"))
        for start in range(0, len(rows), 2000):
            connection.execute(store.jobs_t.insert(), rows[start : start + 2000])
        connection.execute(text("ANALYZE aps_jobs"))
    scheduler.shutdown(wait=False)


class Bench:
    """The scheduler, turn by turn, in this process."""

    EDIT_IS_RELOAD = False

    def __init__(self) -> None:
        client().flushdb()
        self.scheduler = _by_hand()
        self.scheduler.start()

    def tick(self) -> float:
        wait = self.scheduler._process_jobs()
        return 5.0 if wait is None else float(wait)

    def loaded(self) -> int:
        return 0

    def dispatched(self) -> int:
        return int(client().llen(BROKER[1]))

    def edit_one(self) -> None:
        self.scheduler.modify_job("s3", args=(2,))

    def make_due(self, count: int) -> int:
        names = [f"s{i}" for i in range(count * 7) if i % 20 in (16, 17, 18)][:count]
        for name in names:
            self.scheduler.modify_job(name, next_run_time=dt.datetime.now(dt.UTC))
        return len(names)

    def flush_state(self) -> int:
        return 0

    def close(self) -> None:
        self.scheduler.shutdown(wait=False)
        client().flushdb()
