"""What other schedulers and other workers have left: messages, entries of RedBeat, tables of APScheduler."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from datetime import datetime
from typing import Any

from celery import current_app
from django.db import connection
from django_celery_beat.models import PeriodicTask

from jobs.conf import conf
from jobs.engine.dispatching import FENCE_HEADER
from jobs.engine.doorbell import BROKER_ERRORS
from jobs.insight import broker, obstacles, translating
from jobs.insight.findings import FAIL, OK, WARN, Finding, about
from jobs.insight.migrating_code import is_cleanup
from jobs.models import Job

AREA, OTHERS = "Redis", "other schedulers"

READ = 10_000
"""Messages of a queue that are looked at."""

APSCHEDULER = ("apscheduler_jobs", "django_apscheduler_djangojob")
"""Its job stores in a database: its own, and that of django-apscheduler."""


def findings(now: datetime) -> Iterator[Finding]:
    """Yield what is found in Redis and in the database."""
    yield from _messages(now)
    yield from _workers(now)
    yield from _redbeat()
    yield from _apscheduler()


# --- Messages -----------------------------------------------------------------------------------------


def _messages(now: datetime) -> Iterator[Finding]:
    try:
        with broker.impatient() as link:
            channel = link.default_channel
            held = {queue: _without_job(channel, queue) for queue in _queues(channel, now)}
            unacked = int(channel.client.hlen(channel.unacked_key))
    except BROKER_ERRORS:
        sentence = "Redis does not answer: what is in it was not looked at."
        yield Finding(AREA, "Redis", FAIL, sentence, "Start it, or correct REDIS_URL; then ask again.")
        return
    served = {queue for worker in obstacles.alive(now) for queue in worker.queues}
    for queue, counts in sorted(held.items()):
        yield from _of_queue(queue, counts, is_served=queue in served)
    if unacked:
        sentence = (
            f"{unacked} message(s) are with workers that have not acknowledged them: those of plain Celery "
            "hold what they prefetched, and what has an eta, in memory."
        )
        remedy = "Stop the old workers warm (SIGTERM), and wait: what they hold goes back to its queue."
        yield Finding(AREA, "unacknowledged messages", WARN, sentence, remedy)


def _queues(channel: Any, now: datetime) -> list[str]:
    """Return the queues that this project, its workers, or kombu's bindings in Redis know."""
    names = {str(current_app.conf.task_default_queue), "celery", *current_app.amqp.queues}
    names |= {queue for worker in obstacles.alive(now) for queue in worker.queues}
    names |= set(Job.objects.order_by("queue").values_list("queue", flat=True).distinct()[:1_000])
    for key in channel.client.scan_iter(match="_kombu.binding.*", count=1_000):
        for member in channel.client.smembers(key):
            names.add(member.decode(errors="replace").rpartition(channel.sep)[2])
    return [name for name in names if name and not name.endswith((".pidbox", ".celery.pidbox"))]


def _without_job(channel: Any, queue: str) -> Counter[str]:
    """Return how many messages of a queue have no job, by what they are: JSON with a task, or something else."""
    counts: Counter[str] = Counter()
    for step in channel.priority_steps:
        for item in channel.client.lrange(channel._q_for_pri(queue, step), 0, READ - 1):
            try:
                message = json.loads(item)
                if FENCE_HEADER in message["headers"]:
                    continue
                readable = message["content-type"] == "application/json" and "task" in message["headers"]
            except (ValueError, KeyError, TypeError):
                readable = False
            counts["message" if readable else "unreadable"] += 1
    return counts


def _of_queue(queue: str, counts: Counter[str], *, is_served: bool) -> Iterator[Finding]:
    waiting, unreadable = counts["message"], counts["unreadable"]
    if waiting and not conf().adopt_foreign:
        sentence = f"{waiting} message(s) of plain Celery wait in the queue {queue!r} and would be dropped."
        yield Finding(
            AREA, f"queue {queue}", FAIL, sentence, "Set JADWAL_ADOPT_FOREIGN=1 until they are gone."
        )
    elif waiting:
        sentence = (
            f"{waiting} message(s) of plain Celery wait in the queue {queue!r}: each becomes a job when a "
            "worker receives it."
        )
        remedy = "" if is_served else f"Start a worker with -Q {queue}, or let the old ones finish."
        yield Finding(AREA, f"queue {queue}", OK if is_served else WARN, sentence, remedy)
    if unreadable:
        sentence = (
            f"{unreadable} message(s) in the queue {queue!r} are pickled, of the old protocol or no messages "
            "at all: they would go into quarantine."
        )
        yield Finding(AREA, f"queue {queue}", FAIL, sentence, "Let the old workers finish them first.")


def _workers(now: datetime) -> Iterator[Finding]:
    """Workers of plain Celery on the same Redis: they would take our messages, which carry no arguments."""
    try:
        answers = current_app.control.inspect(timeout=1.0).ping() or {}
    except BROKER_ERRORS:
        return
    ours = {worker.name for worker in obstacles.alive(now)}
    yield from about(
        AREA, "other workers", FAIL, sorted(set(answers) - ours),
        "{n} worker(s) on this Redis are not of Jadwal: a message that they take from a queue of ours has no "
        "arguments, and runs wrongly or not at all: {names}.",
        "Stop them before ours start, or give Jadwal another database number in REDIS_URL.",
    )  # fmt: skip


# --- Other schedulers ---------------------------------------------------------------------------------


def _redbeat() -> Iterator[Finding]:
    # None is no answer, which was said before.
    entries = [one for one in translating.from_redbeat() or () if not is_cleanup(one)]
    stored = set(
        PeriodicTask.objects.filter(name__in=[one.name for one in entries]).values_list("name", flat=True)
    )
    yield from about(
        OTHERS, "RedBeat in rows", OK, [one.name for one in entries if one.name in stored],
        "{n} entries of RedBeat are in the database too. The rows are what counts: {names}.",
    )  # fmt: skip
    entries = [one for one in entries if one.name not in stored]
    yield from about(
        OTHERS, "RedBeat", FAIL, [one.name for one in entries if one.declaration],
        "{n} entries of RedBeat are in Redis, which nothing here reads: {names}.",
        "Take them over: 'manage.py doctor --migrate --declare', then 'manage.py schedules apply -f -'.",
    )  # fmt: skip
    for one in entries:
        if one.declaration is None:
            sentence = f"The entry {one.name!r} of RedBeat cannot be taken over: {one.why}."
            remedy = "Make a schedule of the same name."
            yield Finding(OTHERS, "RedBeat", FAIL, sentence, remedy, (one.name,))


def _apscheduler() -> Iterator[Finding]:
    tables = [name for name in connection.introspection.table_names() if name in APSCHEDULER]
    for table in tables:
        with connection.cursor() as cursor:
            cursor.execute(
                f"SELECT id FROM {connection.ops.quote_name(table)} ORDER BY next_run_time NULLS LAST"  # noqa: S608
            )
            names = [row[0] for row in cursor.fetchall()]
        yield from about(
            OTHERS, "APScheduler", FAIL, names,
            f"{{n}} job(s) of APScheduler are in the table {table}, which nothing here reads (they are "
            "pickled): {names}.",
            "Make a task of each function, and a schedule: see docs/migrating.md.",
        )  # fmt: skip
