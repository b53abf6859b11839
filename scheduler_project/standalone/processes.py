"""Starting, recognising and ending operating system processes.

Three facts shape this module. A child asks the kernel to be signalled when its parent dies
(PR_SET_PDEATHSIG), so that `kill -9` of the parent leaves no orphan. The kernel means the parent
*thread*: call `spawn` from a thread that lives as long as the children, in practice the main one.
And a pid alone names nobody, because pids are reused: `Identity` is the pid with its start time.
"""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil  # type: ignore[import-untyped]

HOST = "127.0.0.1"
_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None


@dataclass(frozen=True)
class OsUser:
    """The operating system account a child runs as; supplementary groups are dropped."""

    name: str
    uid: int
    gid: int


@dataclass(frozen=True)
class Identity:
    """A process that cannot be mistaken for a later one with the same pid.

    `started` is the kernel's count of ticks with the id of the boot. Unlike a time of day it does
    not move when the clock is set.
    """

    pid: int
    started: str

    @classmethod
    def of(cls, pid: int) -> Identity | None:
        """The process `pid` is now; None when there is none, or only a zombie."""
        started = _started(pid)
        return cls(pid, started) if started else None

    def alive(self) -> bool:
        """Whether this very process still runs. A zombie does not."""
        return _started(self.pid) == self.started


def _started(pid: int) -> str | None:
    if sys.platform != "linux":
        try:
            process = psutil.Process(pid)
            zombie = process.status() == psutil.STATUS_ZOMBIE
            return None if zombie else str(process.create_time())
        except psutil.Error:
            return None
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return None
    return None if fields[0] in "ZX" else f"{fields[19]}@{boot}"


def _arm(death_signal: signal.Signals) -> Callable[[], None]:
    """What the child runs between fork and exec: be told when the parent dies.

    subprocess changes uid and gid before it calls this, which matters: a change of credentials
    afterwards would clear the setting.
    """
    parent = os.getpid()

    def in_child() -> None:
        if _LIBC is None:
            return
        _LIBC.prctl(_PR_SET_PDEATHSIG, int(death_signal), 0, 0, 0)
        if os.getppid() != parent:  # the parent died before the line above
            os._exit(128 + int(death_signal))

    return in_child


def spawn(
    argv: Sequence[str | Path],
    *,
    log: Path | None = None,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    user: OsUser | None = None,
    death_signal: signal.Signals = signal.SIGTERM,
) -> subprocess.Popen[bytes]:
    """Start `argv` in a session of its own, appending its output to `log` (None: discarded)."""
    output = open_private(log) if log else subprocess.DEVNULL
    try:
        return subprocess.Popen(
            [str(part) for part in argv],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=dict(env) if env is not None else None,
            cwd=cwd,
            start_new_session=True,
            user=user.uid if user else None,
            group=user.gid if user else None,
            extra_groups=[] if user else None,
            preexec_fn=_arm(death_signal),  # one prctl call, no lock is taken
        )
    finally:
        if log:
            os.close(output)


def open_private(path: Path) -> int:
    """A descriptor that appends to `path`, created readable by its owner only."""
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)


def signal_process(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
    """Signal a child; one that has ended already is no error."""
    with suppress(ProcessLookupError):
        process.send_signal(number)


def kill_group(pid: int, number: signal.Signals = signal.SIGKILL) -> None:
    """Signal the whole group that `pid` leads; a group that is gone is no error."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, number)


def wait_until(condition: Callable[[], bool], timeout: float, interval: float = 0.05) -> bool:
    """Poll `condition` until it holds; False after `timeout` seconds."""
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() >= deadline:
            return False
        time.sleep(interval)
    return True


def processes_in(folder: Path, name: str) -> list[int]:
    """The pids of the processes called `name` whose working directory is `folder`."""
    found = []
    for process in psutil.process_iter(["name"]):
        try:
            if process.info["name"] == name and process.cwd() == str(folder):
                found.append(int(process.pid))
        except psutil.Error:
            continue
    return found


def port_is_free(port: int) -> bool:
    """Whether 127.0.0.1:`port` can be listened on at this moment."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
            probe.listen(1)
        except OSError:
            return False
    return True


def port_answers(port: int) -> bool:
    """Whether somebody accepts connections on 127.0.0.1:`port`."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.settimeout(0.5)
        return probe.connect_ex((HOST, port)) == 0


def free_port() -> int:
    """A TCP port that nobody listens on, chosen by the kernel."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])
