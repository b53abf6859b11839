"""`manage.py forecast`: what the next days will ask of the workers."""

from __future__ import annotations

from typing import Annotated

from typer import Option

from jobs.cli import views
from jobs.cli.base import NounCommand, verb
from jobs.engine.clock import database_now
from jobs.insight.forecasting import look_ahead


class Command(NounCommand):
    """Foretell how full the queues will be, from all schedules and how long their jobs took so far."""

    @verb("handle")
    def handle(
        self,
        days: Annotated[int, Option("--days", metavar="N", min=1, max=31, help="How far to look.")] = 7,
    ) -> None:
        """Show the busiest minute of each queue, collisions, and schedules that take too long."""
        found = look_ahead(database_now(), days=days).document()
        if self.as_json:
            self.out.document(found)
            return
        self.out.items(found["queues"], views.FORECASTS, empty=f"Nothing starts within {days} day(s).")
        for warning in [*found["overruns"], *found["collisions"]]:
            self.out.line(warning["sentence"])
        if found["unmeasured"]:
            self.out.note(f"{found['unmeasured']} schedule(s) have not completed yet: they count as short")
        if found["extrapolated"]:
            self.out.note(f"{found['extrapolated']} schedule(s) fire often: their first period is repeated")
