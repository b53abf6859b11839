"""Who may schedule which task: one decision, made on save and again when a schedule becomes due.

A schedule is a name of a task and arguments, written by somebody, and run later with the rights of a worker.
So a task is only run by a schedule if an app of the project offers it, or the operator names it.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

SETTING = "JADWAL_SCHEDULABLE"
PLATFORM = "jobs"
"""The app that answers for tasks of no app: its permission is needed for those that the setting names."""
CODENAME = "schedule_tasks"
"""The permission of each app that defines tasks: `billing.schedule_tasks`."""


class Offer(StrEnum):
    """Whom a task is offered to, by its author (`@shared_task(schedulable=...)`)."""

    APP = "app"
    """Whoever has the permission of its app: what is not said."""
    ANYONE = "anyone"
    """Whoever may edit schedules."""
    NOBODY = "nobody"


def read_offer(value: object) -> Offer:
    """Return what the attribute `schedulable` of a task means. A word that nobody knows opens nothing."""
    if value is False or value == Offer.NOBODY:
        return Offer.NOBODY
    return Offer.ANYONE if value == Offer.ANYONE else Offer.APP


@dataclass(frozen=True, slots=True)
class Listed:
    """What the setting names: tasks, and beginnings of names that end in a dot."""

    names: frozenset[str] = frozenset()
    prefixes: tuple[str, ...] = ()

    def __contains__(self, task: str) -> bool:
        return task in self.names or (bool(self.prefixes) and task.startswith(self.prefixes))


def read_listed(words: Iterable[str]) -> tuple[Listed, list[str]]:
    """Return what the words of the setting name, and a sentence for each word that makes no sense.

    Such a word names nothing: a slip of the pen never opens more than was meant.
    """
    names, prefixes, problems = set(), set(), []
    for word in filter(None, (word.strip() for word in words)):
        stem = word.removesuffix(".*")
        if not stem or "*" in stem or any(letter.isspace() for letter in stem) or stem.endswith("."):
            problems.append(
                f"{SETTING} has {word!r}, which names nothing: write the name of a task, or prefix.* "
                "for all that begin so."
            )
        elif stem != word:
            prefixes.add(f"{stem}.")
        else:
            names.add(word)
    return Listed(frozenset(names), tuple(sorted(prefixes))), problems


@dataclass(frozen=True, slots=True)
class TaskFacts:
    """What is known of a task by its name."""

    name: str
    known: bool = True
    """Whether the code that is here has it. Workers of other code may have it all the same."""
    app: str = ""
    """Label of the Django app that it belongs to; empty for none."""
    of_celery: bool = False
    offer: Offer = Offer.APP


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a task may be scheduled: an objection holds for everybody, a permission is asked of a user."""

    objection: str = ""
    """Why nobody may, in a sentence that says what to do; empty where somebody may."""
    permission: str = ""
    """What a user needs, as `app.codename`; empty where everybody who edits schedules may."""


def judge(task: TaskFacts, listed: Listed) -> Verdict:
    """Decide about one task. What an author keeps back, no setting opens."""
    if task.offer is Offer.NOBODY:
        return Verdict(_no(task, "its author offers it to nobody (schedulable=False)"))
    if task.name not in listed:
        why = _why_unlisted(task)
        if why:
            return Verdict(_no(task, why))
    if task.offer is Offer.ANYONE:
        return Verdict()
    return Verdict(permission=f"{task.app or PLATFORM}.{CODENAME}")


def may_be_called(task: TaskFacts, listed: Listed) -> bool:
    """Whether a message of another program may name this task: Celery's own only if they are listed."""
    return not task.of_celery or task.name in listed


def _why_unlisted(task: TaskFacts) -> str:
    if task.of_celery:
        return f"it is a task of Celery itself; name it in {SETTING} to allow it"
    if not task.known:
        elsewhere = f"name it in {SETTING} if only workers of other code have it"
        return f"no such task is registered here; correct the name, or {elsewhere}"
    if not task.app:
        return f"it belongs to no app of this project; name it in {SETTING} to allow it"
    return ""


def _no(task: TaskFacts, why: str) -> str:
    return f"Nobody may schedule {task.name!r}: {why}."
