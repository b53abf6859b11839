"""What a move to Jadwal changes, for this database and this code.

For a project that ran Celery with another scheduler until now. The rows of django-celery-beat are followed
by `legacy`, instant by instant; the other findings are about whole groups.
"""

from __future__ import annotations

from datetime import datetime

from django.db import connection
from django.db.migrations.executor import MigrationExecutor

from jobs.insight import migrating_code, migrating_elsewhere, migrating_rows
from jobs.insight.findings import FAIL, Advance, Finding, about


def examine(now: datetime, *, years: float, advance: Advance = lambda _: None) -> list[Finding]:
    """Look at the rows, the tasks, the settings, Redis, and what other schedulers have left.

    Before every migration is applied there is nothing to look at, and only that is said.
    Crontabs are compared over the next `years`. Raises what the database raises.
    """
    if missing := _not_applied():
        return missing
    return [
        *migrating_rows.findings(now, years=years, advance=advance),
        *migrating_code.of_tasks(now),
        *migrating_code.of_settings(),
        *migrating_elsewhere.findings(now),
    ]


def _not_applied() -> list[Finding]:
    executor = MigrationExecutor(connection)
    plan = executor.migration_plan(executor.loader.graph.leaf_nodes())
    steps = [f"{step.app_label}.{step.name}" for step, backwards in plan if not backwards]
    sentence = "{n} migration(s) are not applied, and nothing was looked at: {names}."
    return list(about("database", "migrations", FAIL, steps, sentence, "Run 'manage.py migrate'."))
