"""CPU, memory and statistics, read from /proc: standard library only."""

from __future__ import annotations

import os
import platform
import time
from pathlib import Path
from typing import Any, Self

_TICK = os.sysconf("SC_CLK_TCK")


def _processes() -> dict[int, tuple[int, float]]:
    """Every process: its parent, and the CPU seconds of itself and of its children that have ended."""
    found = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            found[int(entry.name)] = (int(fields[1]), sum(map(int, fields[11:15])) / _TICK)
    return found


def cpu_seconds(*roots: int) -> float:
    """Return the CPU seconds used so far by these processes and all that descend from them."""
    processes = _processes()
    children: dict[int, list[int]] = {}
    for pid, (parent, _) in processes.items():
        children.setdefault(parent, []).append(pid)
    waiting, total = [pid for pid in roots if pid in processes], 0.0
    while waiting:
        pid = waiting.pop()
        total += processes[pid][1]
        waiting += children.get(pid, [])
    return total


def machine_seconds() -> float:
    """Return the CPU seconds the whole machine has been busy since it started."""
    fields = [int(word) for word in Path("/proc/stat").read_text().split(maxsplit=9)[1:9]]
    user, nice, system, _idle, _wait, irq, softirq, _steal = fields
    return (user + nice + system + irq + softirq) / _TICK


def resident_mib(pid: int | str = "self", what: str = "VmRSS") -> float:
    """Return the resident memory of a process in MiB; `what` may be `VmHWM`, its peak."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(what):
            return int(line.split()[1]) / 1024
    raise LookupError(what)


class Foreign:
    """How many cores programs outside this benchmark took during a block: `with Foreign() as seen:`."""

    cores = 0.0

    def __enter__(self) -> Self:
        self._at = time.monotonic()
        self._machine, self._own = machine_seconds(), cpu_seconds(os.getpid())
        return self

    def __exit__(self, *_: object) -> None:
        spent = time.monotonic() - self._at
        busy = machine_seconds() - self._machine - (cpu_seconds(os.getpid()) - self._own)
        self.cores = round(max(0.0, busy / max(spent, 1e-6)), 2)


def percentile(values: list[float], percent: float) -> float:
    """Return the value that `percent` of `values` do not exceed."""
    return sorted(values)[min(len(values) - 1, int(len(values) * percent / 100))]


def machine() -> dict[str, Any]:
    """Describe this machine, without naming it."""
    model = "unknown"
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
            break
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "cores": os.cpu_count(),
        "cpu": model,
        "memory_gib": round(memory / 2**30),
        "os": f"{platform.system()} {platform.release().split('-')[0]}",
        "python": platform.python_version(),
    }
