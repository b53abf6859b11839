"""System checks: settings that would do harm are refused before anything starts."""

from collections.abc import Sequence
from typing import Any

from django.apps import AppConfig
from django.core import checks

from jobs.conf import (
    DEFAULT_RETENTION_DAYS,
    read_retention,
    read_schedulable,
    read_sizes,
    retention_setting,
)

HINT = "Set JADWAL_RETENTION_<KIND>_DAYS, or leave it out for the default."


@checks.register
def retention(app_configs: Sequence[AppConfig] | None, **_: Any) -> list[checks.CheckMessage]:
    """Refuse a retention that makes no sense: nothing may be deleted earlier than somebody meant."""
    _kept, problems = read_retention(retention_setting())
    return [checks.Error(problem, hint=HINT, id="jobs.E001") for problem in problems]


@checks.register(deploy=True)
def short_retention(app_configs: Sequence[AppConfig] | None, **_: Any) -> list[checks.CheckMessage]:
    """Say where history is deleted earlier than by default: it may be meant, but it is never silent."""
    kept, _problems = read_retention(retention_setting())
    return [
        checks.Warning(
            f"The retention of {kind!r} is {kept[kind].days} day(s), shorter than the default of {default}.",
            id="jobs.W001",
        )
        for kind, default in sorted(DEFAULT_RETENTION_DAYS.items())
        if kind in kept and kept[kind].days < default
    ]


@checks.register
def scheduling(app_configs: Sequence[AppConfig] | None, **_: Any) -> list[checks.CheckMessage]:
    """Refuse words of JADWAL_SCHEDULABLE that name nothing, and sizes that make no sense."""
    _listed, unread = read_schedulable()
    _sizes, wrong = read_sizes()
    return [
        *(checks.Error(problem, id="jobs.E002") for problem in unread),
        *(checks.Error(problem, id="jobs.E003") for problem in wrong),
    ]
