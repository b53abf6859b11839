"""`manage.py schedules`: what runs when."""

from __future__ import annotations

import getpass
from datetime import UTC, datetime
from types import ModuleType
from typing import Annotated

from typer import Argument, Option

from jobs.cli import previews, views
from jobs.cli.base import YesFlag, verb
from jobs.cli.declaring_verbs import DeclaringVerbs
from jobs.cli.durations import parse_duration
from jobs.cli.failures import usage
from jobs.cli.importing_verbs import ImportingVerbs
from jobs.cli.instants import parse_instant
from jobs.cli.output import Document
from jobs.cli.schedule_flags import DayMatchFlag, DstFlag, ScheduleFlags, TzFlag
from jobs.cli.schedule_insight_verbs import ScheduleInsightVerbs
from jobs.cli.selecting import schedule_named
from jobs.cli.waiting import ended_job
from jobs.engine import pausing
from jobs.insight import documents
from jobs.models import Schedule

Name = Annotated[str, Argument(metavar="NAME", show_default=False)]


class Command(ScheduleInsightVerbs, DeclaringVerbs, ImportingVerbs):
    """Schedules: what runs when, and what becomes of it."""

    @verb("list")
    def list_(
        self,
        task: Annotated[str | None, Option("--task", metavar="TASK")] = None,
        queue: Annotated[str | None, Option("--queue", metavar="QUEUE")] = None,
        state: Annotated[str | None, Option("--state", help="active, paused, finished or broken.")] = None,
    ) -> None:
        """List schedules by name."""
        rows = Schedule.objects.select_related(*documents.WITH_ROWS).order_by("periodic_task__name")
        if task:
            rows = rows.filter(periodic_task__task=task)
        if state is not None and state not in documents.STATES:
            raise usage(f"--state {state!r} is unknown: use {', '.join(documents.STATES)}.")
        limits = documents.schedule_limits()
        items = [documents.schedule_document(row, limits) for row in rows.iterator(chunk_size=1_000)]
        items = [item for item in items if queue in (None, item["queue"]) and state in (None, item["state"])]
        self.out.items(
            items, views.SCHEDULES, empty="No schedules: make one with 'manage.py schedules create'."
        )

    @verb()
    def show(self, name: Name) -> None:
        """Show one schedule with everything it is set to."""
        self._show(name)

    @verb(flags=ScheduleFlags)
    def create(self, name: Name, flags: ScheduleFlags) -> None:
        """Make a schedule. It needs --task and a time, such as --cron, --every or --at."""
        notes = _changes().create(name, flags)
        self._tell(notes, f"created {name}")
        if self._show(name)["state"] == "finished":
            self.out.note("it will never fire: its bounds, or its calendar, leave no time for it")

    @verb(flags=ScheduleFlags)
    def update(self, name: Name, flags: ScheduleFlags) -> None:
        """Change what is named; the rest stays as it is. The word "none" takes a setting back."""
        notes = _changes().change(schedule_named(name), flags)
        self._tell(notes, f"updated {name}")
        self._show(name)

    @verb()
    def delete(self, name: Name, yes: YesFlag = False) -> None:
        """Delete a schedule. Its history stays; jobs it has made run on."""
        schedule = schedule_named(name)
        self.confirmed(f"This deletes the schedule {name!r}.", yes=yes)
        _changes().delete(schedule)
        if self.as_json:
            self.out.document({"name": name, "deleted": True})
        self.out.note(f"deleted {name}")

    @verb()
    def preview(
        self,
        name: Annotated[str | None, Argument(metavar="[NAME]", show_default=False)] = None,
        cron: Annotated[str | None, Option("--cron", metavar="EXPR")] = None,
        every: Annotated[str | None, Option("--every", metavar="D")] = None,
        tz: TzFlag = None,
        after: Annotated[str | None, Option("--after", metavar="ISO", help="Default: now.")] = None,
        to: Annotated[str | None, Option("--to", metavar="ISO")] = None,
        limit: Annotated[int, Option("-n", "--limit", min=1, max=100_000)] = 10,
        all_: Annotated[bool, Option("--all", help="Those that will be skipped, too.")] = False,
        day_match: DayMatchFlag = None,
        dst: DstFlag = None,
    ) -> None:
        """Show the next fire times of a schedule, or of a --cron or --every: that needs no database."""
        if sum(value is not None for value in (name, cron, every)) != 1:
            raise usage("Say what to preview: the NAME of a schedule, --cron EXPR or --every D, one of them.")
        out = self.out
        wanted = previews.Range(after=after, to=to, limit=limit, include_skipped=all_)
        if name is not None:
            found = previews.of_schedule(
                out, wanted, schedule_named(name), tz=tz, day_match=day_match, dst=dst
            )
        else:
            found = previews.of_expression(
                out, wanted, cron=cron, every=every, tz=tz, day_match=day_match, dst=dst
            )
        out.items(found, views.FIRINGS, empty="Nothing fires in that time.")

    @verb()
    def run(
        self,
        name: Name,
        wait: Annotated[
            bool, Option("--wait", help="Until it has ended; exit 1 unless it completed.")
        ] = False,
        timeout: Annotated[str | None, Option("--timeout", metavar="D", help="With --wait: at most.")] = None,
        overlap: Annotated[
            str, Option("--overlap", help="allow_all, or skip: not beside another.")
        ] = "allow_all",
    ) -> None:
        """Run a schedule now, beside its times, and print the id of the job. Works while it is paused."""
        if overlap not in ("allow_all", "skip"):
            raise usage(f"--overlap {overlap!r} is unknown here: use allow_all or skip.")
        seconds = None if timeout is None else parse_duration(timeout, "--timeout").total_seconds()
        job_id = _changes().run(schedule_named(name), overlap=overlap)
        if wait:
            self._wait(job_id, seconds)
        elif self.as_json:
            self.out.document({"id": job_id})
        else:
            self.out.line(job_id)

    @verb()
    def pause(
        self,
        name: Name,
        note: Annotated[str | None, Option("--note", metavar="TEXT", help="Why.")] = None,
        until: Annotated[str | None, Option("--until", metavar="ISO|D", help="It resumes by itself.")] = None,
    ) -> None:
        """Let the times of a schedule pass. Pausing a paused one changes its note and its end, if named."""
        schedule = schedule_named(name)
        end = None if until is None else self._until(until)
        if not schedule.is_paused:
            pausing.pause(schedule, note=note or "", actor=_actor(), until=end)
            self.out.note(f"paused {name}")
        elif note is None and until is None:
            self.out.note(f"{name} was paused before")
        else:
            kept = schedule.pause_note if note is None else note
            pausing.pause(schedule, note=kept, actor=_actor(), until=end or schedule.paused_until)
            self.out.note(f"{name} was paused before; its note and its end are changed")
        self._show(name)

    @verb()
    def resume(
        self,
        name: Name,
        catch_up: Annotated[
            bool, Option("--catch-up", help="What passed meanwhile runs by its catch-up policy.")
        ] = False,
    ) -> None:
        """Let a schedule fire again, from now on."""
        changed = pausing.resume(schedule_named(name), catch_up=catch_up)
        self.out.note(f"resumed {name}" if changed else f"{name} was not paused")
        if self._show(name)["state"] == "finished":
            self.out.note(f"it will not fire again: give it a time with 'manage.py schedules update {name}'")

    def _show(self, name: str) -> Document:
        document = documents.schedule_document(schedule_named(name))
        self.out.item(document, views.schedule_fields(document))
        return document

    def _tell(self, notes: list[str], done: str) -> None:
        for note in [*notes, done]:
            self.out.note(note)

    def _until(self, text: str) -> datetime:
        """Read --until: a time, or how long."""
        now = datetime.now(UTC)
        if not text[:4].isdecimal() or "-" not in text:
            return now + parse_duration(text, "--until")
        end = parse_instant(text, "--until")
        if end.at <= now:
            raise usage(f"--until {text} has passed: give a time to come.")
        return end.at

    def _wait(self, job_id: str, seconds: float | None) -> None:
        with self.out.waiting(f"waiting for job {job_id}"):
            job, failure = ended_job(job_id, seconds)
        document: Document = documents.job_document(job)
        self.out.item(document, views.job_fields(document))
        if failure is not None:
            raise failure


def _changes() -> ModuleType:
    """Return what changes schedules: late, as it brings the broker's client, and preview is quick."""
    from jobs.cli import schedule_changes

    return schedule_changes


def _actor() -> str:
    """Return who is at the keyboard, for the record of a pause."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return ""
