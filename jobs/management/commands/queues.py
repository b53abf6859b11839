"""`manage.py queues`: how long the lines are, and who may go."""

from __future__ import annotations

from typing import Annotated

from typer import Argument, Option

from jobs.cli import views
from jobs.cli.base import GroupCommand, YesFlag, verb
from jobs.cli.failures import usage
from jobs.cli.link_flags import MOST, starts_per_second, whole
from jobs.cli.output import Document
from jobs.engine import cancelling, limiting
from jobs.engine.clock import database_now
from jobs.insight.queues import queue_documents

Name = Annotated[str, Argument(metavar="QUEUE", show_default=False)]


class Command(GroupCommand):
    """Queues: what waits, who works on it, and how much at once."""

    @verb("list")
    def list_(self) -> None:
        """List the queues with their jobs, their workers, and the messages that Redis holds for them."""
        items = queue_documents(database_now())
        self.out.items(items, views.QUEUES)
        if any(item["depth"] is None for item in items):
            self.out.note("the broker does not answer: the depth is unknown, nothing is lost")

    @verb()
    def pause(self, name: Name) -> None:
        """Let no job of a queue start. Jobs wait and are not lost; those that run, run on."""
        self._check(name)
        changed = limiting.pause_queue(name)
        self.out.note(f"paused {name}" if changed else f"{name} was paused before")
        self._show(name)

    @verb()
    def resume(self, name: Name) -> None:
        """Let jobs of a queue start again, within the limit it had."""
        changed = limiting.resume_queue(name)
        self.out.note(f"resumed {name}" if changed else f"{name} was not paused")
        self._show(name)

    @verb()
    def limit(
        self,
        name: Name,
        max_active: Annotated[
            str | None, Option("--max-active", metavar="N", help="At most so many at once.")
        ] = None,
        rate: Annotated[
            str | None, Option("--rate", metavar="N", help="At most so many starts a second.")
        ] = None,
        none: Annotated[bool, Option("--none", help="Take every limit back.")] = False,
    ) -> None:
        """Limit a queue. What is not named stays; the word "none" takes one back. What exceeds it waits."""
        if none == (max_active is not None or rate is not None):
            raise usage("Say what to limit: --max-active N, --rate N, or --none alone.")
        self._check(name)
        most, per_second = (None, None) if none else limiting.queue_limits().get(name, (None, None))
        if max_active is not None:
            most = whole(max_active, "--max-active", most=MOST)
        if rate is not None:
            per_second = starts_per_second(rate)
        limiting.limit_queue(name, max_active=most, max_per_second=per_second)
        self.out.note(f"limited {name}" if most or per_second else f"{name} has no limit")
        self._show(name)

    @verb()
    def purge(self, name: Name, yes: YesFlag = False) -> None:
        """Cancel the waiting jobs of a queue. What runs, runs on; what is due later stays."""
        now = database_now()
        count = cancelling.purgeable(name, now).count()
        cancelled = 0
        if count:
            self.confirmed(f"This cancels {count} waiting job(s) of the queue {name!r}.", yes=yes)
            with self.out.progress(f"purging {name}", count) as advance:
                while done := cancelling.purge(name, now):
                    cancelled += done
                    advance(done)
        if self.as_json:
            self.out.document({"queue": name, "cancelled": cancelled})
        self.out.note(f"cancelled {cancelled} job(s) of {name}")

    def _check(self, name: str) -> None:
        if not name.strip() or name != name.strip() or len(name) > 200:
            raise usage("A queue needs a name of at most 200 characters, without spaces around it.")

    def _show(self, name: str) -> Document:
        found = next((item for item in queue_documents(database_now()) if item["name"] == name), None)
        if found is None:
            self.out.note(f"no job, worker or setting knows a queue named {name!r}")
            found = {"name": name, "paused": False, "max_active": None, "rate": None}
        self.out.item(found)
        return found
