"""Runs inside a contender's interpreter, started by `benchmarks.schedulers`: prints one JSON object.

python -m benchmarks.scheduler_driver MODULE seed KIND COUNT
python -m benchmarks.scheduler_driver MODULE arm SECONDS_FROM_NOW
python -m benchmarks.scheduler_driver MODULE edit
python -m benchmarks.scheduler_driver MODULE turns
"""

from __future__ import annotations

import importlib
import json
import os
import statistics
import sys
import time
from datetime import UTC, datetime, timedelta
from typing import Any

from benchmarks import specs
from benchmarks.accounting import resident_mib

SETTLE_LIMIT = 60.0


def seed(module: Any, kind: str, count: str) -> dict[str, float]:
    """Make the schedules of one kind, `burst` or `mix`; return what it took."""
    rows = {"burst": specs.burst, "mix": specs.mix}[kind](int(count))
    began = time.monotonic()
    told = module.seed(rows, kind == "burst") or {}
    return {**told, "seed_s": time.monotonic() - began}


def arm(module: Any, seconds: str) -> dict[str, float]:
    """Let all schedules of a burst fall due so many seconds from now; return when that is."""
    at = datetime.now(UTC) + timedelta(seconds=float(seconds))
    module.arm(at)
    return {"at": at.timestamp(), "left_s": (at - datetime.now(UTC)).total_seconds()}


def settle(bench: Any) -> None:
    """Take turns until nothing is due."""
    deadline = time.monotonic() + SETTLE_LIMIT
    while not bench.tick() > 0:
        if time.monotonic() > deadline:
            raise TimeoutError("there is always something due")


def turns(module: Any) -> dict[str, Any]:
    """Measure a beat's turns in this process: when nothing is due, after an edit, with 100 due."""
    bench = module.Bench()
    settle(bench)
    found = {"idle_turn_ms": statistics.median(timed(bench.tick) for _ in range(12))}
    edits, after = [], []
    for _ in range(3):
        edits.append(timed(bench.edit_one))
        time.sleep(0.01)
        after.append(timed(bench.tick))
        settle(bench)
    found |= {"edit_ms": statistics.median(edits), "turn_after_edit_ms": statistics.median(after)}
    if bench.EDIT_IS_RELOAD:
        bench.flush_state()
    sent, asked = bench.dispatched(), bench.make_due(100)
    time.sleep(0.01)
    if bench.EDIT_IS_RELOAD:
        bench.tick()  # this turn is the reload, which is measured above
    spent = timed(lambda: settle(bench))
    done = bench.dispatched() - sent
    if not bench.EDIT_IS_RELOAD and done != asked:
        raise AssertionError(f"{asked} were due, {done} were sent")
    found |= {"due_100_ms": spent * 100 / max(done, 1), "peak_mib": resident_mib(what="VmHWM")}
    bench.close()
    return found


def edit(module: Any) -> dict[str, float]:
    """Edit a schedule under a running beat, three times; return how long until the beat had taken it over."""
    found = [module.edit_in_force() * 1e3 for _ in range(3)]
    return {"in_force_ms": statistics.median(found), "in_force_most_ms": max(found)}


def timed(act: Any) -> float:
    """Return how many milliseconds `act` takes."""
    began = time.perf_counter()
    act()
    return (time.perf_counter() - began) * 1e3


def main() -> None:
    """Do one verb."""
    name, verb, *words = sys.argv[1:]
    module = importlib.import_module(name)
    module.setup()
    found = {"seed": seed, "arm": arm, "turns": turns, "edit": edit}[verb](module, *words)
    print(json.dumps(found), flush=True)
    os._exit(0)  # django-celery-beat writes its state at exit, for minutes after a burst


if __name__ == "__main__":
    main()
