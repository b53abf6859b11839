"""`schedules diff`: which change is meant, and how its fire times are shown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from jobs.cli.failures import usage
from jobs.cli.output import Output, moment
from jobs.cli.schedule_flags import ScheduleFlags
from jobs.cli.selecting import schedule_named
from jobs.engine.applying import UNCHANGED
from jobs.engine.clock import database_now
from jobs.engine.entries import Entry
from jobs.insight import comparing
from jobs.insight.comparing import Comparison
from jobs.insight.declaring import stored


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """The words of the command line."""

    name: str | None
    files: list[str]
    prune: bool
    tzdata: str | None
    days: int
    flags: ScheduleFlags

    @property
    def changes(self) -> bool:
        """Whether flags of `update` are given."""
        return self.flags != ScheduleFlags()


def of_files(out: Output, asked: Asked, entries: Sequence[Entry], managers: set[str]) -> list[Comparison]:
    """Return what applying files would do to fire times. Raises `ApplyError`."""
    found, applied = comparing.of_files(
        entries, prune=managers if asked.prune else (), now=database_now(), days=asked.days
    )
    names = {item.name for item in found}
    others = [item.name for item in applied.changes if item.action != UNCHANGED and item.name not in names]
    if others:
        out.note(f"{len(others)} would change otherwise, with the same fire times: {', '.join(others[:10])}")
    return found


def of_flags(asked: Asked) -> list[Comparison]:
    """Return what `schedules update` with these flags would do to fire times."""
    from jobs.cli import schedule_changes

    if asked.name is None or not asked.changes:
        raise usage("Say what to compare: -f FILE, or a NAME and what to change, such as --cron or --tz.")
    schedule = schedule_named(asked.name)
    return comparing.of_change(
        schedule, lambda row: schedule_changes.change(row, asked.flags), now=database_now(), days=asked.days
    )


def of_zone_data(out: Output, asked: Asked) -> list[Comparison]:
    """Return what the zones of another folder would do to fire times."""
    folder = Path(asked.tzdata or "")
    if not folder.is_dir():
        raise usage(f"--tzdata {asked.tzdata!r} is not a folder.")
    rows = list(stored([asked.name] if asked.name and schedule_named(asked.name) else ()))
    found, missing = comparing.of_zone_data(rows, folder.resolve(), now=database_now(), days=asked.days)
    if missing:
        out.note(f"not in that folder, and not compared: {', '.join(missing)}")
    return found


def check(asked: Asked) -> None:
    """Raise `Failure` (usage) for more than one change at once."""
    others = replace(asked.flags, manager=None) != ScheduleFlags()
    if asked.files and (asked.name is not None or others or asked.tzdata):
        raise usage("Give files with -f, or a change on the command line, not both.")
    if asked.tzdata and (asked.changes or asked.prune):
        raise usage("--tzdata compares time zone data only: leave the other changes out.")
    if asked.prune and not asked.files:
        raise usage("--prune goes with -f.")


def show(out: Output, found: Sequence[Comparison], limit: int) -> None:
    """Write counts for each schedule and its first differences."""
    if out.as_json:
        out.document({"items": [item.document(limit) for item in found]})
        return
    for item in found:
        counts = [f"{item.count(kind)} {kind}" for kind in ("added", "removed", "moved") if item.count(kind)]
        document = item.document(limit)
        out.line(f"{item.name}: {', '.join(counts)}, up to {moment(document['through'])}")
        for line in document["differences"]:
            shown = " -> ".join(moment(line[side]) for side in ("before", "after") if line[side])
            out.line(f"  {line['kind']:<7}  {shown}")
        left = len(item.differences) - limit
        if left > 0:
            out.line(f"  ... and {left} more")
    if not found:
        out.note("no fire time differs")
