"""Who may schedule what: what the tests of it share."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from celery import current_app
from django.db import connection
from django_celery_beat.models import PeriodicTask

from jobs.models import Schedule
from tests.jobs import tasks  # noqa: F401  (registers `tests.add`)

REPORT = "billing.daily_sales_report"
CLEANUP = "celery.backend_cleanup"
ELSEWHERE = "warehouse.count"
BUILT_IN = "it is a task of Celery itself; name it in JADWAL_SCHEDULABLE to allow it."

Allow = Callable[..., None]


@pytest.fixture
def allow(settings: Any) -> Allow:
    """Sets JADWAL_SCHEDULABLE, as a restart with another environment would. At first it names nothing."""

    def allow(*words: str) -> None:
        settings.JADWAL = {**settings.JADWAL, "SCHEDULABLE": list(words)}

    allow()
    return allow


@pytest.fixture
def kept_back() -> Iterator[str]:
    """A task that its app offers to nobody."""
    name = "billing.kept_back"

    @current_app.task(name=name, schedulable=False)  # type: ignore[untyped-decorator]
    def keep() -> None:
        """Nothing."""

    assert name in current_app.tasks
    yield name
    current_app.tasks.pop(name)


def stored() -> list[Any]:
    return [*PeriodicTask.objects.order_by("pk").values(), *Schedule.objects.order_by("pk").values()]


def fresh(schedule: Schedule) -> Schedule:
    return Schedule.objects.select_related("periodic_task").get(pk=schedule.pk)


def by_sql(schedule: Schedule, task: str) -> Schedule:
    """Change the task as nobody can check."""
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE django_celery_beat_periodictask SET task = %s WHERE id = %s", [task, schedule.pk]
        )
    return fresh(schedule)
