"""The drain rate of no-op jobs of two checkouts of this repository, alternating in one run (A B A B ...).

    python -m benchmarks pairwise --base REVISION [--head REVISION] [--rounds 3] [--jobs 5000]

The base is a git worktree in a temporary folder; the head is a copy of the working tree as it is now, or
another revision. Both run with this environment and this harness, each on a database and a Redis of its
own, and after each drain every job must be completed in the database, with its attempt and its result.
"""

from __future__ import annotations

import argparse
import contextlib
import shutil
import statistics
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.bed import ROOT, servers
from benchmarks.queues import Contender, measure

FIGURES = {
    "drain": "jobs/s drained",
    "enqueue": ".delay() calls/s",
    "worker_us": "worker CPU us/job",
    "postgres_us": "PostgreSQL CPU us/job",
    "p50_ms": "idle latency p50 ms",
}


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("--base", required=True, help="the git revision to compare with")
    parser.add_argument("--head", default="", help="a git revision; the working tree if it is not given")
    parser.add_argument("--rounds", type=int, default=3, help="how often each is measured (%(default)s)")
    parser.add_argument("--jobs", type=int, default=5_000, help="no-op jobs per drain (%(default)s)")
    parser.add_argument("--latencies", type=int, default=100, help="jobs for the latency (%(default)s)")


def run(options: argparse.Namespace) -> None:
    """Measure both, alternating, and print medians and ratios."""
    found: dict[str, list[dict[str, Any]]] = {"base": [], "head": []}
    with checkout(options.base) as base, checkout(options.head) as head:
        for number in range(options.rounds):
            for name, root in (("base", base), ("head", head)):
                with servers() as started:  # fresh ones: neither inherits the other's bloat
                    contender = Contender("jadwal", started, root=root)
                    figures = measure(
                        contender, jobs=options.jobs, singles=options.jobs, latencies=options.latencies
                    )
                found[name].append(figures)
                line = ", ".join(
                    f"{figures[key]:,.1f} {label}" for key, label in FIGURES.items() if key in figures
                )
                print(f"{name} {number + 1}: {line} (foreign cores {figures['foreign_drain']})", flush=True)
    for key, label in FIGURES.items():
        if any(key not in figures for figures in found["base"] + found["head"]):
            continue
        base_median, head_median = (
            statistics.median(figures[key] for figures in found[name]) for name in ("base", "head")
        )
        ratio = head_median / base_median
        print(f"{label:<24} base {base_median:>10,.1f}   head {head_median:>10,.1f}   ratio {ratio:.2f}")


@contextlib.contextmanager
def checkout(revision: str) -> Iterator[Path]:
    """Have `revision`, or the working tree where it is empty, in a temporary folder, with this harness in it."""
    with tempfile.TemporaryDirectory(prefix="jadwal-checkout-") as name:
        folder = Path(name) / "checkout"
        if revision:
            git("worktree", "add", "--detach", "--quiet", str(folder), revision)
        else:
            _copy_of_the_working_tree(folder)
        try:
            shutil.rmtree(folder / "benchmarks", ignore_errors=True)
            shutil.copytree(
                ROOT / "benchmarks", folder / "benchmarks", ignore=shutil.ignore_patterns("__pycache__")
            )
            yield folder
        finally:
            if revision:
                git("worktree", "remove", "--force", str(folder))


def _copy_of_the_working_tree(folder: Path) -> None:
    listed = git("ls-files", "-z", "--cached", "--others", "--exclude-standard")
    for name in listed.split("\0"):
        if name and (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)


def git(*words: str) -> str:
    """Run git in this repository and return what it prints."""
    return subprocess.run(["git", *words], cwd=ROOT, check=True, capture_output=True, text=True).stdout
