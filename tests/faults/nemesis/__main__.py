"""The command: servers, a plan, the acts at their times, healing, judgement. Exit code 1 for a violation."""

from __future__ import annotations

import argparse
import heapq
import itertools
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from scheduler_project.standalone.processes import port_is_free
from scheduler_project.standalone.servers import Postgres, Redis
from tests.faults.nemesis.plan import Act, make_plan

if TYPE_CHECKING:
    from tests.faults.nemesis.stage import Stage, Undo

LOOK_SECONDS = 0.1


def main() -> int:
    """Run, say what came of it, and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults.nemesis")
    parser.add_argument("--minutes", type=float, default=60.0, help="of faults; healing comes after them")
    parser.add_argument("--seed", type=int, default=None, help="of the plan; a random one is printed")
    parser.add_argument("--plan", action="store_true", help="only print the plan")
    wanted = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that no process is left behind
    seed = random.SystemRandom().randrange(1_000_000) if wanted.seed is None else wanted.seed
    plan = make_plan(seed, wanted.minutes)
    print(f"nemesis: seed {seed}, {len(plan)} faults in {wanted.minutes:g} minutes", flush=True)
    if wanted.plan:
        print(*plan, sep="\n")
        return 0
    folder = Path(tempfile.mkdtemp(prefix="jadwal-nemesis-"))
    folder.chmod(0o755)  # PostgreSQL does not run as root
    ports = _ports()
    with (
        Postgres(folder / "postgres", next(ports), temporary=True) as postgres,
        Redis(folder / "redis", next(ports)) as redis,
    ):
        violations = _run(folder, postgres, redis, plan, seed)
    if violations:
        print(f"\nseed {seed}: {len(violations)} violation(s); logs, notes and promises are in {folder}")
        return 1
    shutil.rmtree(folder, ignore_errors=True)
    print(f"\nseed {seed}: survived")
    return 0


def _ports() -> Iterator[int]:
    """Yield free ports for servers that come and go: not such as a client's own end of a connection may take."""
    dice = random.SystemRandom()
    while True:
        port = dice.randrange(20_000, 30_000)
        if port_is_free(port):
            yield port


def _run(folder: Path, postgres: Postgres, redis: Redis, plan: list[Act], seed: int) -> list[str]:
    os.environ.update(
        DJANGO_SETTINGS_MODULE="scheduler_project.settings",
        DATABASE_URL=postgres.url,
        REDIS_URL=redis.url,
        SECRET_KEY="nemesis-only",
        JADWAL_STATE_DIR=str(folder / "state"),
        JADWAL_SCHEDULABLE="tests.*",
        JADWAL_HEARTBEAT_SECONDS="1",
        JADWAL_LEASE_SECONDS="6",
    )
    import django

    django.setup()
    from django.core.management import call_command

    from tests.faults.nemesis.judging import Judgement
    from tests.faults.nemesis.stage import Stage

    call_command("migrate", verbosity=0)
    stage = Stage(folder, postgres, redis, seed)
    try:
        stage.open()
        act_on(stage, plan)
        judgement = Judgement(stage)
        judgement.pass_on(stage.quiet())
    finally:
        stage.close()
    for name, figure in judgement.figures.items():
        print(f"{name}: {dict(figure) if isinstance(figure, dict) else figure}")
    for violation in judgement.violations:
        print(f"VIOLATION {violation}")
    return judgement.violations


def act_on(stage: Stage, plan: list[Act]) -> None:
    """Do what is planned, each act at its time, and end each that lasts; everything is healed at the end."""
    began = time.monotonic()
    order = itertools.count()
    to_undo: list[tuple[float, int, str, Undo]] = []

    def pass_time(until: float) -> None:
        while True:
            now = time.monotonic() - began
            while to_undo and to_undo[0][0] <= now:  # also when the next act is overdue
                _, _, name, undo = heapq.heappop(to_undo)
                undo()
                print(f"{now:8.1f} s  ... {name} is over", flush=True)
            if now >= until or (until == float("inf") and not to_undo):
                return
            stage.tend()
            time.sleep(LOOK_SECONDS)

    for act in plan:
        pass_time(act.at)
        print(act, flush=True)
        undo = stage.do(act)
        if undo is not None:
            heapq.heappush(to_undo, (time.monotonic() - began + act.seconds, next(order), act.name, undo))
    pass_time(float("inf"))
    stage.tend()


if __name__ == "__main__":
    sys.exit(main())
