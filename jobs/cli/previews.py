"""`schedules preview`: fire times to come, of a schedule, or of an expression without a database."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from jobs.cli.durations import parse_duration
from jobs.cli.failures import usage
from jobs.cli.instants import parse_instant
from jobs.cli.output import Document, Output
from jobs.insight.previewing import firings, preview_document, upcoming
from jobs.models import Schedule
from jobs.rules import zones
from jobs.rules.crontab import DST_PRESETS, parse_expression
from jobs.rules.timing import IntervalSpec, TimingSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class Range:
    """Which firings are asked for."""

    after: str | None
    to: str | None
    limit: int
    include_skipped: bool

    def arguments(self, out: Output, tz: str) -> dict[str, Any]:
        """Return the arguments of a preview. A time without an offset is wall time in `tz`."""
        after, until = datetime.now(UTC).replace(microsecond=0), None
        if self.after is not None:
            start = parse_instant(self.after, "--after", tz=tz, gap="before")
            after = start.at
            if start.note:
                out.note(start.note)
        if self.to is not None:
            until = parse_instant(self.to, "--to", tz=tz).at
            if until < after:
                raise usage("--to is before --after: nothing lies between.")
        return {"after": after, "limit": self.limit, "until": until, "include_skipped": self.include_skipped}


def of_expression(
    out: Output,
    wanted: Range,
    *,
    cron: str | None,
    every: str | None,
    tz: str | None,
    day_match: str | None,
    dst: str | None,
) -> list[Document]:
    """Return how a crontab or an interval would fire. Touches no database."""
    zone = tz or "UTC"
    zones.load(zone)
    arguments = wanted.arguments(out, zone)
    spec: TimingSpec
    if cron is not None:
        spec = parse_expression(cron, tz=zone, day_match=day_match, dst=dst)
    else:
        length = parse_duration(every or "", "--every")
        if length < timedelta(milliseconds=1):
            raise usage("--every must be at least a millisecond.")
        spec = IntervalSpec(every=length, anchor=arguments["after"])
    return [preview_document(item, tz=zone) for item in firings(spec, **arguments)]


def of_schedule(
    out: Output, wanted: Range, schedule: Schedule, *, tz: str | None, day_match: str | None, dst: str | None
) -> list[Document]:
    """Return how a schedule will fire; `day_match` and `dst` show what a change of them would do."""
    if tz is not None:
        zones.load(tz)
    cron: dict[str, Any] = {"day_match": day_match} if day_match else {}
    if dst is not None:
        cron["gap"], cron["fold"] = DST_PRESETS[dst]
    if not schedule.periodic_task.enabled:
        out.note(f"{schedule} is paused: none of these will run before 'manage.py schedules resume'.")
    found = upcoming(schedule, cron=cron, **wanted.arguments(out, tz or "UTC"))
    return [preview_document(item, tz=tz) for item in found]
