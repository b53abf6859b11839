"""How full the queues will be: starts to come times how long they take (SEMANTICS 30).

Everything is counted in minutes from an origin. A schedule that fires often is given by the starts of one
period (an hour, a day, a week) that repeats, so that thousands of them cost no more than what they list.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

MINUTE = 60.0
PERIODS = (7 * 24 * 60, 24 * 60, 60, 1)
"""Lengths in minutes that a frequent schedule may be taken to repeat after."""

FEWEST = 5
"""Fewer schedules that start in one minute are no collision."""

MOST_COLLISIONS = 10
MOST_LOOKED_AT = 200
MOST_NAMES = 50
LONGEST_SPREAD = 59


@dataclass(frozen=True, slots=True)
class Load:
    """One schedule: when it starts, in seconds from the origin, and for how long it runs.

    `period` minutes after each start there is another one, for ever; 0 where the starts are all. `alone`
    is one that never runs beside itself. `seconds` is None where nothing was measured.
    """

    name: str
    queue: str
    starts: tuple[float, ...]
    seconds: float | None = None
    period: int = 0
    alone: bool = True

    @property
    def gap(self) -> float | None:
        """The shortest time between two starts; None for less than two."""
        gaps = [later - start for start, later in pairwise(self.starts)]
        if self.period and self.starts:
            gaps.append(self.starts[0] + self.period * MINUTE - self.starts[-1])
        return min((gap for gap in gaps if gap > 0), default=None)


@dataclass(frozen=True, slots=True)
class QueueForecast:
    """The busiest minute of a queue against the places its workers have."""

    queue: str
    starts: int
    busy_seconds: float
    peak: int
    peak_minute: int
    slots: int

    @property
    def is_overloaded(self) -> bool:
        """Whether jobs will have to wait for a place."""
        return self.peak > self.slots


@dataclass(frozen=True, slots=True)
class Collision:
    """Many schedules that start on one queue in the same minute, and how far to spread them.

    `repeats` counts the minutes at the same time of other days. `moves` are minutes to put each schedule
    off by; `spread` (minutes) does as a jitter for all of them.
    """

    queue: str
    minute: int
    schedules: int
    repeats: int
    spread: int
    moves: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Overrun:
    """A schedule that takes longer than the time until its next start."""

    name: str
    seconds: float
    gap: float


@dataclass(frozen=True, slots=True)
class Forecast:
    """What is to come, queue by queue."""

    queues: tuple[QueueForecast, ...]
    collisions: tuple[Collision, ...]
    overruns: tuple[Overrun, ...]


def repeating(starts: Sequence[float], *, complete: bool) -> tuple[tuple[float, ...], int]:
    """Return the starts of one period and its length in minutes, for a list that was cut off.

    A `complete` list is returned as it is, with period 0: it does not repeat.
    """
    if complete or len(starts) < 2:
        return tuple(starts), 0
    span = starts[-1] - starts[0]
    period = next((length for length in PERIODS if length * MINUTE <= span + 1e-6), 1)
    return tuple(start for start in starts if start < starts[0] + period * MINUTE - 1e-6), period


def forecast(loads: Iterable[Load], slots: Mapping[str, int], minutes: int) -> Forecast:
    """Return the forecast of so many minutes for these schedules; `slots` are the places of each queue."""
    by_queue: dict[str, list[Load]] = defaultdict(list)
    for load in loads:
        if load.starts:
            by_queue[load.queue].append(load)
    queues, collisions = [], []
    for queue, mine in sorted(by_queue.items()):
        starts = _total(mine, minutes, _starts)
        busy = _total(mine, minutes, _occupancy)
        peak = max(busy)
        queues.append(
            QueueForecast(
                queue,
                starts=sum(starts),
                busy_seconds=sum(_busy_seconds(load, minutes) for load in mine),
                peak=peak,
                peak_minute=busy.index(peak),
                slots=slots.get(queue, 0),
            )
        )
        collisions += _collisions(queue, mine, minutes, slots.get(queue, 0))
    collisions.sort(key=lambda one: (-one.schedules, one.minute))
    return Forecast(tuple(queues), tuple(collisions[:MOST_COLLISIONS]), overruns(by_queue))


def overruns(by_queue: Mapping[str, Sequence[Load]]) -> tuple[Overrun, ...]:
    """Return the schedules that take longer than their period, the worst first."""
    found = [
        Overrun(load.name, load.seconds, load.gap)
        for loads in by_queue.values()
        for load in loads
        if load.seconds is not None and load.gap is not None and load.seconds > load.gap
    ]
    return tuple(sorted(found, key=lambda one: -one.seconds / one.gap))


# --- Counting ---------------------------------------------------------------------------------------------


def _total(loads: Sequence[Load], minutes: int, count: object) -> list[int]:
    """Return a number for each minute: the sum of what every schedule adds, repeats included."""
    sums: dict[int, list[int]] = {}
    for load in loads:
        length = load.period or minutes
        into = sums.setdefault(load.period, [0] * length)
        for minute, number in count(load, length).items():  # type: ignore[operator]
            into[minute] += number
    total = sums.pop(0, [0] * minutes)
    for period, pattern in sums.items():
        total = [number + pattern[minute % period] for minute, number in enumerate(total)]
    return total


def _starts(load: Load, length: int) -> dict[int, int]:
    found = Counter(int(start // MINUTE) for start in load.starts)
    if load.period:
        return _folded(found, length)
    return {minute: number for minute, number in found.items() if minute < length}


def _folded(numbers: Mapping[int, int], length: int) -> dict[int, int]:
    folded: dict[int, int] = defaultdict(int)
    for minute, number in numbers.items():
        folded[minute % length] += number
    return folded


def _occupancy(load: Load, length: int) -> dict[int, int]:
    """Return how many runs of one schedule are under way in each minute.

    Short runs that follow one another within a minute are not counted as if they were side by side.
    """
    seconds = load.seconds or 0.0
    if seconds <= MINUTE:
        each = _starts(load, length)
        most = {minute: max(1, math.ceil(number * seconds / MINUTE)) for minute, number in each.items()}
        return dict.fromkeys(most, 1) if load.alone else most
    busy: dict[int, int] = defaultdict(int)
    ended = -1
    for start in load.starts:
        first, last = int(start // MINUTE), int((start + seconds) // MINUTE)
        if load.alone:
            first, ended = max(first, ended + 1), max(ended, last)
        if load.period and last - first >= length:
            whole, last = divmod(last - first + 1, length)
            for minute in range(length):
                busy[minute] += whole
            last += first - 1
        for minute in range(first, last + 1 if load.period else min(last + 1, length)):
            busy[minute % length] += 1
    return dict.fromkeys(busy, 1) if load.alone else busy


def _busy_seconds(load: Load, minutes: int) -> float:
    """Return for how long a schedule holds a place; one that runs alone holds no more than one."""
    times = len(load.starts) * (minutes / load.period if load.period else 1)
    seconds = times * (load.seconds or 0.0)
    return min(seconds, minutes * MINUTE) if load.alone else seconds


# --- Collisions -------------------------------------------------------------------------------------------


def _collisions(queue: str, loads: Sequence[Load], minutes: int, slots: int) -> list[Collision]:
    """Return the minutes in which too many schedules start; the same ones at other times are one."""
    present = {load.name: (load, {int(start // MINUTE) for start in load.starts}) for load in loads}
    meeting = _total(loads, minutes, _presence)
    threshold = max(FEWEST, slots + 1)
    by_time: dict[int, list[int]] = defaultdict(list)
    for minute, number in enumerate(meeting):
        if number >= threshold:
            by_time[minute % PERIODS[1]].append(minute)
    worst = sorted(by_time.values(), key=lambda found: -max(meeting[minute] for minute in found))
    collisions: dict[frozenset[str], Collision] = {}
    for found in worst[:MOST_LOOKED_AT]:
        minute = max(found, key=lambda one: (meeting[one], -one))
        here = [load for load, starts in present.values() if _starts_in(load, starts, minute)]
        names = frozenset(load.name for load in here)
        if names in collisions:
            continue
        collisions[names] = _collision(queue, here, minute, len(found), max(slots, 1))
        if len(collisions) == MOST_COLLISIONS:
            break
    return list(collisions.values())


def _collision(queue: str, here: Sequence[Load], minute: int, repeats: int, slots: int) -> Collision:
    work = sum(load.seconds or 1.0 for load in here)
    spread = min(max(math.ceil(work / slots / MINUTE), math.ceil(len(here) / slots), 1), LONGEST_SPREAD)
    # The longest stay where they are; the others follow, evenly.
    ordered = sorted(here, key=lambda load: (-(load.seconds or 0.0), load.name))
    moves = {
        load.name: round(number * spread / max(len(ordered) - 1, 1))
        for number, load in enumerate(ordered[:MOST_NAMES])
    }
    return Collision(queue, minute, len(here), repeats, spread, moves)


def _presence(load: Load, length: int) -> dict[int, int]:
    """Return the minutes in which a schedule starts, however often."""
    return dict.fromkeys(_starts(load, length), 1)


def _starts_in(load: Load, starts: set[int], minute: int) -> bool:
    if not load.period:
        return minute in starts
    first = min(starts)
    return first + (minute - first) % load.period in starts
