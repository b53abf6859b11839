"""Schedulers: a burst of N due at one instant, one beat and two, and what N schedules cost when idle."""

from __future__ import annotations

import importlib
import time
from collections.abc import Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from benchmarks.accounting import Foreign, cpu_seconds, resident_mib
from benchmarks.bed import Failed, Servers, ask, processes, wait
from benchmarks.environments import python_of

CONTENDERS = ("jadwal", "redbeat", "dcb", "apscheduler")
HEAD_START, FAR = 4.0, 3600.0
"""Seconds from arming to due: longer than the longest sleep of any beat here."""
READY, FIRST = 30.0, 120.0


@dataclass(slots=True)
class Contender:
    """One scheduler: its adapter, and the servers it works on."""

    name: str
    servers: Servers

    @property
    def module(self) -> ModuleType:
        return importlib.import_module(f"benchmarks.peers.sched_{self.name}")

    @property
    def environment(self) -> dict[str, str]:
        made = self.servers.environment(f"sched_{self.name}")
        return {**made, **getattr(self.module, "ENV", {})}

    def do(self, *words: object, limit: float = 900) -> dict[str, Any]:
        """Run one verb of `scheduler_driver` in the contender's interpreter and return what it printed."""
        program = [python_of(self.module.VENV), "-m", "benchmarks.scheduler_driver", self.module.__name__]
        return ask(self.name, program, *words, environment=self.environment, limit=limit)

    def beats(self, count: int) -> Any:
        """Run `count` beats while the block lasts."""
        programs = self.module.commands() * count
        return processes(programs, logs=self.servers.folder, environment=self.environment)

    def sent(self) -> int:
        """Return how many messages of the burst lie in Redis."""
        database, key = self.module.BROKER
        return max(0, int(self.servers.client(database).llen(key)) - getattr(self.module, "EXTRA", 0))


def burst(contender: Contender, count: int, *, beats: int = 1, limit: float = 60) -> dict[str, Any]:
    """Let `count` seeded schedules fall due at one instant under `beats` running beats.

    Returns the seconds from due to the last message in Redis (`last_s`) and the rate over that time. Where
    a product cannot be told an instant to come, the clock starts with its first message. A burst that is
    not over `limit` seconds after its first message is cut: `sent` says how far it came, and `last_s` is
    what that would lead to.
    """
    armed = hasattr(contender.module, "arm")
    if armed:
        contender.do("arm", FAR)  # seeded or left over, all would be due as soon as the beats start
    else:
        contender.do("seed", "burst", count)
    with contender.beats(beats) as running, Foreign() as seen:
        if armed:
            url = contender.environment["DATABASE_URL"]
            wanted = beats if contender.module.ALL_WORK else 1
            wait(
                lambda: contender.module.ready(url) >= wanted,
                READY,
                f"{contender.name}: no beat is at work",
                running=running,
                logs=contender.servers.folder,
            )
            told = contender.do("arm", HEAD_START + count / 15_000)
            if told["left_s"] < 1 or contender.sent():
                raise Failed(f"{contender.name}: arming took too long, {told['left_s']:.1f} s are left")
            began = told["at"]
            time.sleep(max(0.0, began - time.time() - 0.5))
        before = cpu_seconds(*(process.pid for process in running))
        first, last, sent = _watch(contender, count, limit)
        spent = cpu_seconds(*(process.pid for process in running)) - before
        began = began if armed else first
        if not sent or first < began:
            raise Failed(
                f"{contender.name}: {sent} sent, the first {first - began:.1f} s after they were due"
            )
        memory = max(resident_mib(process.pid, "VmHWM") for process in running)
    sent, cut = min(sent, count), sent < count
    over = first + count / sent * (last - first) if cut and sent else last
    return {
        "contender": contender.name,
        "schedules": count,
        "beats": beats,
        "sent": sent,
        "first_s": first - began,
        "last_s": over - began,
        "rate": count / max(over - began, 1e-9),
        "cut": int(cut),
        "beat_cpu_us": spent / max(sent, 1) * 1e6,
        "peak_mib": memory,
        "foreign": seen.cores,
    }


def _watch(contender: Contender, count: int, limit: float) -> tuple[float, float, int]:
    """Return when the first and the last message came (Unix time), and how many did within the limit."""
    started, first, sent = time.time(), 0.0, 0
    while sent < count:
        now = time.time()
        sent = contender.sent()
        first = first or (now if sent else 0.0)
        if now - (first or started + FIRST) > limit:
            break
        time.sleep(0.002)
    return first, time.time(), sent


def standing(contender: Contender, *, seconds: float = 4.0) -> dict[str, Any]:
    """Measure one beat over the seeded schedules, when nothing is due: as a process, and turn by turn.

    `idle_cpu_s_min` are the CPU seconds that an idle minute costs in the beat, `idle_server_s_min` those in
    PostgreSQL and Redis, both taken over `seconds`. `in_force_ms`, where a product can tell, is the time from
    the commit of an edit until the running beat has taken it over.
    """
    figures = {"contender": contender.name, **contender.do("turns")}
    with contender.beats(1) as running, Foreign() as seen:
        pid = running[0].pid
        _settled(contender, running)
        figures["memory_mib"] = resident_mib(pid)
        servers = (contender.servers.postgres.pid, contender.servers.redis.pid)
        before, before_servers, began = cpu_seconds(pid), cpu_seconds(*servers), time.monotonic()
        time.sleep(seconds)
        minutes = (time.monotonic() - began) / 60
        figures["idle_cpu_s_min"] = (cpu_seconds(pid) - before) / minutes
        figures["idle_server_s_min"] = (cpu_seconds(*servers) - before_servers) / minutes
        if hasattr(contender.module, "edit_in_force"):
            figures |= contender.do("edit")
    return figures | {"foreign": seen.cores}


def _settled(contender: Contender, running: Sequence[Any]) -> None:
    """Wait until a beat that has just been started has loaded what it loads."""
    pid, quiet_since, used = running[0].pid, time.monotonic(), 0.0

    def quiet() -> bool:
        nonlocal quiet_since, used
        now = cpu_seconds(pid)
        if now - used > 0.05:
            quiet_since, used = time.monotonic(), now
        return time.monotonic() - quiet_since > 1.5

    wait(quiet, READY * 4, f"{contender.name}: beat never rests", running=running, pause=0.2)
