"""What is going to happen, and when: a pure function of a seed."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass

BEATS, WORKERS = 3, 3
WARM_UP = 10.0
"""Seconds in which nothing happens: the processes start."""
COME_BACK = 5.0
"""Seconds before the same process or server suffers again: it must be there to suffer."""


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of fault: what it happens to, how often compared with others, how long it lasts, how much of it."""

    to: str
    weight: int
    seconds: tuple[float, float] = (0.0, 0.0)
    number: tuple[int, int] = (0, 0)


KINDS = {
    "kill_beat": Kind("beat", 6),
    "freeze_beat": Kind("beat", 4, seconds=(2, 15)),
    "kill_worker": Kind("worker", 6),
    "kill_worker_main": Kind("worker", 3),
    "kill_child": Kind("worker", 6, number=(0, 9)),
    "stop_worker": Kind("worker", 4),
    "freeze_worker": Kind("worker", 4, seconds=(3, 14)),
    "kill_redis": Kind("redis", 4, seconds=(0, 8)),
    "flush_redis": Kind("redis", 4),
    "kill_clients": Kind("redis", 4),
    "freeze_redis": Kind("redis", 2, seconds=(10, 30)),
    "send_duplicates": Kind("redis", 5, number=(1, 20)),
    "send_rubbish": Kind("redis", 4, number=(1, 5)),
    "crash_postgres": Kind("postgres", 3, seconds=(0, 12)),
    "restart_postgres": Kind("postgres", 2),
    "end_sessions": Kind("postgres", 4, number=(1, 10)),
}
"""Freezing a worker for longer than its lease is among it: the lease is 6 s."""

COUNT = {"beat": BEATS, "worker": WORKERS, "redis": 1, "postgres": 1}


@dataclass(frozen=True, slots=True)
class Act:
    """One fault: `at` seconds from the beginning, to which one of its kind, for how long, how much."""

    at: float
    name: str
    which: int
    seconds: float
    number: int

    def __str__(self) -> str:
        kind = KINDS[self.name]
        words = [f"{self.at:8.1f} s  {self.name}"]
        if COUNT[kind.to] > 1:
            words.append(f"{kind.to} {self.which}")
        if self.seconds:
            words.append(f"for {self.seconds:.1f} s")
        if kind.number[1]:
            words.append(f"({self.number})")
        return " ".join(words)


def make_plan(seed: int, minutes: float) -> list[Act]:
    """Return the acts of so many minutes, in the order of their times."""
    return list(_acts(random.Random(seed), minutes * 60))


def _acts(dice: random.Random, end: float) -> Iterator[Act]:
    free_at: dict[tuple[str, int], float] = {}
    names, weights = list(KINDS), [kind.weight for kind in KINDS.values()]
    at = WARM_UP
    while True:
        at += dice.uniform(0.5, 5.0)
        name = dice.choices(names, weights)[0]
        kind = KINDS[name]
        which = dice.randrange(COUNT[kind.to])
        seconds = round(dice.uniform(*kind.seconds), 1)
        number = dice.randint(*kind.number)
        if at + seconds > end:
            return
        if free_at.get((kind.to, which), 0.0) > at:
            continue
        free_at[kind.to, which] = at + seconds + COME_BACK
        yield Act(round(at, 1), name, which, seconds, number)
