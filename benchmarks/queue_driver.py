"""Runs inside a contender's interpreter, started by `benchmarks.queues`: prints one JSON object.

python -m benchmarks.queue_driver MODULE prepare|one|bulk|latency|settled COUNT
"""

from __future__ import annotations

import importlib
import json
import os
import random
import sys
import time
from typing import Any

from benchmarks import kit

LATENCY_TIMEOUT = 5.0


def one(client: Any, jobs: int) -> dict[str, float]:
    """Enqueue one after the other; the first call, which connects, is not timed."""
    client.one(0)
    began, cpu = time.monotonic(), time.process_time()
    for _ in range(jobs - 1):
        client.one(0)
    spent = time.monotonic() - began
    return {"rate": (jobs - 1) / spent, "cpu_us": (time.process_time() - cpu) / (jobs - 1) * 1e6}


def bulk(client: Any, jobs: int) -> dict[str, float]:
    """Enqueue in bulk; nothing is returned where the product has no such call."""
    if not hasattr(client, "many"):
        return {}
    began = time.monotonic()
    try:
        client.many(jobs)
    except NotImplementedError:
        return {}
    return {"rate": jobs / (time.monotonic() - began)}


def latency(client: Any, jobs: int) -> dict[str, int]:
    """Enqueue one job at a time into an idle queue, after a random pause; return how many were lost."""
    dice, lost = random.Random(1), 0
    for _ in range(jobs):
        time.sleep(dice.uniform(0.01, 0.03))
        before = kit.count().jobs
        client.one(time.monotonic_ns())
        deadline = time.monotonic() + LATENCY_TIMEOUT
        while kit.count().jobs == before:
            if time.monotonic() > deadline:
                lost += 1
                break
            time.sleep(0.002)
    return {"lost": lost}


def act(module: Any, what: str, jobs: int) -> Any:
    """Do one of the verbs; return what is printed."""
    if what == "prepare":
        module.prepare()
        return {}
    if what == "settled":
        getattr(module, "settled", lambda _: None)(jobs)
        return {}
    return {"one": one, "bulk": bulk, "latency": latency}[what](module.Client(), jobs)


if __name__ == "__main__":
    found = act(importlib.import_module(sys.argv[1]), sys.argv[2], int(sys.argv[3]))
    print(json.dumps(found), flush=True)
    os._exit(0)  # pools and connections of some products take seconds to close
