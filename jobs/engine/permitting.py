"""Who may schedule which task, asked of the code that is here: on save, on run now, and at every claim.

`rules.permits` decides. Nothing is read from the database and nothing is remembered, so that a changed
setting, or a task that came with a new release, counts at once.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from functools import lru_cache
from typing import Any, Protocol

from celery import current_app
from django.apps import apps

from jobs.conf import conf
from jobs.engine import payload
from jobs.engine.registry import load_tasks
from jobs.rules import permits
from jobs.rules.permits import TaskFacts, Verdict

LOOK_AGAIN = timedelta(minutes=1)
"""A due schedule that may not run is looked at again after this: the setting, or the code, may have changed."""


class NotPermittedError(ValueError):
    """A schedule that may not run, or not for this user; the message says why in a sentence."""


class User(Protocol):
    """As much of a user as is asked for here."""

    def has_perm(self, perm: str) -> bool:
        """Whether the user has the permission `app.codename`."""
        ...


def is_known(task: str) -> bool:
    """Whether a task of this name is registered in the code that is here."""
    if task in current_app.tasks:
        return True
    load_tasks()
    return task in current_app.tasks


def facts(task: str) -> TaskFacts:
    """Return what is known of a task, whatever its name is."""
    of_celery = task.startswith("celery.")
    if not is_known(task):
        return TaskFacts(task, known=False, app=_app_named(task), of_celery=of_celery)
    registered = current_app.tasks[task]
    module = registered.__module__
    return TaskFacts(
        task,
        app=_app_of(module) or _app_named(task),
        of_celery=of_celery or module.partition(".")[0] == "celery",
        offer=permits.read_offer(getattr(registered, "schedulable", True)),
    )


@lru_cache(maxsize=10_000)
def _app_of(module: str) -> str:
    app = apps.get_containing_app_config(module)
    return app.label if app else ""


def _app_named(task: str) -> str:
    first = task.partition(".")[0]
    return first if first in apps.app_configs else ""


def judge(task: str) -> Verdict:
    """Return whether a task may be scheduled, and by whom."""
    return permits.judge(facts(task), conf().schedulable)


def refusal(user: User, task: str) -> str:
    """Return why `user` may not schedule `task`, in a sentence; empty where the user may."""
    verdict = judge(task)
    if verdict.objection or not verdict.permission or user.has_perm(verdict.permission):
        return verdict.objection
    return f"You may not schedule {task!r}: that takes the permission {verdict.permission}."


def offered(user: User | None = None) -> list[str]:
    """Return the tasks that may be scheduled, by `user` if one is given, in the order of their names.

    These are the registered ones, and those of other code that the setting names one by one.
    """
    load_tasks()
    names = set(current_app.tasks) | conf().schedulable.names
    if user is None:
        return sorted(name for name in names if not judge(name).objection)
    return sorted(name for name in names if not refusal(user, name))


class Gate:
    """Asks about many compiled schedules within one turn: about each task once."""

    def __init__(self) -> None:
        self._objections: dict[str, str] = {}
        self._most = conf().max_payload_bytes

    def obstacle(self, template: Mapping[str, Any], *, at_most: int | None = None) -> str:
        """Return why a compiled schedule may not make a job, in a sentence; empty where it may.

        `template` is what its jobs are born with. `at_most` is a number of bytes that its payload certainly
        does not exceed, where the caller knows one: then it need not be measured.
        """
        task = template["task"]
        objection = self._objections.get(task)
        if objection is None:
            objection = self._objections[task] = judge(task).objection
        if objection or (at_most is not None and at_most <= self._most):
            return objection
        try:
            payload.check_size(template["args"], template["kwargs"], template["headers"])
        except payload.PayloadTooLarge as exc:
            return str(exc)
        return ""


def obstacle(template: Mapping[str, Any]) -> str:
    """Return why one compiled schedule may not make a job, in a sentence; empty where it may."""
    return Gate().obstacle(template)


def ensure(template: Mapping[str, Any]) -> None:
    """Raise `NotPermittedError` if a compiled schedule may not make a job."""
    why = obstacle(template)
    if why:
        raise NotPermittedError(why)


def ensure_task(task: str) -> None:
    """Raise `NotPermittedError` if nobody may schedule `task`."""
    objection = judge(task).objection
    if objection:
        raise NotPermittedError(objection)


def why_not_adopted(task: str) -> str:
    """Return why a message of another program that names `task` starts nothing; empty where it may."""
    if permits.may_be_called(facts(task), conf().schedulable):
        return ""
    return f"{task!r} is a task of Celery itself, and {permits.SETTING} does not name it"
