"""Tasks of an ordinary Celery project: nothing in this module knows the platform.

They run in the worker of these tests (`celery worker -I tests.compatibility.tasks`). What happens in the
worker and has no result is noted in a file, a line of JSON for each event.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from typing import Any

from celery import Task, chain, current_app, group, shared_task, signals
from celery.exceptions import Ignore, Reject, SoftTimeLimitExceeded

NOTES = "COMPATIBILITY_NOTES"
"""The environment variable that names the file of notes."""


def note(event: str, task_id: str | None, **facts: Any) -> None:
    """Add an event to the file of notes."""
    if NOTES not in os.environ:
        return
    line = json.dumps({"event": event, "id": task_id, "at": time.time(), **facts}, default=str) + "\n"
    descriptor = os.open(os.environ[NOTES], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    try:
        os.write(descriptor, line.encode())
    finally:
        os.close(descriptor)


# --- Ordinary work -----------------------------------------------------------------------------------------


@shared_task(name="compat.add")
def add(x: float, y: float) -> float:
    return x + y


@shared_task(name="compat.total")
def total(numbers: list[float]) -> float:
    return sum(numbers)


@shared_task(name="compat.echo", bind=True)
def echo(self: Any, *args: Any, **kwargs: Any) -> dict[str, Any]:
    """Return the arguments, and what the task sees of its own request."""
    request = self.request
    return {
        "args": list(args),
        "kwargs": kwargs,
        "id": request.id,
        "name": self.name,
        "task": request.task,
        "retries": request.retries,
        "root_id": request.root_id,
        "parent_id": request.parent_id,
        "group": request.group,
        "shadow": request.shadow,
        "hostname": request.hostname,
        "eta": request.eta,
        "expires": request.expires,
        "timelimit": request.timelimit,
        "headers": request.headers,
        "stamps": request.stamps,
        "stamped_headers": request.stamped_headers,
        "reply_to": request.reply_to,
        "correlation_id": request.correlation_id,
        "routing_key": request.delivery_info["routing_key"],
        "priority": request.delivery_info.get("priority"),
        "called_directly": request.called_directly,
        "is_eager": request.is_eager,
        "origin": request.origin,
    }


@shared_task(name="compat.take_note", bind=True)
def take_note(self: Any, *args: Any) -> None:
    note("ran", self.request.id, args=args)


@shared_task(name="compat.sleep", bind=True)
def sleep(self: Any, seconds: float) -> str:
    note("began", self.request.id)
    time.sleep(seconds)
    note("ended", self.request.id)
    return "slept"


@shared_task(name="compat.fail", max_attempts=1)
def fail(text: str = "no") -> None:
    raise ValueError(text)


@shared_task(name="compat.fail_as_usual")
def fail_as_usual(text: str = "no") -> None:
    raise ValueError(text)


@shared_task(name="compat.quiet", ignore_result=True)
def quiet() -> str:
    return "nobody keeps this"


# --- Trying again ------------------------------------------------------------------------------------------


@shared_task(name="compat.third_time", bind=True, max_retries=5, default_retry_delay=0.1)
def third_time(self: Any, word: str) -> str:
    if self.request.retries < 2:
        note("try", self.request.id, word=word, retries=self.request.retries)
        raise self.retry(args=[word + "!"])
    return f"{word} after {self.request.retries}"


@shared_task(name="compat.gives_up", bind=True, max_retries=1)
def gives_up(self: Any, named: bool) -> None:
    try:
        raise KeyError("the cause")
    except KeyError as exc:
        raise self.retry(exc=exc if named else None, countdown=0.1)  # noqa: B904


@shared_task(
    name="compat.auto", bind=True, autoretry_for=(OSError,), dont_autoretry_for=(FileNotFoundError,),
    max_retries=2, default_retry_delay=0.1,
)  # fmt: skip
def auto(self: Any, kind: str) -> int:
    note("try", self.request.id, retries=self.request.retries)
    if kind == "once" and self.request.retries:
        return int(self.request.retries)
    raise {"once": OSError, "always": OSError, "missing": FileNotFoundError, "value": ValueError}[kind](kind)


@shared_task(name="compat.throws", throws=(LookupError,))
def throws() -> None:
    raise KeyError("expected")


@shared_task(name="compat.ignore", bind=True)
def ignore(self: Any, state: str | None = None) -> None:
    if state:
        self.update_state(state=state, meta={"done": 7})
    raise Ignore


@shared_task(name="compat.reject", bind=True)
def reject(self: Any, requeue: bool) -> str:
    from pathlib import Path

    before = Path(os.environ[NOTES]).read_text().count(f'"rejects", "id": "{self.request.id}"')
    note("rejects", self.request.id)
    if requeue and before:
        return f"taken after {before}"
    raise Reject("not today", requeue=requeue)


@shared_task(name="compat.progress", bind=True)
def progress(self: Any, seconds: float) -> str:
    self.update_state(state="PROGRESS", meta={"done": 1, "of": 2})
    note("began", self.request.id)
    time.sleep(seconds)
    return "done"


@shared_task(name="compat.soft", soft_time_limit=1, time_limit=20, max_attempts=1)
def soft() -> str:
    try:
        time.sleep(30)
    except SoftTimeLimitExceeded:
        return "cleaned up"
    return "never"


@shared_task(name="compat.hard", time_limit=1, max_attempts=1)
def hard() -> None:
    time.sleep(30)


@shared_task(name="compat.tracked", track_started=True, bind=True)
def tracked(self: Any, seconds: float) -> None:
    note("began", self.request.id)
    time.sleep(seconds)


@shared_task(name="compat.rated", bind=True, rate_limit="2/s")
def rated(self: Any) -> None:
    note("ran", self.request.id)


# --- Canvas from within ------------------------------------------------------------------------------------


@shared_task(name="compat.becomes", bind=True)
def becomes(self: Any, kind: str) -> Any:
    """Replace this task by another, by a chain, or by a group."""
    sig = {
        "task": lambda: add.s(1, 2),
        "chain": lambda: chain(add.s(1, 2), add.s(10)),
        "group": lambda: group(add.s(1, 2), add.s(3, 4)),
        "chord": lambda: chain(group(add.s(1, 2), add.s(3, 4)), total.s()),
    }[kind]()
    return self.replace(sig)


@shared_task(name="compat.spawns", bind=True)
def spawns(self: Any) -> str:
    """Call another task; the result names it among its children."""
    return str(add.delay(1, 2).id)


@shared_task(name="compat.on_error")
def on_error(task_id: str) -> None:
    """An error callback of the old style: it is a job, and gets the id of what failed."""
    note("error callback", task_id, style="old")


@shared_task(name="compat.on_error_new")
def on_error_new(request: Any, exc: Exception, traceback: Any) -> None:
    """An error callback of the new style: called at once, where the task failed."""
    note("error callback", request.id, style="new", error=repr(exc))


@shared_task(name="compat.on_error_bad")
def on_error_bad(request: Any, exc: Exception, traceback: Any) -> None:
    """An error callback that fails itself, in the database of all places."""
    from django.db import connection

    note("error callback", request.id, style="bad")
    with connection.cursor() as cursor:
        cursor.execute("SELECT no_such_column")


# --- Task classes ------------------------------------------------------------------------------------------


class Noting(Task):  # type: ignore[misc]
    """A base class as Celery's guide shows it: it derives from `celery.Task`."""

    abstract = True
    _connection: str | None = None

    @property
    def connection(self) -> str:
        """Something that is made once a process."""
        if self._connection is None:
            self._connection = f"connection of {os.getpid()}"
        return self._connection

    def before_start(self, task_id: str, args: Any, kwargs: Any) -> None:
        note("before_start", task_id, args=args)

    def on_success(self, retval: Any, task_id: str, args: Any, kwargs: Any) -> None:
        note("on_success", task_id, args=args, retval=retval)

    def on_failure(self, exc: Exception, task_id: str, args: Any, kwargs: Any, einfo: Any) -> None:
        note("on_failure", task_id, args=args, error=repr(exc), traceback=str(einfo))

    def on_retry(self, exc: Exception, task_id: str, args: Any, kwargs: Any, einfo: Any) -> None:
        note("on_retry", task_id, args=args, error=repr(exc))

    def after_return(
        self, status: str, retval: Any, task_id: str, args: Any, kwargs: Any, einfo: Any
    ) -> None:
        note("after_return", task_id, status=status)


@shared_task(name="compat.noting", bind=True, base=Noting, max_retries=1, max_attempts=1)
def noting(self: Any, how: str) -> str:
    if how == "retry":
        raise self.retry(args=["return"], countdown=0.1, exc=OSError("busy"))
    if how == "fail":
        raise ValueError("no")
    if how == "connection":
        return str(self.connection)
    return how


class Calling(Task):  # type: ignore[misc]
    """A base class with a `__call__` of its own: the usual place for what surrounds every task."""

    abstract = True

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        note("called", self.request.id)
        return f"<{super().__call__(*args, **kwargs)}>"


@shared_task(name="compat.calling", base=Calling)
def calling(x: int) -> int:
    return x * 2


@shared_task(name="compat.noting_hard", base=Noting, time_limit=1, max_attempts=1)
def noting_hard() -> None:
    time.sleep(30)


class Doubling(Task):  # type: ignore[misc]
    """A task that is a class, as Celery 1 had them."""

    name = "compat.doubling"

    def run(self, x: int) -> int:
        return x * 2

    @classmethod
    def named(cls) -> Any:
        """Return the registered task."""
        return current_app.tasks[cls.name]


current_app.register_task(Doubling())


# --- Signals -----------------------------------------------------------------------------------------------


def _noting(signal: str) -> Callable[..., None]:
    def receiver(sender: Any = None, **facts: Any) -> None:
        name = getattr(sender, "name", "")
        if not name.startswith("compat."):
            return
        request = facts.get("request")
        task_id = facts.get("task_id") or (request.id if request is not None else sender.request.id)
        more = {key: str(facts[key]) for key in ("state", "reason", "terminated", "expired") if key in facts}
        note(signal, task_id, task=name, **more)

    return receiver


for _signal in (
    "task_prerun", "task_postrun", "task_success", "task_failure", "task_retry", "task_revoked",
):  # fmt: skip
    getattr(signals, _signal).connect(_noting(_signal), weak=False)
