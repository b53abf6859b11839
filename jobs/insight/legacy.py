"""What changes for rows of django-celery-beat: when its own scheduler would have fired them otherwise.

The old scheduler is not written anew here: django-celery-beat's `TzAwareCrontab`, which is Celery's
`crontab`, is asked when the next run is due after each run, with a clock that stands where the run was. So
its known ways show as they are: `30 2` at 03:30 on the day the clock goes forward, no runs in the hour that
is repeated, no run ever on a weekday 7.

What is modelled is a beat that runs all the time and is never late. Restarts, which fire missed rows at odd
times with django-celery-beat, and the drift of intervals are said in notes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from django_celery_beat.models import PeriodicTask
from django_celery_beat.tzcrontab import TzAwareCrontab

from jobs.engine.compiling import CompileError, Timing
from jobs.insight.formats import instant
from jobs.insight.previewing import timing_of, upcoming
from jobs.models import Schedule
from jobs.rules import zones
from jobs.rules.crontab import CronSpec
from jobs.rules.diffing import Difference, compare
from jobs.rules.timing import count_between

WALKED = 20_000
"""A row that fires no more often than this is followed run by run; others around clock changes only."""

AROUND = timedelta(days=1)
FIRST_LOOK = timedelta(days=8)
LATENCY = timedelta(milliseconds=5)
"""A run is noted a moment after it was due. Celery's search relies on that."""

Window = tuple[datetime, datetime]


class OldCrontab(TzAwareCrontab):  # type: ignore[misc]
    """django-celery-beat's crontab with a clock that can be set."""

    clock: datetime

    def nowfunc(self) -> datetime:
        """Return what time it is: what the clock was set to."""
        return self.clock.astimezone(self.tz)

    def next_after(self, ran_at: datetime) -> datetime:
        """Return when the row is due after a run. Raises what Celery raises when it finds nothing."""
        self.clock = ran_at
        due: datetime = ran_at + self.remaining_estimate(ran_at)
        return due.astimezone(UTC)


@dataclass(slots=True)
class Report:
    """How a row fires otherwise than before: the instants, and what cannot be said in instants."""

    name: str
    cron: str | None = None
    tz: str | None = None
    paused: bool = False
    through: datetime | None = None
    differences: tuple[Difference, ...] = ()
    why: dict[datetime, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def document(self, limit: int | None = None) -> dict[str, Any]:
        """Return it as JSON, with the first differences, or all."""
        kinds = [item.kind for item in self.differences]
        return {
            "name": self.name,
            "cron": self.cron,
            "tz": self.tz,
            "paused": self.paused,
            "through": instant(self.through),
            "moved": kinds.count("moved"),
            "only_before": kinds.count("removed"),
            "only_now": kinds.count("added"),
            "differences": [self._difference(item) for item in self.differences[:limit]],
            "notes": self.notes,
        }

    def _difference(self, item: Difference) -> dict[str, Any]:
        zone = zones.load(self.tz or "UTC")
        sides = {"before": item.before, "now": item.after}
        local = {f"{side}_local": at and at.astimezone(zone).isoformat() for side, at in sides.items()}
        why = self.why.get(item.after) if item.after else None
        return {**{side: instant(at) for side, at in sides.items()}, **local, "why": why}


def report(schedule: Schedule, *, now: datetime, years: float) -> Report:
    """Return at which instants of the next years the old scheduler would have fired this row otherwise."""
    row = schedule.periodic_task
    found = Report(str(schedule), paused=schedule.is_paused, through=now + timedelta(days=365.25 * years))
    try:
        timing = timing_of(schedule)
    except CompileError as error:
        found.notes.append(f"It cannot fire here: {error}")
        return found
    if not row.crontab_id or schedule.calendar_every:
        found.notes += _note_on(row)
        return found
    crontab = row.crontab
    fields = (crontab.minute, crontab.hour, crontab.day_of_month, crontab.month_of_year, crontab.day_of_week)
    found.cron, found.tz = " ".join(fields), str(crontab.timezone)
    old = _old(row, found)
    for window in _windows(timing, old, now, found):
        _compare(schedule, old, window, found)
    return found


def _old(row: PeriodicTask, found: Report) -> OldCrontab | None:
    """Return the old schedule; None, with a note, for one that the old scheduler never ran."""
    if row.one_off and row.total_run_count > 0:
        found.notes.append("It is one-off and has run: the old scheduler would disable it without a run.")
        return None
    crontab = row.crontab
    try:
        return OldCrontab(
            minute=crontab.minute,
            hour=crontab.hour,
            day_of_week=crontab.day_of_week,
            day_of_month=crontab.day_of_month,
            month_of_year=crontab.month_of_year,
            tz=zones.load(str(crontab.timezone)),
        )
    except ValueError as error:  # DatabaseScheduler passes over such a row in silence
        text = " ".join(str(error).split()).rstrip(".")
        found.notes.append(f"The old scheduler never ran it: Celery refuses its crontab ({text}).")
        return None


def _windows(timing: Timing, old: OldCrontab | None, now: datetime, found: Report) -> list[Window]:
    """Return the stretches in which to follow both.

    A row that fires often, and whose fields mean the same to both, can differ near a change of the clock and
    near its start only; one that differs by its fields is followed as far as is reasonable.
    """
    until = found.through
    assert until is not None
    if count_between(timing.spec, now, until) <= WALKED:
        return [(now, until)]
    if old is None or not _same_fields(timing.spec, old):
        found.through = _reach(timing, now, until)
        found.notes.append(
            f"It fires too often to follow to the end: compared up to {instant(found.through)}."
        )
        return [(now, found.through)]
    start = timing.policy.start
    edges = [now, *([start] if start and start > now else []), *_clock_changes(found.tz or "UTC", now, until)]
    return list(_joined((max(now, at - AROUND), min(until, at + AROUND)) for at in sorted(edges)))


def _reach(timing: Timing, now: datetime, until: datetime) -> datetime:
    span = until - now
    while count_between(timing.spec, now, now + span) > WALKED:
        span /= 2
    return now + max(span, FIRST_LOOK / 8)


def _same_fields(spec: Any, old: OldCrontab) -> bool:
    """Whether both read the same numbers in the five fields, combined in the same way."""
    if not isinstance(spec, CronSpec) or spec.day_match == "vixie" or spec.month_end == "clamp":
        return False
    try:
        ours = OldCrontab(
            minute=spec.minute,
            hour=spec.hour,
            day_of_week=spec.day_of_week,
            day_of_month=spec.day_of_month,
            month_of_year=spec.month_of_year,
            tz=old.tz,
        )
    except ValueError:
        return False  # L, W and # are ours alone
    return bool(ours == old)


def _clock_changes(tz: str, now: datetime, until: datetime) -> list[datetime]:
    """Return when the offset of a zone changes in that time."""
    found = []
    for year in range(now.year, until.year + 1):
        for segment in zones.segments(tz, year):
            at = zones.from_seconds(segment.start)
            if segment.before != segment.offset and now <= at <= until:
                found.append(at)
    return found


def _joined(windows: Iterable[Window]) -> Iterator[Window]:
    """Yield ascending windows, those that overlap as one."""
    last: Window | None = None
    for window in windows:
        if last is not None and window[0] <= last[1]:
            last = (last[0], max(last[1], window[1]))
            continue
        if last is not None:
            yield last
        last = window
    if last is not None:
        yield last


def _compare(schedule: Schedule, old: OldCrontab | None, window: Window, found: Report) -> None:
    since, until = window
    before = [] if old is None else list(_old_runs(schedule.periodic_task, old, window, found))
    ours = upcoming(schedule, after=since, until=until, limit=4 * WALKED)
    zone = zones.load(found.tz or "UTC")
    now = [item.scheduled_for for item in ours]
    differences = compare(before, now, day=lambda at: at.astimezone(zone).date())
    found.differences += tuple(differences)
    notes = {item.scheduled_for: item.note for item in ours if item.note}
    differing = {item.after for item in differences}
    found.why.update({at: note for at, note in notes.items() if at in differing})


def _old_runs(row: PeriodicTask, old: OldCrontab, window: Window, found: Report) -> Iterator[datetime]:
    """Yield when the old scheduler would have run a row in `(since, until]`."""
    since, until = window
    start, end = row.start_time, row.expires
    at = since
    stuck = 0
    while True:
        try:
            due = max(old.next_after(at), at)
        except (RuntimeError, ValueError, OverflowError) as error:
            found.notes.append(f"Celery finds no further run: {' '.join(str(error).split())}.")
            return
        if start is not None and due < start:
            due = max(start.astimezone(UTC), since)  # overdue since long: it runs when it may
        stuck = stuck + 1 if due - at < 2 * LATENCY else 0
        if stuck > 3:
            found.notes.append(f"The old scheduler would run it without a pause from {instant(due)} on.")
            return
        if due > until or (end is not None and due >= end):
            return
        yield due
        if row.one_off:
            return
        at = due + LATENCY


def _note_on(row: PeriodicTask) -> list[str]:
    if row.interval_id:
        return [
            "An interval: the old scheduler counts from the last send, so it drifts and starts anew with "
            "each restart; here the times are a grid from the last send before the move."
        ]
    if row.clocked_id:
        return ["Once: at the same time; the old scheduler sent it late after an outage, or never."]
    return ["Not compared: only crontabs are."]
