"""`manage.py doctor`: what is wrong, and what to do about it."""

from __future__ import annotations

from datetime import UTC, datetime

from jobs.cli import views
from jobs.cli.base import NounCommand, verb
from jobs.cli.failures import FAILED, UNREACHABLE, Failure
from jobs.insight.doctoring import FAIL, WARN, examine


class Command(NounCommand):
    """Look at everything that has to work; exit 1 if something does not, 5 without a database."""

    @verb("handle")
    def handle(self) -> None:
        """Check the servers, the schedulers, the workers and the schedules."""
        checks, has_database = examine(lambda: datetime.now(UTC))
        self.out.items([check.document() for check in checks], views.CHECKS)
        failed = [check for check in checks if check.status == FAIL]
        if not has_database:
            raise Failure(f"{failed[0].sentence} {failed[0].remedy}", UNREACHABLE)
        if failed:
            raise Failure(f"{len(failed)} of {len(checks)} checks failed: see what to do above.", FAILED)
        warned = sum(check.status == WARN for check in checks)
        self.out.note(f"{len(checks)} checks, nothing fails" + (f", {warned} warning(s)" if warned else ""))
