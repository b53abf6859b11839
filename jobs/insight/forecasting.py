"""How full the queues will be over the next days (SEMANTICS 30): all schedules times how long they take."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db import connection

from jobs.engine.compiling import CompileError
from jobs.insight import obstacles
from jobs.insight.documents import WITH_ROWS
from jobs.insight.formats import instant, number
from jobs.insight.obstacles import queue_of
from jobs.insight.previewing import upcoming
from jobs.models import Schedule
from jobs.rules.describe import duration
from jobs.rules.forecasting import Collision, Forecast, Load, Overrun, QueueForecast, forecast, repeating

BUDGET = 60_000
"""Firings that are worked out one by one; what fires more often is taken to repeat."""

FEWEST_EACH, MOST_EACH = 26, 2_500
SAMPLE = 100
"""How many of a schedule's last completed jobs say how long it takes."""

_DURATIONS = f"""
    SELECT s.periodic_task_id, percentile_cont(0.95) WITHIN GROUP (ORDER BY last.took)
    FROM jobs_schedule AS s CROSS JOIN LATERAL (
        SELECT extract(epoch FROM finished_at - started_at)::float8 AS took FROM jobs_job
        WHERE schedule_id = s.periodic_task_id AND status = 'completed' AND started_at IS NOT NULL
        ORDER BY created_at DESC LIMIT {SAMPLE}) AS last
    GROUP BY s.periodic_task_id
"""  # noqa: S608  (a constant)


@dataclass(frozen=True, slots=True)
class Outlook:
    """A forecast, and what it rests on."""

    origin: datetime
    minutes: int
    schedules: int
    unmeasured: int
    extrapolated: int
    found: Forecast

    def document(self) -> dict[str, Any]:
        """Return it as JSON."""
        return {
            "from": instant(self.origin),
            "to": instant(self.origin + timedelta(minutes=self.minutes)),
            "schedules": self.schedules,
            "unmeasured": self.unmeasured,
            "extrapolated": self.extrapolated,
            "queues": [self._queue(one) for one in self.found.queues],
            "overruns": [_overrun(one) for one in self.found.overruns],
            "collisions": [self._collision(one) for one in self.found.collisions],
        }

    def _at(self, minute: int) -> str | None:
        return instant(self.origin + timedelta(minutes=minute))

    def _queue(self, one: QueueForecast) -> dict[str, Any]:
        places = one.slots * self.minutes * 60
        return {
            "queue": one.queue,
            "starts": one.starts,
            "peak": one.peak,
            "peak_at": self._at(one.peak_minute),
            "slots": one.slots,
            "overloaded": one.is_overloaded,
            "busy": round(one.busy_seconds / places, 4) if places else None,
        }

    def _collision(self, one: Collision) -> dict[str, Any]:
        return {
            "queue": one.queue,
            "at": self._at(one.minute),
            "schedules": one.schedules,
            "days": one.repeats,
            "spread_minutes": one.spread,
            "moves": [{"schedule": name, "minutes": off} for name, off in one.moves.items()],
            "sentence": f"{one.schedules} schedules start on the queue {one.queue!r} in the same minute, "
            f"{self._at(one.minute)}: spread them over {one.spread} minute(s), by --jitter {one.spread}m or by "
            "moving them.",
        }


def look_ahead(now: datetime, *, days: int) -> Outlook:
    """Return the forecast of the next days for every schedule that is not paused."""
    origin = now.replace(second=0, microsecond=0)
    schedules = list(
        Schedule.objects.filter(periodic_task__enabled=True, problem="")
        .exclude(after__isnull=False, after_mode="trigger")
        .select_related(*WITH_ROWS)
    )
    measured = durations()
    each = min(max(BUDGET // max(len(schedules), 1), FEWEST_EACH), MOST_EACH)
    loads = []
    for schedule in schedules:
        load = _load(schedule, now, origin, days, each, measured.get(schedule.pk))
        if load is not None:
            loads.append(load)
    return Outlook(
        origin=origin,
        minutes=days * 24 * 60,
        schedules=len(loads),
        unmeasured=sum(load.seconds is None for load in loads),
        extrapolated=sum(bool(load.period) for load in loads),
        found=forecast(loads, slots(now), days * 24 * 60),
    )


def durations() -> dict[int, float]:
    """Return the p95 of how long the last completed jobs of each schedule took, in seconds."""
    with connection.cursor() as cursor:
        cursor.execute(_DURATIONS)
        return {pk: float(seconds) for pk, seconds in cursor.fetchall()}


def slots(now: datetime) -> dict[str, int]:
    """Return how many jobs of each queue its live workers can run at once; shared places count for each."""
    places: dict[str, int] = {}
    for worker in obstacles.alive(now):
        for queue in worker.queues:
            places[queue] = places.get(queue, 0) + worker.concurrency
    return places


def _load(
    schedule: Schedule, now: datetime, origin: datetime, days: int, limit: int, seconds: float | None
) -> Load | None:
    until = origin + timedelta(days=days)
    try:
        found = upcoming(schedule, after=now, until=until, limit=limit)
    except CompileError:
        return None
    # In order of their starts: jitter may let a later nominal start first.
    starts = sorted((item.runs_at - origin).total_seconds() for item in found)
    listed, period = repeating(starts, complete=len(found) < limit)
    return Load(
        str(schedule),
        queue_of(schedule),
        listed,
        seconds=seconds,
        period=period,
        alone=schedule.overlap != "allow_all",
    )


def _overrun(one: Overrun) -> dict[str, Any]:
    every, takes = (duration(timedelta(seconds=_rounded(value))) for value in (one.gap, one.seconds))
    takes = takes if takes[0].isdecimal() else f"1 {takes}"
    return {
        "schedule": one.name,
        "period": number(round(one.gap, 3)),
        "p95": number(round(one.seconds, 3)),
        "sentence": f"{one.name} runs every {every} and takes {takes}.",
    }


def _rounded(seconds: float) -> float:
    return round(seconds, 0 if seconds >= 10 else 1 if seconds >= 1 else 3)
