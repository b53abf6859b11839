"""What a move changes for the tasks and the settings of the code that is here."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

from celery import current_app
from django.conf import settings
from django.db import connection
from django_celery_beat.models import PeriodicTask

from jobs.conf import conf
from jobs.engine.compiling import queue_for
from jobs.engine.registry import load_tasks
from jobs.insight import obstacles, translating
from jobs.insight.findings import FAIL, OK, WARN, Finding, about

CLEANUP = "celery.backend_cleanup"
"""What Celery's own beat adds to every database: it deletes old results."""

TASKS, SETTINGS = "tasks", "settings"

APPLICATION = "jobs.runtime.app:DurableCelery"
OURS = {
    "result_backend": (
        "jobs.runtime.results:DurableBackend", FAIL, "the end of a job and its result would not be one commit"
    ),
    "beat_scheduler": ("jobs.runtime.beat:DurableScheduler", FAIL, "'celery beat' would start another scheduler"),
    "worker_pool": ("jobs.runtime.pool:DurablePool", WARN, "not every job can be stopped with all it has started"),
    "worker_consumer": (
        "jobs.runtime.consumer:DurableConsumer", WARN, "a worker finds a broker late that was away for long"
    ),
}  # fmt: skip
"""Settings that name a class of ours: which, how bad another one is, and why."""

Tasks = Mapping[str, Any]


# --- Tasks --------------------------------------------------------------------------------------------


def of_tasks(now: datetime) -> Iterator[Finding]:
    """Yield what is otherwise for the registered tasks, those of Celery and of the platform left out."""
    load_tasks()
    tasks = {
        name: task
        for name, task in sorted(current_app.tasks.items())
        if not name.startswith("celery.") and not type(task).__module__.startswith("jobs.")
    }
    yield from about(
        TASKS, "task class", FAIL, [name for name, task in tasks.items() if not _is_durable(task)],
        "{n} task(s) are of a class that does not know jobs, and run without arguments: {names}.",
        f"Make them with an application of the class {APPLICATION}.",
    )  # fmt: skip
    yield from _delivery(tasks)
    yield from _retries(tasks)
    yield from _limits(tasks)
    yield from _queues(tasks, now)


def _is_durable(task: Any) -> bool:
    """Whether it is of the platform's task class: by what it can do, because that class is not for here."""
    return hasattr(task, "attempts_allowed")


def _delivery(tasks: Tasks) -> Iterator[Finding]:
    early = [name for name, task in tasks.items() if not task.acks_late]
    late = [name for name, task in tasks.items() if task.acks_late]
    yield from about(
        TASKS, "at least once", WARN, early,
        "{n} task(s) have no acks_late, so Celery ran them at most once. Here a job whose worker dies runs "
        "again, up to three times: {names}.",
        "Make a second run harmless: see 'Idempotency' in docs/writing-tasks.md.",
    )  # fmt: skip
    yield from about(
        TASKS, "acks_late", OK, late,
        "{n} task(s) have acks_late, and reject_on_worker_lost perhaps: neither has a say. A job whose worker "
        "dies runs again, up to three times, and then is a dead letter: {names}.",
    )  # fmt: skip
    pickled = [name for name, task in tasks.items() if task.serializer not in (None, "json")]
    yield from about(
        TASKS, "serializer", FAIL, pickled,
        "{n} task(s) ask for another serializer than JSON, which is the only one: a call whose arguments "
        "JSON cannot hold is refused: {names}.",
        "Pass ids and plain values. Dates, UUIDs and Decimals come back as they were.",
    )  # fmt: skip
    yield from about(
        TASKS, "ignore_result", OK, [name for name, task in tasks.items() if task.ignore_result],
        "{n} task(s) keep no result, as before; how their jobs ended can be seen all the same.",
    )  # fmt: skip
    yield from about(
        TASKS, "track_started", OK, [name for name, task in tasks.items() if task.track_started],
        "{n} task(s) have track_started: their results say STARTED, as before. A job is `active` without it.",
    )  # fmt: skip


def _retries(tasks: Tasks) -> Iterator[Finding]:
    silent = [
        name
        for name, task in tasks.items()
        if _is_durable(task) and not task.leaves_retries_to_celery() and task.max_attempts is None
    ]
    most = conf().max_attempts
    if most > 1:
        yield from about(
            TASKS, "retries", WARN, silent,
            "{n} task(s) do not say which errors are worth another try. Celery fails them at once; here an "
            f"error is tried again, {most} attempts in all: {{names}}.",
            "JADWAL_MAX_ATTEMPTS=1, or max_attempts=1 of a task, is Celery's way.",
        )  # fmt: skip
    yield from about(
        TASKS, "autoretry_for", OK, [name for name, task in tasks.items() if getattr(task, "autoretry_for", ())],
        "{n} task(s) have autoretry_for, which keeps its meaning; a retry is a row, and no worker holds it.",
    )  # fmt: skip


def _limits(tasks: Tasks) -> Iterator[Finding]:
    hard, soft = current_app.conf.task_time_limit, current_app.conf.task_soft_time_limit
    default = ((None, None), (hard, soft))  # Celery gives a task the default ones when it is bound
    silent = [name for name, task in tasks.items() if (task.time_limit, task.soft_time_limit) in default]
    yield from about(
        TASKS, "time limits", WARN, silent,
        f"{{n}} task(s) have no time limit: theirs is {soft or hard} s (soft) and {hard} s (hard): {{names}}.",
        "Give longer ones their own: @shared_task(time_limit=..., soft_time_limit=...).",
    )  # fmt: skip
    yield from about(
        TASKS, "rate_limit", OK, [name for name, task in tasks.items() if task.rate_limit],
        "{n} task(s) have a rate_limit: it holds for each worker alone, as before: {names}.",
        "A limit for all workers together: 'manage.py queues limit QUEUE --rate 5'.",
    )  # fmt: skip


def _queues(tasks: Tasks, now: datetime) -> Iterator[Finding]:
    served = {queue for worker in obstacles.alive(now) for queue in worker.queues}
    wanted: dict[str, list[str]] = {}
    for name in tasks:
        wanted.setdefault(queue_for(name), []).append(name)
    for queue, names in sorted(wanted.items()):
        if queue not in served:
            yield from about(
                TASKS, f"queue {queue}", WARN, names,
                f"{{n}} task(s) go to the queue {queue!r}, and no worker of Jadwal takes jobs from there: "
                "{names}.",
                f"Start one: 'celery -A PROJECT worker -Q {queue}'.",
            )  # fmt: skip


# --- Settings -----------------------------------------------------------------------------------------


def of_settings() -> Iterator[Finding]:
    """Yield the settings that must be otherwise, that mean something else, or that have no say."""
    yield from _must_be()
    yield from _have_no_say()
    yield from _beat_schedule()


def _setting(name: str, status: str, sentence: str, remedy: str = "") -> Finding:
    return Finding(SETTINGS, name, status, sentence, remedy, (name,))


def _must_be() -> Iterator[Finding]:
    celery = current_app.conf
    if connection.vendor != "postgresql":
        sentence = f"The database is {connection.vendor}: it must be PostgreSQL."
        yield _setting(
            "DATABASES", FAIL, sentence, "Move the data first: 'dumpdata' and 'loaddata', or pgloader."
        )
    if not settings.USE_TZ:
        yield _setting("USE_TZ", FAIL, "Django keeps naive times, which are not instants.", "USE_TZ = True")
    if not any(cls.__name__ == "DurableCelery" for cls in type(current_app._get_current_object()).__mro__):
        sentence = "The Celery application is a plain one: its calls are messages without jobs."
        yield _setting("application", FAIL, sentence, f"app = DurableCelery(...), from {APPLICATION}.")
    for name, (wanted, status, why) in OURS.items():
        value = str(celery.get(name) or "")
        if value.replace(":", ".") != wanted.replace(":", "."):
            yield _setting(
                name, status, f"{name} is {value!r}: {why}.", f"CELERY_{name.upper()} = {wanted!r}"
            )
    if celery.task_always_eager:
        sentence = "Calls run where they are made: no job is made, nothing is kept or tried again."
        yield _setting("task_always_eager", FAIL, sentence, "Set it in tests only.")
    scheme = str(celery.broker_url or "").partition(":")[0]
    if scheme not in ("redis", "rediss"):
        sentence = f"The broker is {scheme or 'not named'}: it must be Redis."
        yield _setting(
            "broker_url", FAIL, sentence, "Start a Redis, and let the old workers empty the old broker."
        )
    if not celery.task_time_limit:
        sentence = "There is no default time limit, and every job must have one."
        yield _setting("task_time_limit", FAIL, sentence, "CELERY_TASK_TIME_LIMIT = 3600")
    if celery.task_serializer != "json" or set(celery.accept_content) - {"json", "application/json"}:
        sentence = "Another serializer than JSON is named: jobs are JSON, and other messages are refused."
        yield _setting("task_serializer", WARN, sentence, 'CELERY_ACCEPT_CONTENT = ["json"]')
    if celery.task_publish_retry:
        sentence = "A call hangs while Redis is away, which it need not: what is not sent is sent later."
        yield _setting("task_publish_retry", WARN, sentence, "CELERY_TASK_PUBLISH_RETRY = False")


_NO_SAY = {
    "task_acks_late": "Messages are acknowledged when they are received; what protects a job is its row.",
    "task_reject_on_worker_lost": "A job whose worker dies runs again by its row.",
    "worker_prefetch_multiplier": "A worker takes as much ahead as its children do in a moment, and no more.",
    "result_expires": "Results are deleted with their jobs: JADWAL_RETENTION_COMPLETED_DAYS and the others.",
    "beat_cron_starting_deadline": "A schedule's catch-up window and deadline say how late it may start.",
    "beat_max_loop_interval": "Beat waits for the next time that is due, and is woken by an edit.",
    "beat_sync_every": "Beat keeps nothing in memory that would have to be written back.",
    "worker_deduplicate_successful_tasks": "A message of a job that is done starts nothing, without it.",
}


def _have_no_say() -> Iterator[Finding]:
    changed = _changed()
    for name, why in _NO_SAY.items():
        if changed.get(name) and (name != "worker_prefetch_multiplier" or changed[name] != 1):
            yield _setting(name, OK, f"{name} = {changed[name]!r} has no say. {why}")
    options = current_app.conf.broker_transport_options or {}
    if "visibility_timeout" in options:
        sentence = (
            "The visibility timeout has no say: eta and countdown are rows, however far away, and a worker "
            "holds no message that it has not begun."
        )
        yield _setting("broker_transport_options.visibility_timeout", OK, sentence)
    if current_app.conf.task_ignore_result:
        sentence = "No result is stored, as before; how a job ended can be seen all the same."
        yield _setting("task_ignore_result", OK, sentence)


def _changed() -> dict[str, Any]:
    """Return the settings of Celery that this project sets."""
    prefix = current_app.namespace or "CELERY"
    names = ((name, f"{prefix}_{name.upper()}") for name in _NO_SAY)
    return {name: getattr(settings, long) for name, long in names if hasattr(settings, long)}


def _beat_schedule() -> Iterator[Finding]:
    declared, cleaning = _declared()
    stored = set(PeriodicTask.objects.filter(name__in=declared).values_list("name", flat=True))
    yield from about(
        SETTINGS, "beat_schedule", FAIL, [name for name in declared if name not in stored],
        "{n} schedule(s) are in the code only (beat_schedule, add_periodic_task), and beat reads the database: "
        "{names}.",
        "Take them over: 'manage.py doctor --migrate --declare', then 'manage.py schedules apply -f -'.",
    )  # fmt: skip
    yield from about(
        SETTINGS, "beat_schedule in rows", WARN, [name for name in declared if name in stored],
        "{n} schedule(s) are in the code and in the database. The rows are what counts: a change of the code "
        "does not reach them any more: {names}.",
        "Take them out of the code; files are for that: docs/declaring-schedules.md.",
    )  # fmt: skip
    yield from about(
        SETTINGS, "clean-up in beat_schedule", WARN, cleaning,
        "Results are deleted with their jobs: {names} has nothing to do, and is not taken over.",
        "Take it out of the code.",
    )  # fmt: skip


def _declared() -> tuple[list[str], list[str]]:
    """Return the names in `beat_schedule`, those that only delete old results apart."""
    declared: list[str] = []
    cleaning: list[str] = []
    for one in translating.from_code():
        (cleaning if is_cleanup(one) else declared).append(one.name)
    return declared, cleaning


def is_cleanup(entry: translating.Entry) -> bool:
    """Whether an entry of other code is Celery's deletion of old results, which nothing needs here."""
    return entry.declaration is not None and entry.declaration["task"] == CLEANUP
