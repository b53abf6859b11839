"""Schedules that files declare, and what is wrong with them as far as it shows without the database."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from django.core.exceptions import ValidationError

from jobs.engine import editing
from jobs.engine.declared import COLUMNS, wanted_state
from jobs.engine.editing import EditError
from jobs.models import Schedule
from jobs.rules import dependencies
from jobs.rules.declaration import Declaration
from jobs.rules.dependencies import DependencyCycle


@dataclass(frozen=True, slots=True)
class Entry:
    """A declared schedule: who owns it, and where it is written, for messages."""

    where: str
    manager: str
    declaration: Declaration


@dataclass(frozen=True, slots=True)
class Problem:
    """Why an entry is refused. A conflict is about who owns a schedule, not about what it says."""

    where: str
    sentence: str
    conflict: bool = False


def check(entries: Sequence[Entry]) -> list[Problem]:
    """Return what is wrong with the entries as far as it shows without the database."""
    problems = []
    counts = Counter(entry.declaration.name for entry in entries)
    for entry in entries:
        declaration = entry.declaration
        if counts[declaration.name] > 1:
            others = ", ".join(
                other.where
                for other in entries
                if other.declaration.name == declaration.name and other is not entry
            )
            problems.append(Problem(entry.where, f"The name is declared more than once: also at {others}."))
        try:
            editing.check_task(declaration.task)
            settings = declaration.settings
            editing.check_arguments(
                declaration.task,
                settings.get("args", []),
                settings.get("kwargs", {}),
                settings.get("headers", {}),
            )
            _check_columns(declaration)
        except EditError as exc:
            problems.append(Problem(entry.where, str(exc)))
    return problems + _check_cycles_within(entries)


def _check_columns(declaration: Declaration) -> None:
    """Raise `EditError` for a value that its column cannot hold."""
    state = wanted_state(declaration)
    policy = Schedule(**{name: state[name] for name in COLUMNS})
    others = {item.name for item in Schedule._meta.get_fields() if item.concrete} - set(COLUMNS)
    try:
        policy.clean_fields(exclude=others)
    except ValidationError as exc:
        raise EditError(editing.sentence(exc)) from exc


def _check_cycles_within(entries: Sequence[Entry]) -> list[Problem]:
    edges = {
        entry.declaration.name: [entry.declaration.settings["after"].schedule]
        for entry in entries
        if entry.declaration.settings.get("after")
    }
    try:
        dependencies.check(edges)
    except DependencyCycle as exc:
        where = {entry.declaration.name: entry.where for entry in entries}
        return [Problem(where[exc.cycle[0]], str(exc))]
    return []
