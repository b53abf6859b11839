"""What a move to Jadwal changes, for this database and this code.

For a project that ran Celery with another scheduler until now. The rows of django-celery-beat are followed
by `legacy`, instant by instant; the other findings are about whole groups.
"""

from __future__ import annotations

from datetime import datetime

from jobs.insight import migrating_code, migrating_elsewhere, migrating_rows
from jobs.insight.findings import Advance, Finding


def examine(now: datetime, *, years: float, advance: Advance = lambda _: None) -> list[Finding]:
    """Look at the rows, the tasks, the settings, Redis, and what other schedulers have left.

    Crontabs are compared over the next `years`. Raises what the database raises.
    """
    return [
        *migrating_rows.findings(now, years=years, advance=advance),
        *migrating_code.of_tasks(now),
        *migrating_code.of_settings(),
        *migrating_elsewhere.findings(now),
    ]
