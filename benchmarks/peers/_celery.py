"""What the contenders made of plain Celery share: an app, Django where it is needed, flags."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import cache
from typing import Any

from benchmarks import kit
from benchmarks.environments import python_of

QUEUE_DATABASE = 3
BEAT_DATABASE = 4
WORKER = "prefork -c 2, prefetch multiplier 64, no gossip, mingle or heartbeat, log level WARNING"
SETTINGS = {"2p": WORKER}


def worker_command(module: str) -> Callable[[str], list[list[str]]]:
    """Return `commands` of a queue whose app is in `module`."""

    def commands(shape: str) -> list[list[str]]:
        concurrency = {"2p": "2"}[shape]
        flags = ["-l", "WARNING", "--without-gossip", "--without-mingle", "--without-heartbeat"]
        return [[python_of("celery"), "-m", "celery", "-A", module, "worker", "-c", concurrency, *flags]]

    return commands


def beat_command(module: str, scheduler: str) -> list[str]:
    """Return the argv of one `celery beat`."""
    flags = ["-l", "WARNING", "--pidfile=", "-S", scheduler]
    return [python_of("celery"), "-m", "celery", "-A", module, "beat", *flags]


@cache
def app(database: int, **settings: Any) -> Any:
    """Return a Celery app on one of Redis's databases, with the job of the benchmark."""
    from celery import Celery

    made = Celery("bench", broker=kit.redis_url(database), set_as_current=True)
    made.conf.update(
        task_serializer="json",
        accept_content=["json"],
        worker_prefetch_multiplier=64,
        broker_connection_retry_on_startup=True,
        timezone="UTC",
        enable_utc=True,
        **settings,
    )
    made.set_default()
    made.task(name="bench.noop")(kit.noop)
    return made


def flush(database: int) -> None:
    """Empty one of Redis's databases."""
    import redis

    redis.Redis.from_url(kit.redis_url(database)).flushdb()


def queued(broker: tuple[int, str]) -> int:
    """Return how many messages lie in a list, `(database, key)`."""
    import redis

    database, key = broker
    return int(redis.Redis.from_url(kit.redis_url(database)).llen(key))


def setup_django() -> None:
    """Set Django up with django-celery-beat and django-celery-results, connections kept open."""
    os.environ["DJANGO_SETTINGS_MODULE"] = "benchmarks.peers._django"
    import django

    django.setup()


def migrate() -> None:
    """Make the tables where they are missing."""
    from django.core.management import call_command

    call_command("migrate", verbosity=0)


class Client:
    """Enqueues one job after the other."""

    def __init__(self, made: Any) -> None:
        self.task = made.tasks["bench.noop"]

    def one(self, sent_at: int) -> None:
        self.task.delay(sent_at)
