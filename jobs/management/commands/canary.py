"""`manage.py canary`: shows that the whole line works, beat -> Redis -> worker -> result."""

from __future__ import annotations

from typing import Annotated

from typer import Option

from jobs.cli import canaries
from jobs.cli.base import NounCommand, verb
from jobs.cli.durations import parse_duration
from jobs.cli.failures import FAILED, TIMED_OUT, UNREACHABLE, Failure
from jobs.cli.output import Column
from jobs.insight import broker

COLUMNS = (
    Column("QUEUE", "queue"),
    Column("STATUS", "status"),
    Column("SECONDS", "seconds", right=True),
    Column("JOB", "job"),
    Column("WHY", "why"),
)


class Command(NounCommand):
    """Send a job through every queue and wait for it."""

    @verb("handle")
    def handle(
        self,
        queue: Annotated[
            list[str] | None, Option("--queue", metavar="QUEUE", help="Default: all of them.")
        ] = None,
        timeout: Annotated[str, Option("--timeout", metavar="D", help="Wait at most so long.")] = "60",
    ) -> None:
        """Schedule a canary on each queue, due now. Exit 0: all came back, 6: one did not, 5: no service."""
        seconds = parse_duration(timeout, "--timeout").total_seconds()
        if not broker.answers():
            raise Failure(
                "The broker does not answer: start it ('manage.py up') or correct REDIS_URL.", UNREACHABLE
            )
        flock = canaries.release(queue or canaries.default_queues())
        try:
            with self.out.waiting("waiting for the canaries"):
                canaries.watch(flock, seconds)
        finally:
            canaries.clean_up(flock)
        self.out.items([bird.document() for bird in flock], COLUMNS)
        lost = [bird for bird in flock if not bird.came_back]
        if lost:
            code = FAILED if all(bird.has_ended for bird in lost) else TIMED_OUT
            raise Failure(f"{len(lost)} of {len(flock)} canaries did not come back. {lost[0].why}", code)
