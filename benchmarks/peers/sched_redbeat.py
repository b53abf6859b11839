"""RedBeat: schedules in Redis, messages by Celery. One-offs are an rrule of one time."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterable
from typing import Any

from benchmarks import kit
from benchmarks.peers import _celery as base

VENV, LABEL = "celery", "RedBeat"
SCHEDULES = 5
BROKER = (base.BEAT_DATABASE, "celery")
ALL_WORK = False  # one beat holds the lock
SENTINEL, EXTRA = "sentinel", 1  # see `arm`
LOOP, LOCK = 2, 1800
"""Seconds. The lock must outlast the burst: a turn that takes longer loses it."""


def make() -> Any:
    """Return the app; `celery -A` asks for it by the module's attribute."""
    return base.app(
        base.BEAT_DATABASE,
        task_ignore_result=True,
        redbeat_redis_url=kit.redis_url(SCHEDULES),
        redbeat_lock_timeout=LOCK,
        beat_max_loop_interval=LOOP,
    )


def __getattr__(name: str) -> Any:
    if name == "celery":
        return make()
    raise AttributeError(name)


def commands() -> list[list[str]]:
    return [base.beat_command(__name__, "redbeat.RedBeatScheduler")]


def client() -> Any:
    import redis

    return redis.Redis.from_url(kit.redis_url(SCHEDULES), decode_responses=True)


def setup() -> None:
    make()


def seed(specs: Iterable[tuple[str, tuple[Any, ...]]], burst: bool) -> None:
    """Save one entry per time; the others are copies of its hash under their own names, by pipeline."""
    from celery.schedules import crontab, schedule
    from redbeat import RedBeatSchedulerEntry
    from redbeat.schedules import rrule

    base.flush(SCHEDULES)
    store, models, now = client(), {}, dt.datetime.now(dt.UTC)
    last = now - dt.timedelta(hours=23) if burst else now
    pipe = store.pipeline(transaction=False)
    for number, (name, spec) in enumerate(specs):
        if spec not in models:
            kind, *values = spec
            if kind == "cron":
                when: Any = crontab(minute=values[0], hour=values[1], app=make())
            elif kind == "every":
                when = schedule(dt.timedelta(hours=values[0]), app=make())
            else:
                when = rrule("DAILY", dtstart=values[0], count=1, app=make())
            entry = RedBeatSchedulerEntry(name, "bench.noop", when, args=[1], app=make())
            entry.last_run_at = last
            entry.save()
            models[spec] = (store.hgetall(entry.key), store.zscore("redbeat::schedule", entry.key))
            continue
        fields, score = models[spec]
        definition = json.loads(fields["definition"]) | {"name": name}
        pipe.hset(f"redbeat:{name}", mapping=fields | {"definition": json.dumps(definition)})
        pipe.zadd("redbeat::schedule", {f"redbeat:{name}": score})
        if number % 2000 == 0:
            pipe.execute()
    pipe.execute()


def arm(at: dt.datetime) -> None:
    """Let all entries of a burst fall due at `at`: as if the last run had been 23 hours before.

    RedBeat looks at the next entry to come in each turn, too, and would send it, as its crontab's minute has
    passed. So a sentinel stands before them: an interval that is due at `at` itself. It is sent as well.
    """
    from celery.schedules import schedule
    from redbeat import RedBeatSchedulerEntry
    from redbeat.decoder import RedBeatJSONEncoder

    store = client()
    store.delete(f"redbeat:{SENTINEL}")
    store.zrem("redbeat::schedule", f"redbeat:{SENTINEL}")
    names = store.zrange("redbeat::schedule", 0, -1)
    day = dt.timedelta(days=1)
    sentinel = RedBeatSchedulerEntry(SENTINEL, "bench.noop", schedule(day, app=make()), args=[1], app=make())
    sentinel.last_run_at = at - day
    sentinel.save()
    store.zadd("redbeat::schedule", {sentinel.key: at.timestamp() - 0.001})
    last = {"last_run_at": at - dt.timedelta(hours=23), "total_run_count": 0}
    meta = json.dumps(last, cls=RedBeatJSONEncoder)
    for start in range(0, len(names), 5000):
        pipe = store.pipeline(transaction=False)
        for name in names[start : start + 5000]:
            pipe.hset(name, "meta", meta)
        pipe.zadd("redbeat::schedule", dict.fromkeys(names[start : start + 5000], at.timestamp()))
        pipe.execute()
    base.flush(base.BEAT_DATABASE)


def ready(_: str) -> int:
    """Return whether a beat is at work: it holds the lock."""
    return int(client().exists("redbeat::lock"))


class Bench:
    """One beat, turn by turn, in this process."""

    EDIT_IS_RELOAD = False

    def __init__(self) -> None:
        from celery import signals
        from celery.beat import Service

        base.flush(base.BEAT_DATABASE)
        client().delete("redbeat::lock")
        service = Service(make(), scheduler_cls="redbeat.RedBeatScheduler")
        self.scheduler = service.scheduler
        signals.beat_init.send(sender=service)  # takes the lock

    def tick(self) -> float:
        return float(self.scheduler.tick())

    def loaded(self) -> int:
        return 0

    def dispatched(self) -> int:
        return base.queued(BROKER)

    def _entry(self, name: str) -> Any:
        from redbeat import RedBeatSchedulerEntry

        return RedBeatSchedulerEntry.from_key(f"redbeat:{name}", app=make())

    def edit_one(self) -> None:
        entry = self._entry("s3")
        entry.args = [2]
        entry.save()

    def make_due(self, count: int) -> int:
        names = [f"s{i}" for i in range(count * 7) if i % 20 in (16, 17, 18)][:count]
        for name in names:
            self._entry(name).reschedule(dt.datetime.now(dt.UTC) - dt.timedelta(days=3))
        return len(names)

    def flush_state(self) -> int:
        return 0

    def close(self) -> None:
        if self.scheduler.lock and self.scheduler.lock.owned():
            self.scheduler.lock.release()
        base.flush(base.BEAT_DATABASE)
