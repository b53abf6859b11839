"""When the jobs that run in a pool must be over, with one timer for all of them.

Celery sets a timer for each job, and its queue of timers forgets none before it is due: a worker whose jobs have a
limit of an hour carries an hour of jobs that have long ended, 600 bytes each.
"""

from __future__ import annotations

import heapq
import math
from dataclasses import dataclass


@dataclass(slots=True)
class Limits:
    """The instants (CLOCK_MONOTONIC, in seconds) of one job; infinite where there is no limit."""

    soft: float
    hard: float

    @property
    def next(self) -> float:
        return min(self.soft, self.hard)


@dataclass(frozen=True, slots=True)
class Due:
    """A limit that a job has reached."""

    job: int
    soft: bool


class Deadlines:
    """The limits of the jobs that run now. Jobs are named by the numbers that the pool gives them."""

    def __init__(self) -> None:
        self._limits: dict[int, Limits] = {}
        self._armed: list[float] = []
        """The instants, as a heap, at which a timer comes: one that is not needed any more cannot be taken back."""

    def __len__(self) -> int:
        return len(self._limits)

    def begin(self, job: int, now: float, soft: float | None, hard: float | None) -> None:
        """Take note that `job` begins, with its limits in seconds.

        A soft limit that comes no earlier than the hard one is left out: it could not do anything.
        """
        limits = Limits(now + (soft or math.inf), now + (hard or math.inf))
        if limits.soft >= limits.hard:
            limits.soft = math.inf
        if limits.next < math.inf:
            self._limits[job] = limits

    def end(self, job: int) -> None:
        """Take note that `job` has ended."""
        self._limits.pop(job, None)

    def arm(self) -> float | None:
        """Return the instant for which a timer is wanted; None if one as early has been asked for."""
        next_one = min((limits.next for limits in self._limits.values()), default=math.inf)
        if next_one == math.inf or (self._armed and self._armed[0] <= next_one):
            return None
        heapq.heappush(self._armed, next_one)
        return next_one

    def take_due(self, now: float) -> list[Due]:
        """Return what is due, each once: called when a timer has come."""
        while self._armed and self._armed[0] <= now:
            heapq.heappop(self._armed)
        due = [Due(job, soft=one.hard > now) for job, one in self._limits.items() if one.next <= now]
        for one in due:
            if one.soft:
                self._limits[one.job].soft = math.inf
            else:
                del self._limits[one.job]
        return due
