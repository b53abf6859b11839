"""`celery`, with a fault put into the process: the real program, wrapped at one named place.

    python -m tests.faults.injected --die-after claim --fuse FILE beat -A scheduler_project ...
    python -m tests.faults.injected --clock=-7200 worker -A scheduler_project ...

What is not ours goes to `celery` as it is. The product has no hooks for tests: its functions are replaced
here, in this process, by ones that call them and then end or stop the process. With `--fuse` nothing
happens before that file exists, so that the process can be seen to work first.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

Happens = Callable[[], None]

PLACES = ("select", "insert", "claim", "commit", "publish")
"""In a turn of a beat that has something to decide: after the claim's SELECT, after its INSERT, after all of
its writes (before COMMIT), after COMMIT (before publishing), after publishing."""


def shift_clock(seconds: float) -> None:
    """Let every clock of this process that tells the time of day be wrong by `seconds`; durations are right."""
    import time_machine

    time_machine.travel(time.time() + seconds, tick=True).start()


def put_in(place: str, happens: Happens) -> None:
    """Let `happens` be called at `place`, each time that something has been decided there."""
    from jobs.engine import claiming, dispatching, lifecycle

    match place:
        case "select":
            claiming.decide = _before(claiming.decide, happens)
        case "insert":
            lifecycle.birth = _after(lifecycle.birth, happens)
        case "claim":
            claiming.decide = _after(claiming.decide, happens)
        case "commit":
            dispatching.publish = _before(dispatching.publish, happens)
        case "publish":
            dispatching.publish = _after(dispatching.publish, happens)
        case _:
            raise ValueError(place)


def _before(real: Callable[..., Any], happens: Happens) -> Callable[..., Any]:
    def wrapped(rows: Any, *args: Any, **kwargs: Any) -> Any:
        if rows:
            happens()
        return real(rows, *args, **kwargs)

    return wrapped


def _after(real: Callable[..., Any], happens: Happens) -> Callable[..., Any]:
    def wrapped(rows: Any, *args: Any, **kwargs: Any) -> Any:
        result = real(rows, *args, **kwargs)
        if rows:
            happens()
        return result

    return wrapped


def sends(number: signal.Signals, fuse: Path | None) -> Happens:
    """Return what sends this process a signal, as soon as there is the fuse."""

    def happens() -> None:
        if fuse is None or fuse.exists():
            os.kill(os.getpid(), number)

    return happens


def main(arguments: list[str]) -> None:
    """Prepare this process, and be `celery`."""
    parser = argparse.ArgumentParser(prog="injected", allow_abbrev=False)
    parser.add_argument("--clock", type=float, default=0.0, help="seconds that its clock is wrong by")
    parser.add_argument("--die-after", choices=PLACES)
    parser.add_argument("--stop-after", choices=PLACES)
    parser.add_argument("--fuse", type=Path)
    ours, theirs = parser.parse_known_args(arguments)
    if ours.clock:
        shift_clock(ours.clock)
    import django

    django.setup()
    if ours.die_after:
        put_in(ours.die_after, sends(signal.SIGKILL, ours.fuse))
    if ours.stop_after:
        put_in(ours.stop_after, sends(signal.SIGSTOP, ours.fuse))
    from celery.__main__ import main as celery

    sys.argv = ["celery", *theirs]
    celery()


if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "scheduler_project.settings")
    main(sys.argv[1:])
