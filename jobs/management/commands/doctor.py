"""`manage.py doctor`: what is wrong, and what to do about it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

from typer import Option

from jobs.cli import views
from jobs.cli.base import NounCommand, verb
from jobs.cli.failures import FAILED, UNREACHABLE, Failure, usage
from jobs.insight.doctoring import FAIL, WARN, examine


class Command(NounCommand):
    """Look at everything that has to work; exit 1 if something does not, 5 without a database.

    With --migrate, look at what a move from another scheduler changes; exit 1 if something would not run.
    """

    @verb("handle")
    def handle(
        self,
        migrate: Annotated[
            bool, Option("--migrate", help="Say what a move from another scheduler changes, here.")
        ] = False,
        declare: Annotated[
            bool, Option("--declare", help="With --migrate: what `schedules apply -f -` takes.")
        ] = False,
        years: Annotated[
            float, Option("--years", min=0.01, max=20, help="With --migrate: how far to compare times.")
        ] = 1,
    ) -> None:
        """Check the servers, the schedulers, the workers and the schedules."""
        if declare and not migrate:
            raise usage("--declare is a part of --migrate: give both.")
        if migrate:
            self._migrate(declare=declare, years=years)
        else:
            self._examine()

    def _migrate(self, *, declare: bool, years: float) -> None:
        from jobs.cli import migrating
        from jobs.engine.clock import database_now

        if declare:
            migrating.declare(self.out)
        else:
            migrating.report(self.out, database_now().replace(microsecond=0), years)

    def _examine(self) -> None:
        checks, has_database = examine(lambda: datetime.now(UTC))
        self.out.items([check.document() for check in checks], views.CHECKS)
        failed = [check for check in checks if check.status == FAIL]
        if not has_database:
            raise Failure(f"{failed[0].sentence} {failed[0].remedy}", UNREACHABLE)
        if failed:
            raise Failure(f"{len(failed)} of {len(checks)} checks failed: see what to do above.", FAILED)
        warned = sum(check.status == WARN for check in checks)
        self.out.note(f"{len(checks)} checks, nothing fails" + (f", {warned} warning(s)" if warned else ""))
