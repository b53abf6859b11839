"""`manage.py calendars`: business days, holidays, and hours in which schedules may fire."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from typer import Argument, Option

from jobs.cli import diffs, views
from jobs.cli.base import GroupCommand, YesFlag, verb
from jobs.cli.failures import DRIFT, NOT_FOUND, Failure, usage
from jobs.cli.output import Document
from jobs.cli.windows import parse_dates, parse_windows
from jobs.engine import calendaring
from jobs.engine.clock import database_now
from jobs.engine.editing import check_zone
from jobs.insight import comparing
from jobs.insight.calendars import calendar_document, calendar_documents
from jobs.models import Calendar
from jobs.rules.icalendar import parse_ics

DAYS, SHOWN = 90, 20

Name = Annotated[str, Argument(metavar="NAME", show_default=False)]


@dataclass(frozen=True, slots=True, kw_only=True)
class CalendarFlags:
    """What a calendar is made of; nothing named means nothing said."""

    exclude: Annotated[
        list[str] | None, Option("--exclude", metavar="DATE", help="Closed: 2026-12-25, or A..B; repeatable.")
    ] = None
    include: Annotated[
        list[str] | None, Option("--include", metavar="DATE", help="Open, whatever the week says.")
    ] = None
    opened: Annotated[
        list[str] | None, Option("--open", metavar="HOURS", help='Only then: "mon-fri 09:00-17:00".')
    ] = None
    closed: Annotated[
        list[str] | None, Option("--closed", metavar="HOURS", help='Never then: "sat,sun" or "22:00-06:00".')
    ] = None
    tz: Annotated[str | None, Option("--tz", metavar="ZONE", help="Default: the zone of each schedule.")] = (
        None
    )
    note: Annotated[str | None, Option("--note", metavar="TEXT")] = None

    def values(self) -> dict[str, Any]:
        """Return the columns that are named. Raises `Failure` (usage), or `EditError` for the zone."""
        values: dict[str, Any] = {}
        for column, flag, texts in (
            ("exclude_dates", "--exclude", self.exclude),
            ("include_dates", "--include", self.include),
        ):
            if texts:
                values[column] = [] if texts == ["none"] else parse_dates(texts, flag)
        for column, flag, texts in (
            ("include_windows", "--open", self.opened),
            ("exclude_windows", "--closed", self.closed),
        ):
            if texts:
                values[column] = [] if texts == ["none"] else parse_windows(texts, flag)
        if self.tz is not None:
            values["tz"] = "" if self.tz == "none" else self.tz
            if values["tz"]:
                check_zone(self.tz)
        if self.note is not None:
            values["note"] = self.note
        return values


class Command(GroupCommand):
    """Calendars: the dates and hours in which schedules may fire."""

    @verb("list")
    def list_(self) -> None:
        """List the calendars and how many schedules use them."""
        self.out.items(
            calendar_documents(), views.CALENDARS, empty="No calendars: 'manage.py calendars create'."
        )

    @verb()
    def show(self, name: Name) -> None:
        """Show one calendar, and the schedules that use it."""
        self._show(name)

    @verb(flags=CalendarFlags)
    def create(self, name: Name, flags: CalendarFlags) -> None:
        """Make a calendar. Single dates win over weekly hours, and closed wins over open."""
        calendaring.create_calendar(name, flags.values())
        self.out.note(f"created {name}")
        self._show(name)

    @verb(flags=CalendarFlags)
    def update(
        self,
        name: Name,
        flags: CalendarFlags,
        dry_run: Annotated[
            bool, Option("--dry-run", help="Show which runs of the next 90 days would differ. Exit code 8.")
        ] = False,
    ) -> None:
        """Change what is named; the word "none" empties it. Schedules follow from now on."""
        values = flags.values()
        if not values:
            raise usage("Nothing to change: name what is to be different, such as --exclude.")
        if dry_run:
            self._foretell(name, values)
            return
        calendaring.change_calendar(name, values)
        self.out.note(f"updated {name}")
        self._show(name)

    @verb("import")
    def import_(
        self,
        file: Annotated[str, Argument(metavar="FILE.ics", show_default=False)],
        name: Annotated[str | None, Option("--name", metavar="NAME", help="Default: as the file.")] = None,
        tz: Annotated[str | None, Option("--tz", metavar="ZONE", help="Whose days they are.")] = None,
        replace: Annotated[
            bool, Option("--replace", help="The closed dates of a calendar that exists.")
        ] = False,
    ) -> None:
        """Make a calendar that is closed on every date of an iCalendar file, such as public holidays."""
        if tz is not None:
            check_zone(tz)
        dates = sorted(day.isoformat() for day in parse_ics(_read(file), tz=tz or "UTC"))
        values: dict[str, Any] = {"exclude_dates": dates, **({"tz": tz} if tz else {})}
        name = name or Path(file).stem
        if replace and Calendar.objects.filter(name=name).exists():
            calendaring.change_calendar(name, values)
        else:
            calendaring.create_calendar(name, values)
        self.out.note(f"imported {len(dates)} dates into {name}")
        self._show(name)

    @verb()
    def delete(self, name: Name, yes: YesFlag = False) -> None:
        """Delete a calendar that no schedule uses."""
        self._named(name)
        self.confirmed(f"This deletes the calendar {name!r}.", yes=yes)
        calendaring.delete_calendar(name)
        if self.as_json:
            self.out.document({"name": name, "deleted": True})
        self.out.note(f"deleted {name}")

    def _foretell(self, name: str, values: dict[str, Any]) -> None:
        found = comparing.of_calendar(
            name, lambda: calendaring.change_calendar(name, values), now=database_now(), days=DAYS
        )
        diffs.show(self.out, found, SHOWN)
        if found:
            raise Failure("", DRIFT)

    def _named(self, name: str) -> Calendar:
        calendar = Calendar.objects.filter(name=name).first()
        if calendar is None:
            raise Failure(f"There is no calendar named {name!r}: see 'manage.py calendars list'.", NOT_FOUND)
        return calendar

    def _show(self, name: str) -> Document:
        document = calendar_document(self._named(name))
        self.out.item(document, views.calendar_fields(document))
        return document


def _read(file: str) -> str:
    try:
        return Path(file).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
        raise usage(f"The file {file!r} cannot be read: {reason}.") from error
