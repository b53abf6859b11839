"""Fire times before and after a change, without making it: for `schedules diff` (SEMANTICS 29).

The change is made in a transaction and rolled back, so that what is compared is what would be stored. Both
sides are listed by the rules that beat follows, calendars and blackouts included.
"""

from __future__ import annotations

import sys
import zoneinfo
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from django.db import transaction

from jobs.engine import applying
from jobs.engine.applying import Applied
from jobs.engine.compiling import CompileError
from jobs.engine.declared import WITH_ROWS
from jobs.engine.entries import Entry
from jobs.insight.formats import instant
from jobs.insight.previewing import timing_of, upcoming
from jobs.models import Schedule
from jobs.rules import zones
from jobs.rules.diffing import Difference, compare
from jobs.rules.timing import zone_name

MOST = 20_000
"""Fire times that are listed of one schedule; one that fires more often is compared over a shorter time."""


@dataclass(frozen=True, slots=True)
class Side:
    """The fire times of a schedule in `(after, through]`, and the zone in which its days are counted."""

    times: tuple[datetime, ...]
    through: datetime
    tz: str = "UTC"


@dataclass(frozen=True, slots=True)
class Comparison:
    """How the fire times of one schedule differ, up to `through`."""

    name: str
    differences: tuple[Difference, ...]
    through: datetime

    def count(self, kind: str) -> int:
        """Return how many differences there are of a kind."""
        return sum(item.kind == kind for item in self.differences)

    def document(self, limit: int) -> dict[str, Any]:
        """Return it as JSON, with the first differences."""
        return {
            "name": self.name,
            **{kind: self.count(kind) for kind in ("added", "removed", "moved")},
            "through": instant(self.through),
            "differences": [
                {"kind": item.kind, "before": instant(item.before), "after": instant(item.after)}
                for item in self.differences[:limit]
            ],
        }


def of_change(
    schedule: Schedule, change: Callable[[Schedule], object], *, now: datetime, days: int
) -> list[Comparison]:
    """Return what `change` would do to the fire times of one schedule. Nothing is stored."""
    until = now + timedelta(days=days)
    with transaction.atomic():
        before = _side(schedule, now, until)
        change(schedule)
        after = _side(Schedule.objects.select_related(*WITH_ROWS).get(pk=schedule.pk), now, until)
        transaction.set_rollback(True)
    return _comparisons({str(schedule): (before, after)})


def of_files(
    entries: Sequence[Entry], *, prune: Iterable[str], now: datetime, days: int
) -> tuple[list[Comparison], Applied]:
    """Return what applying these entries would do to fire times, and what else it would do.

    Whoever owns the schedules: a diff takes nothing over. Raises `applying.ApplyError`.
    """
    until = now + timedelta(days=days)
    with transaction.atomic():
        names = {entry.declaration.name for entry in entries}
        owned = Schedule.objects.filter(manager__in=set(prune)).values_list("periodic_task__name", flat=True)
        before = _sides({*names, *owned}, now, until)
        applied = applying.apply(entries, adopt=True, prune=set(prune))
        touched = {item.name for item in applied.changes if item.action != applying.UNCHANGED}
        after = _sides(touched, now, until)
        transaction.set_rollback(True)
    nothing = Side((), until)
    pairs = {name: (before.get(name, nothing), after.get(name, nothing)) for name in sorted(touched)}
    return _comparisons(pairs), applied


def of_calendar(name: str, change: Callable[[], object], *, now: datetime, days: int) -> list[Comparison]:
    """Return what `change` of a calendar would do to the fire times of the schedules that use it."""
    until = now + timedelta(days=days)
    with transaction.atomic():
        users = list(
            Schedule.objects.filter(calendar__name=name).values_list("periodic_task__name", flat=True)
        )
        before = _sides(users, now, until)
        change()
        after = _sides(users, now, until)
        transaction.set_rollback(True)
    return _comparisons({user: (before[user], after[user]) for user in sorted(before)})


def of_zone_data(
    schedules: Sequence[Schedule], folder: Path, *, now: datetime, days: int
) -> tuple[list[Comparison], list[str]]:
    """Return what other time zone data would do, and the zones that `folder` does not have."""
    until = now + timedelta(days=days)
    before = {str(row): _side(row, now, until) for row in schedules}
    used = {side.tz for side in before.values()}
    missing = sorted(tz for tz in used if not (folder / tz).is_file())
    with _zone_data(folder):
        after = {str(row): _side(row, now, until) for row in schedules if before[str(row)].tz not in missing}
    return _comparisons({name: (before[name], side) for name, side in after.items()}), missing


@contextmanager
def _zone_data(folder: Path) -> Iterator[None]:
    """Read zones from another folder meanwhile. For a command, which is the only one in its process."""
    path = zoneinfo.TZPATH
    try:
        zoneinfo.reset_tzpath(to=[folder])
        _forget_zones()
        yield
    finally:
        zoneinfo.reset_tzpath(to=path)
        _forget_zones()


def _forget_zones() -> None:
    """Empty every cache that may hold a zone, or what was worked out with one."""
    zoneinfo.ZoneInfo.clear_cache()
    for name, module in list(sys.modules.items()):
        if name.startswith("jobs.rules."):
            for value in list(vars(module).values()):
                if hasattr(value, "cache_clear"):
                    value.cache_clear()


def _sides(names: Iterable[str], now: datetime, until: datetime) -> dict[str, Side]:
    rows = Schedule.objects.filter(periodic_task__name__in=set(names)).select_related(*WITH_ROWS)
    return {str(row): _side(row, now, until) for row in rows}


def _side(schedule: Schedule, now: datetime, until: datetime) -> Side:
    """Return when a schedule fires: never while it is paused, broken, or started only by another."""
    triggered = schedule.after_id is not None and schedule.after_mode == schedule.AfterMode.TRIGGER
    if schedule.is_paused or triggered:
        return Side((), until)
    try:
        tz = zone_name(timing_of(schedule).spec)
        found = upcoming(schedule, after=now, until=until, limit=MOST)
    except CompileError:
        return Side((), until)
    times = tuple(item.scheduled_for for item in found)
    return Side(times, times[-1] if len(times) == MOST else until, tz)


def _comparisons(pairs: dict[str, tuple[Side, Side]]) -> list[Comparison]:
    """Return the schedules whose fire times differ."""
    found = []
    for name, (before, after) in pairs.items():
        through = min(before.through, after.through)
        zone = zones.load(after.tz if after.times else before.tz)
        sides = ([at for at in side.times if at <= through] for side in (before, after))
        differences = compare(*sides, day=lambda at, zone=zone: at.astimezone(zone).date())  # type: ignore[misc]
        if differences:
            found.append(Comparison(name, tuple(differences), through))
    return found
