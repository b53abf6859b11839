"""Growth: what a million finished jobs do to the pages, the commands and the engine's statements."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

from benchmarks.accounting import Foreign
from benchmarks.bed import Failed, Servers, ask

SIZES = {"small": (10_000, 1_000), "large": (1_000_000, 100_000)}
"""Finished and waiting jobs."""


def run(servers: Servers, repeats: int) -> Iterator[dict[str, Any]]:
    """Fill both databases, then measure them in turns; yield one record per measurement."""
    for size, (finished, waiting) in SIZES.items():
        told = drive(servers, size, "seed", finished, waiting)
        if (told["finished"], told["waiting"]) != (finished, waiting):
            raise Failed(f"{size}: seeded {told}")
    for number in range(repeats):
        for size, (finished, waiting) in SIZES.items():
            with Foreign() as seen:
                figures = drive(servers, size, "measure")
            yield {
                "contender": "jadwal",
                "repeat": number,
                "size": size,
                "finished": finished,
                "waiting": waiting,
                "foreign": seen.cores,
                **figures,
            }


def drive(servers: Servers, size: str, *words: object) -> dict[str, Any]:
    """Run one verb of `growth_driver` on the database of one size; return what it printed."""
    program = [sys.executable, "-m", "benchmarks.growth_driver"]
    return ask(
        f"growth {size}", program, *words, environment=servers.environment(f"growth_{size}"), limit=900
    )
