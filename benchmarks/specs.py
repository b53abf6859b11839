"""The schedules of the scheduler benchmarks, the same for every contender. Standard library only.

A time is `("cron", minute, hour)`, `("every", hours)` or `("at", datetime)`.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

QUIET = 30
"""Minutes from now in which nothing of a mix falls due."""

Spec = tuple[Any, ...]


def burst(count: int) -> Iterator[tuple[str, Spec]]:
    """Yield `count` daily crontabs of one and the same minute, which has just passed."""
    at = datetime.now(UTC) - timedelta(minutes=1)
    for number in range(count):
        yield f"s{number}", ("cron", str(at.minute), str(at.hour))


def mix(count: int) -> Iterator[tuple[str, Spec]]:
    """Yield `count` schedules: of 20, 16 are crontabs all over the day, 3 intervals of hours, 1 a one-shot."""
    now = datetime.now(UTC)
    first = now.hour * 60 + now.minute + QUIET
    minutes = [(first + step) % 1440 for step in range(1440 - QUIET - 1)]
    for number in range(count):
        place = number % 20
        if place < 16:
            minute = minutes[number * 7919 % len(minutes)]
            yield f"s{number}", ("cron", str(minute % 60), str(minute // 60))
        elif place < 19:
            yield f"s{number}", ("every", (6, 8, 12, 24)[number % 4])
        else:
            later = timedelta(minutes=QUIET + 31 + number % 1380, seconds=number % 60)
            yield f"s{number}", ("at", now + later)
