"""`manage.py queues`: how long the lines are."""

from __future__ import annotations

from jobs.cli import views
from jobs.cli.base import GroupCommand, verb
from jobs.engine.clock import database_now
from jobs.insight.queues import queue_documents


class Command(GroupCommand):
    """Queues: what waits, and who works on it."""

    @verb("list")
    def list_(self) -> None:
        """List the queues with their jobs, their workers, and the messages that Redis holds for them."""
        items = queue_documents(database_now())
        self.out.items(items, views.QUEUES)
        if any(item["depth"] is None for item in items):
            self.out.note("the broker does not answer: the depth is unknown, nothing is lost")
