"""What ended in the last 24 hours. However many jobs that is, a bounded number of them is looked at."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.core.cache import cache
from django.db import connection

from jobs.rules.states import Status

HOUR_LIMIT = 20_000
"""Counting the jobs of one hour stops here."""
COUNT_LIMIT = 50_000
"""And here for what is only counted over the whole day."""
SPAN = timedelta(hours=24)

REMEMBERED_FROM = 1_000
"""Hours with so many completed jobs are counted once; fewer are quickly counted again."""
REMEMBERED_FOR = timedelta(minutes=10)
SETTLED = timedelta(minutes=1)
"""So long after its end nothing more is expected of an hour: what ends is recorded within moments."""

Pieces = Sequence[tuple[datetime, datetime]]


@dataclass(frozen=True, slots=True)
class Hour:
    """What ended in one hour."""

    start: datetime
    completed: int
    failed: int


@dataclass(frozen=True, slots=True)
class Ended:
    """The hours of the last day, oldest first, and the numbers of all of it for people."""

    hours: list[Hour]
    texts: dict[str, str]


def ended(now: datetime) -> Ended:
    """Return what ended in the last 24 hours: in each clock hour, and in all.

    The span begins within a clock hour; what is left of that one counts for the sums only.
    """
    this = now.replace(minute=0, second=0, microsecond=0)
    starts = [this - timedelta(hours=back) for back in range(23, -1, -1)]
    pieces = [(now - SPAN, starts[0]), *((start, start + timedelta(hours=1)) for start in starts)]
    completed = _completed(pieces, now)
    failed = _counts(Status.FAILED, pieces, HOUR_LIMIT)
    hours = [Hour(start, completed[start], failed[start]) for start in starts]
    texts = {"completed": _sum(completed), "failed": _sum(failed)}
    for status in (Status.SKIPPED, Status.CANCELLED):
        [count] = _counts(status, [(now - SPAN, now + timedelta(hours=1))], COUNT_LIMIT).values()
        texts[status] = capped(count, COUNT_LIMIT)
    return Ended(hours, texts)


def capped(count: int, limit: int) -> str:
    """Return a count for people, `50,000+` where counting stopped."""
    return f"{count:,}+" if count >= limit else f"{count:,}"


def _sum(counts: dict[datetime, int]) -> str:
    more = "+" if max(counts.values()) >= HOUR_LIMIT else ""
    return f"{sum(counts.values()):,}{more}"


def _completed(pieces: Pieces, now: datetime) -> dict[datetime, int]:
    """Return what completed in each piece. A full hour that is over is remembered: it does not change."""
    over = {
        f"jadwal.completed.{start.timestamp():.0f}": start
        for start, stop in pieces[1:]
        if stop <= now - SETTLED
    }
    known = {over[key]: count for key, count in cache.get_many(over).items()}
    asked = [piece for piece in pieces if piece[0] not in known]
    found = _counts(Status.COMPLETED, asked, HOUR_LIMIT)
    many = {key: found[start] for key, start in over.items() if found.get(start, 0) >= REMEMBERED_FROM}
    if many:
        cache.set_many(many, REMEMBERED_FOR.total_seconds())
    return {**known, **found}


def _counts(status: Status, pieces: Pieces, limit: int) -> dict[datetime, int]:
    """Return how many jobs ended in this status in each piece, by its start; `limit` of each are counted."""
    with connection.cursor() as cursor:
        cursor.execute(
            """SELECT piece.start, (SELECT count(*) FROM (
                   SELECT 1 FROM jobs_job WHERE status = %(status)s AND finished_at >= piece.start
                   AND finished_at < piece.stop LIMIT %(limit)s) AS found)
               FROM unnest(%(starts)s::timestamptz[], %(stops)s::timestamptz[]) AS piece(start, stop)""",
            {
                "status": str(status),
                "limit": limit,
                "starts": [start for start, _ in pieces],
                "stops": [stop for _, stop in pieces],
            },
        )
        return dict(cursor.fetchall())
