"""What is known about a running instance: `status.json`, and the logs as people read them."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from .components import LOGS
from .environment import write_private
from .layout import State
from .processes import Identity


@dataclass(frozen=True)
class Item:
    """One component as `status` shows it. `started` makes the pid unmistakable."""

    name: str
    state: str
    pid: int | None
    started: str | None
    since: datetime | None
    url: str


def write_report(state: State, items: Sequence[Item], *, ready: bool) -> None:
    """Write what `status` reads. No URL in it has a password."""
    rows = [{**vars(item), "since": item.since and f"{item.since:%Y-%m-%dT%H:%M:%SZ}"} for item in items]
    write_private(state.status_file, json.dumps({"ready": ready, "items": rows}) + "\n")


def instance_status(state: State) -> dict[str, Any]:
    """`{"ready", "items"}` as it is now; items are empty when no supervisor runs."""
    if state.supervisor() is None:
        return {"ready": False, "items": []}
    report = state.report()
    items = [_as_seen(item) for item in report.get("items", [])]
    healthy = all(item["state"] in ("running", "external") for item in items)
    return {"ready": bool(report.get("ready")) and healthy, "items": items}


def _as_seen(item: dict[str, Any]) -> dict[str, Any]:
    """The item without its inner fields, and `dead` where the process is gone."""
    pid, started = item["pid"], item["started"]
    gone = pid is not None and not Identity(pid, started or "").alive()
    stopped = item["state"] in ("restarting", "stopped")
    return {
        "name": item["name"],
        "state": "dead" if gone and not stopped else item["state"],
        "pid": None if gone else pid,
        "since": item["since"],
        "url": item["url"] or None,
    }


def uptime(item: Mapping[str, Any]) -> str:
    """How long a component has run, `1d 02:03:04`; empty when it does not."""
    if not item["since"] or not item["pid"]:
        return ""
    age = datetime.now(UTC) - datetime.fromisoformat(item["since"])
    hours, rest = divmod(int(age.total_seconds()) % 86400, 3600)
    clock = f"{hours:02}:{rest // 60:02}:{rest % 60:02}"
    return f"{age.days}d {clock}" if age.days else clock


def prefixed(name: str, line: str, *, colour: bool) -> str:
    """A log line with its component in front, in a colour of its own where that is welcome."""
    label = f"{name:<{_WIDTH}} |"
    if colour and "NO_COLOR" not in os.environ:
        label = f"\x1b[{_COLOURS[LOGS.index(name) % len(_COLOURS)]}m{label}\x1b[0m"
    return f"{label} {line}"


_WIDTH = max(map(len, LOGS))
_COLOURS = (36, 33, 32, 35, 34, 31, 96, 93, 92, 95, 94, 91)


def last_lines(path: Path, count: int) -> list[str]:
    """The last `count` lines of a log; [] when there is none."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - 400 * count - 4096))
            return file.read().decode(errors="replace").splitlines()[-count:] if count else []
    except FileNotFoundError:
        return []


class Follower:
    """New lines of several logs, each time it is asked; survives rotation and truncation."""

    def __init__(
        self,
        state: State,
        components: Sequence[str] = LOGS,
        *,
        from_start: bool,
        leaving_out: Sequence[str] = (),
    ) -> None:
        components = [name for name in components if name not in leaving_out]
        self._paths = {name: state.log(name) for name in components}
        self._rest = dict.fromkeys(components, b"")
        self._at: dict[str, tuple[int, int]] = {}
        if not from_start:
            for name, path in self._paths.items():
                if path.exists():
                    self._at[name] = (path.stat().st_ino, path.stat().st_size)

    def new_lines(self) -> Iterator[tuple[str, str]]:
        """(component, line) for every complete line written since the last call."""
        for name, path in self._paths.items():
            try:
                with path.open("rb") as file:
                    found = path.stat()
                    inode, offset = self._at.get(name, (found.st_ino, 0))
                    file.seek(0 if inode != found.st_ino or found.st_size < offset else offset)
                    data = self._rest[name] + file.read()
                    self._at[name] = (found.st_ino, file.tell())
            except FileNotFoundError:
                continue
            *lines, self._rest[name] = data.split(b"\n")
            for line in lines:
                yield name, line.decode(errors="replace")
