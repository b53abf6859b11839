"""`schedules explain` and `backfill`: why something ran or did not, and running past times."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Literal

from typer import Argument, Option

from jobs.cli import views
from jobs.cli.base import GroupCommand, YesFlag, verb
from jobs.cli.failures import FAILED, Failure, usage
from jobs.cli.instants import parse_instant
from jobs.cli.output import Document
from jobs.cli.selecting import schedule_named
from jobs.engine.compiling import CompileError
from jobs.insight.formats import instant
from jobs.insight.previewing import timing_of
from jobs.models import Schedule
from jobs.rules.timing import zone_name

if TYPE_CHECKING:
    from jobs.engine.backfilling import Slot

Name = Annotated[str, Argument(metavar="NAME", show_default=False)]


class ScheduleInsightVerbs(GroupCommand):
    """Verbs of `schedules` that look back."""

    @verb()
    def explain(
        self,
        name: Name,
        at: Annotated[
            str | None, Option("--at", metavar="ISO", help="One of its times, past or to come; in its zone.")
        ] = None,
    ) -> None:
        """Say in a sentence why a schedule did, did not, will or will not run; exit 0 whatever it says."""
        from jobs.engine.clock import database_now
        from jobs.insight.explaining import explain

        schedule = schedule_named(name)
        moment = None
        if at is not None:
            moment = parse_instant(at, "--at", tz=_zone(schedule))
            if moment.note:
                self.out.note(moment.note)
        found = explain(schedule, now=database_now(), at=moment.at if moment else None)
        self.out.item(found.document(), views.explanation_fields(found.document()))

    @verb()
    def backfill(
        self,
        name: Name,
        since: Annotated[
            str | None, Option("--from", metavar="ISO", help="The first time, included.")
        ] = None,
        until: Annotated[str | None, Option("--to", metavar="ISO", help="The last time, included.")] = None,
        reprocess: Annotated[
            Literal["none", "failed", "all"], Option("--reprocess", help="Times that ran already.")
        ] = "none",
        per_minute: Annotated[
            float | None, Option("--per-minute", metavar="N", min=0.001, help="Spread the starts.")
        ] = None,
        side_by_side: Annotated[bool, Option("--side-by-side", help="Not one after the other.")] = False,
        dry_run: Annotated[bool, Option("--dry-run", help="Show what would run, and stop.")] = False,
        yes: YesFlag = False,
    ) -> None:
        """Run past times of a schedule, by its times and settings of today. Shows first what would run."""
        from jobs.engine import backfilling

        schedule = schedule_named(name)
        first, last = self._range(schedule, since, until)
        try:
            found = backfilling.slots(schedule, first, last, reprocess=reprocess)
        except backfilling.TooManyError as error:
            raise usage(str(error)) from error
        items = [_slot(slot) for slot in found]
        chosen = [slot for slot in found if slot.runs]
        jobs: list[str] = []
        if chosen and not dry_run:
            self.confirmed(f"{_count(found)} This makes {len(chosen)} jobs of {name!r}.", yes=yes)
            jobs = backfilling.backfill(schedule, found, per_minute=per_minute, side_by_side=side_by_side)
        if self.as_json:
            self.out.document({"items": items, "jobs": jobs})
        else:
            self.out.items(items, views.SLOTS, empty=f"{name} has no times from {since} to {until}.")
        self.out.note(_count(found) if dry_run or not chosen else f"made {len(jobs)} jobs of {name}")
        if len(jobs) < len(chosen) and not dry_run:
            raise Failure(f"Only {len(jobs)} of {len(chosen)} jobs were made: run it again.", FAILED)

    def _range(self, schedule: Schedule, since: str | None, until: str | None) -> tuple[datetime, datetime]:
        from jobs.engine.clock import database_now

        if since is None or until is None:
            raise usage("Say which times: --from ISO --to ISO, both included.")
        first, last = self._instant(since, "--from", schedule), self._instant(until, "--to", schedule)
        if last < first:
            raise usage("--to is before --from: nothing lies between.")
        if last > database_now():
            raise usage(f"--to {until} has not come yet: a backfill is for times that have passed.")
        return first, last

    def _instant(self, text: str, flag: str, schedule: Schedule) -> datetime:
        found = parse_instant(text, flag, tz=_zone(schedule))
        if found.note:
            self.out.note(found.note)
        return found.at


def _zone(schedule: Schedule) -> str:
    try:
        return zone_name(timing_of(schedule).spec)
    except CompileError:
        return "UTC"


def _slot(slot: Slot) -> Document:
    existing = None if slot.job is None else {"job": slot.job.id, "status": slot.job.status}
    return {"scheduled_for": instant(slot.scheduled_for), "existing": existing, "runs": slot.runs}


def _count(found: Sequence[Slot]) -> str:
    chosen = [slot.scheduled_for for slot in found if slot.runs]
    if not chosen:
        return f"None of {len(found)} times would run."
    span = f"{instant(chosen[0])} to {instant(chosen[-1])}" if len(chosen) > 1 else instant(chosen[0])
    return f"{len(chosen)} of {len(found)} times would run: {span}."
