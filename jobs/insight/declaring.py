"""Stored schedules as the documents that would declare them, and what is wrong with those stored."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import groupby
from typing import Any

from django.db.models import QuerySet

from jobs.engine import editing
from jobs.engine.compiling import CompileError, compile_schedule
from jobs.engine.declared import PAYLOAD, WITH_ROWS, document, stored_limits, stored_state
from jobs.engine.editing import EditError
from jobs.models import Schedule

Document = dict[str, Any]


def stored(names: Iterable[str] = (), manager: str | None = None) -> QuerySet[Schedule]:
    """Return the schedules of these names, or all; those of one manager, or of any; by owner and name."""
    rows = Schedule.objects.select_related(*WITH_ROWS).order_by("manager", "periodic_task__name")
    chosen = list(names)
    if chosen:
        rows = rows.filter(periodic_task__name__in=chosen)
    return rows if manager is None else rows.filter(manager=manager)


def documents(schedules: Iterable[Schedule]) -> list[Document]:
    """Return one document per manager. Those that nobody manages have none with a manager."""
    rows = sorted(schedules, key=lambda row: (row.manager, str(row)))
    limits = stored_limits()
    return [
        {
            **({"manager": manager} if manager else {}),
            "schedules": [document(str(row), stored_state(row, limits)) for row in owned],
        }
        for manager, owned in groupby(rows, key=lambda row: row.manager)
    ]


def payload_of(schedule: Schedule) -> Document:
    """Return the arguments and headers that are stored, secrets included."""
    state = stored_state(schedule, {})
    return {key: state[key] for key in PAYLOAD}


def problems_of(schedule: Schedule) -> list[str]:
    """Return what keeps a stored schedule from working, a sentence each.

    It is compiled anew, so that an edit that no beat has seen yet counts, and its task is looked up, with
    its arguments, in the code that is here.
    """
    problems = []
    arguments = stored_state(schedule, {})
    task = schedule.periodic_task.task
    try:
        compile_schedule(schedule)
    except CompileError as exc:
        problems.append(str(exc))
    try:
        editing.check_task(task)
        if isinstance(arguments["args"], list) and isinstance(arguments["kwargs"], dict):
            editing.check_arguments(task, arguments["args"], arguments["kwargs"])
    except EditError as exc:
        problems.append(str(exc))
    return problems
