"""Job queues: enqueue rates, drain rate, CPU per job, idle latency."""

from __future__ import annotations

import importlib
import statistics
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from benchmarks import kit
from benchmarks.accounting import Foreign, cpu_seconds, percentile
from benchmarks.bed import ROOT, Failed, Servers, ask, processes, wait
from benchmarks.environments import python_of

SHAPE = "2p"
CONTENDERS = ("jadwal", "celery", "celery_results_kept", "celery_results", "procrastinate")
STARTUP, SETTLING = 30.0, 60.0


@dataclass(slots=True)
class Contender:
    """One queue: its adapter, and the environment that its processes get. `root`: the checkout they run."""

    name: str
    servers: Servers
    database: str = ""
    root: Path = ROOT

    @property
    def module(self) -> ModuleType:
        return importlib.import_module(f"benchmarks.peers.q_{self.name}")

    @property
    def environment(self) -> dict[str, str]:
        made = self.servers.environment(self.database or f"bench_{self.name}")
        return {**made, **getattr(self.module, "ENV", {}), "PYTHONPATH": str(self.root)}

    def commands(self) -> list[list[str]]:
        return [list(command) for command in self.module.commands(SHAPE)]

    def do(self, what: str, jobs: int = 0, limit: float = 300) -> dict[str, Any]:
        """Run one verb of `queue_driver` in the contender's interpreter and return what it printed."""
        program = [python_of(self.module.VENV), "-m", "benchmarks.queue_driver", self.module.__name__]
        return ask(self.name, program, what, jobs, environment=self.environment, limit=limit, root=self.root)


def measure(
    contender: Contender,
    *,
    jobs: int = 20_000,
    singles: int = 5_000,
    latencies: int = 150,
    limit: float = 300,
) -> dict[str, Any]:
    """Enqueue, drain and ask for the latency once; return the figures."""
    jobs = min(jobs, getattr(contender.module, "MAX_JOBS", jobs))
    figures: dict[str, Any] = {"contender": contender.name, "jobs": jobs}
    contender.do("prepare")
    kit.forget()
    with Foreign() as seen:
        figures |= fill(contender, jobs, min(singles, jobs))
    figures["foreign_enqueue"] = seen.cores
    with processes(
        contender.commands(), logs=contender.servers.folder, environment=contender.environment,
        cwd=contender.root,
    ) as workers:  # fmt: skip
        figures |= drain(contender, jobs, workers, limit)
        if latencies:
            figures |= idle_latency(contender, latencies)
    contender.do("settled", jobs + (latencies if latencies else 0))
    return figures


def fill(contender: Contender, jobs: int, singles: int) -> dict[str, float]:
    """Put `jobs` jobs into the queue: `singles` by one call each, the others in bulk where there is a way."""
    one = contender.do("one", singles)
    figures = {"enqueue": one["rate"], "enqueue_cpu_us": one["cpu_us"]}
    if jobs > singles:
        bulk = contender.do("bulk", jobs - singles)
        if bulk:
            figures["bulk"] = bulk["rate"]
        else:
            contender.do("one", jobs - singles)
    return figures


def drain(
    contender: Contender, jobs: int, workers: Sequence[subprocess.Popen[bytes]], limit: float
) -> dict[str, Any]:
    """Wait until all jobs have run, and are recorded as done where the product records it.

    The clock starts with the first job's start, so that the start of the workers does not count. It ends
    with the last job's start, or, for a product that can tell, when the last job is committed as finished.
    """
    watched = {
        "worker": [worker.pid for worker in workers],
        "redis": [contender.servers.redis.pid],
        "postgres": [contender.servers.postgres.pid],
    }
    care: dict[str, Any] = {"running": workers, "logs": contender.servers.folder}
    wait(lambda: kit.count().jobs > 0, STARTUP, f"{contender.name}: no job ran", **care)
    before = {name: cpu_seconds(*pids) for name, pids in watched.items()}
    already = kit.count().jobs
    with Foreign() as seen:
        wait(lambda: kit.count().jobs >= jobs, limit, f"{contender.name}: not all of {jobs} jobs ran", **care)
        found = kit.count()
        ended = _committed(contender, jobs) or found.last
    spent = {name: cpu_seconds(*pids) - before[name] for name, pids in watched.items()}
    return {
        "drain": jobs / ((ended - found.first) / 1e9),
        "drain_starts": jobs / ((found.last - found.first) / 1e9),
        **{f"{name}_us": used / max(jobs - already, 1) * 1e6 for name, used in spent.items()},
        "foreign_drain": seen.cores,
    }


def _committed(contender: Contender, jobs: int) -> int | None:
    """Wait until all jobs are committed as finished; return when (monotonic ns), None where nothing tells."""
    if not hasattr(contender.module, "finished"):
        return None
    url = contender.environment["DATABASE_URL"]
    wait(
        lambda: contender.module.finished(url) >= jobs, SETTLING, f"{contender.name}: jobs were not finished"
    )
    return time.monotonic_ns()


def idle_latency(contender: Contender, samples: int) -> dict[str, float]:
    """Measure how long a job in an idle queue waits, from before the enqueueing call to its first line."""
    time.sleep(1.0)
    kit.forget_latencies()
    with Foreign() as seen:
        lost = contender.do("latency", samples)["lost"]
    found = kit.latencies()
    if lost or len(found) != samples:
        raise Failed(f"{contender.name}: {lost} of {samples} jobs did not start within seconds")
    return {
        "p50_ms": statistics.median(found),
        "p95_ms": percentile(found, 95),
        "foreign_latency": seen.cores,
    }
