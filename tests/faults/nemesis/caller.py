"""A program that calls tasks all the time, as a web process does, and keeps a list of what it was promised.

    python -m tests.faults.nemesis.caller NOTES PROMISES SEED

Each line of PROMISES is `job ...`, the ids of one call in the order of their chain: `.delay()` has returned, so
these must not get lost. A call that raised is `error ...`: it may have made a job, or not.
"""

from __future__ import annotations

import os
import random
import signal
import sys
import time
from typing import Any

import django

PAUSE = (0.1, 0.6)
"""Seconds between two calls."""


def main(notes: str, promises: str, seed: int) -> None:
    """Call until SIGTERM."""
    django.setup()
    from django.db import close_old_connections

    dice = random.Random(seed)
    ended: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _: ended.append(number))
    descriptor = os.open(promises, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    while not ended:
        close_old_connections()  # as Django does around each request
        try:
            line = " ".join(["job", *_call(dice, notes)])
        except Exception as exc:  # the caller of a task can only be told
            line = f"error {type(exc).__name__}: {' '.join(str(exc).split())}"
        os.write(descriptor, f"{line}\n".encode())
        time.sleep(dice.uniform(*PAUSE))


def _call(dice: random.Random, notes: str) -> list[str]:
    """Call one task, or a chain; return the ids in the order in which they run."""
    from celery import chain

    from tests.faults.nemesis import load

    kind = dice.choices(["short", "long", "flaky", "hopeless", "crash", "chain"], [12, 2, 2, 1, 1, 2])[0]
    seconds, failures = dice.uniform(0.0, 0.3), dice.randint(1, 2)
    call: Any
    match kind:
        case "short":
            call = load.work.delay(notes, seconds)
        case "long":
            call = load.work.delay(notes, 30 * seconds)
        case "flaky":
            call = load.flaky.delay(notes, failures)
        case "hopeless":
            call = load.hopeless.delay(notes)
        case "crash":
            call = load.crash.delay(notes)
        case _:
            call = chain(*(load.work.si(notes, seconds) for _ in range(3))).apply_async()
    ids = []
    while call is not None:
        ids.append(str(call.id))
        call = call.parent
    return ids[::-1]


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
