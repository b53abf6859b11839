"""`manage.py workers`: who is there to run jobs."""

from __future__ import annotations

from typing import Annotated, Any

from celery import current_app
from typer import Option

from jobs.cli import views
from jobs.cli.base import GroupCommand, verb
from jobs.cli.durations import parse_duration
from jobs.cli.failures import UNREACHABLE, Failure
from jobs.cli.output import Column
from jobs.engine.clock import database_now
from jobs.insight import broker
from jobs.insight.queues import worker_documents

PINGED = (Column("NAME", "name"), Column("OK", "ok"))


class Command(GroupCommand):
    """Workers: who is there to run jobs."""

    @verb("list")
    def list_(
        self, all_: Annotated[bool, Option("--all", help="Those that have stopped, too.")] = False
    ) -> None:
        """List workers, alive or lost, as the database knows them."""
        items = worker_documents(database_now(), include_stopped=all_)
        self.out.items(items, views.WORKERS, empty="No workers: start them with 'manage.py up'.")

    @verb()
    def ping(
        self,
        timeout: Annotated[
            str, Option("--timeout", metavar="D", help="How long to wait for answers.")
        ] = "2s",
    ) -> None:
        """Ask every worker through Redis whether it is there. Exit 5 when none answers."""
        seconds = parse_duration(timeout, "--timeout").total_seconds()
        if not broker.answers():
            raise Failure(
                "The broker does not answer: start it ('manage.py up') or correct REDIS_URL.", UNREACHABLE
            )
        with self.out.waiting("waiting for answers"):
            replies: list[dict[str, Any]] = current_app.control.ping(timeout=seconds) or []
        items = [
            {"name": name, "ok": answer.get("ok") == "pong"}
            for reply in replies
            for name, answer in reply.items()
        ]
        self.out.items(sorted(items, key=lambda item: str(item["name"])), PINGED)
        if not items:
            raise Failure(
                f"No worker answered within {seconds:g} s: see 'manage.py workers list'.", UNREACHABLE
            )
