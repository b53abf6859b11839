"""`manage.py blackouts`: peak hours and maintenance, in which nothing starts."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from typer import Argument, Option

from jobs.cli import views
from jobs.cli.base import GroupCommand, YesFlag, verb
from jobs.cli.failures import usage
from jobs.cli.instants import parse_instant
from jobs.cli.selecting import schedule_named
from jobs.cli.windows import parse_windows
from jobs.engine import calendaring
from jobs.engine.editing import check_zone
from jobs.insight.calendars import blackout_document
from jobs.insight.formats import instant
from jobs.models import Blackout

Name = Annotated[str, Argument(metavar="NAME", show_default=False)]


class Command(GroupCommand):
    """Blackouts: time in which nothing starts, for a schedule, a group, a queue, or everything."""

    @verb("list")
    def list_(self) -> None:
        """List the blackouts."""
        rows = Blackout.objects.select_related("schedule__periodic_task").order_by("name")
        self.out.items(
            [blackout_document(row) for row in rows],
            views.BLACKOUTS,
            empty="No blackouts: 'manage.py blackouts create'.",
        )

    @verb()
    def create(
        self,
        name: Name,
        window: Annotated[
            list[str] | None, Option("--window", metavar="HOURS", help='"mon-fri 09:00-12:00"; repeatable.')
        ] = None,
        since: Annotated[
            str | None, Option("--from", metavar="ISO", help="With --to: a single span.")
        ] = None,
        until: Annotated[str | None, Option("--to", metavar="ISO")] = None,
        mode: Annotated[
            Literal["skip", "defer_to_end"], Option("--mode", help="What becomes of a time inside it.")
        ] = "skip",
        tz: Annotated[str | None, Option("--tz", metavar="ZONE", help="Default: each schedule's.")] = None,
        enforced: Annotated[bool, Option("--enforced", help="Manual runs are refused, too.")] = False,
        schedule: Annotated[str | None, Option("--schedule", metavar="NAME")] = None,
        group: Annotated[str | None, Option("--group", metavar="NAME")] = None,
        queue: Annotated[str | None, Option("--queue", metavar="QUEUE")] = None,
    ) -> None:
        """Make a blackout: for one schedule, group or queue, else for everything."""
        if sum(bool(value) for value in (schedule, group, queue)) > 1:
            raise usage("A blackout is for a --schedule, a --group, a --queue, or everything: name one.")
        if tz is not None:
            check_zone(tz)
        values: dict[str, Any] = {
            "mode": mode,
            "tz": tz or "",
            "enforced": enforced,
            "group": group or "",
            "queue": queue or "",
            "windows": parse_windows(window or [], "--window"),
            "spans": self._spans(since, until, tz or "UTC"),
            "schedule": schedule_named(schedule) if schedule else None,
        }
        document = blackout_document(calendaring.create_blackout(name, values))
        self.out.note(f"created {name}")
        self.out.item(document)

    @verb()
    def delete(self, name: Name, yes: YesFlag = False) -> None:
        """Delete a blackout; times that were skipped for it stay skipped."""
        if Blackout.objects.filter(name=name).exists():
            self.confirmed(f"This deletes the blackout {name!r}.", yes=yes)
        calendaring.delete_blackout(name)
        if self.as_json:
            self.out.document({"name": name, "deleted": True})
        self.out.note(f"deleted {name}")

    def _spans(self, since: str | None, until: str | None, tz: str) -> list[list[str | None]]:
        if since is None and until is None:
            return []
        if since is None or until is None:
            raise usage("A span needs both --from and --to.")
        ends = [parse_instant(since, "--from", tz=tz), parse_instant(until, "--to", tz=tz)]
        for end in ends:
            if end.note:
                self.out.note(end.note)
        return [[instant(end.at) for end in ends]]
