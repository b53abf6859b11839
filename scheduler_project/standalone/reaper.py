"""Ends the children of a supervisor that was killed. Run by path, standard library only.

It reads lines from the supervisor on standard input: `+PID SIGNAL` (a child leads group PID and
wants SIGNAL to end; SIGKILL goes to the whole group), `-PID` (it has ended) and `bye` (an orderly
end). End of input without `bye` means that the supervisor is gone: every group left is asked to
end, and after `GRACE` seconds it is killed, worker children and all. It inherits the lock
of the state folder, so that the next `up` waits for it.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path

GRACE = 10.0


def start_ticks(pid: int) -> str | None:
    """When `pid` started, as the kernel counts; None where it does not exist or cannot be asked."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace")
        return status.rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return None


def group_exists(pid: int) -> bool:
    try:
        os.killpg(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


class Wards:
    """The process groups to end, in the order they were started."""

    def __init__(self) -> None:
        self._known: dict[int, tuple[int, str | None]] = {}

    def obey(self, line: str) -> bool:
        """Take one line of the supervisor; False means goodbye."""
        if line.startswith("+"):
            pid, number = map(int, line[1:].split())
            self._known[pid] = (number, start_ticks(pid))
        elif line.startswith("-"):
            self._known.pop(int(line[1:]), None)
        return not line.startswith("bye")

    def left(self) -> list[int]:
        """The groups that still exist. A leader with another start time is a stranger's pid."""
        return [
            pid
            for pid, (_, ticks) in self._known.items()
            if group_exists(pid) and start_ticks(pid) in (None, ticks)
        ]

    def end(self, grace: float) -> None:
        for pid in reversed(self.left()):
            number = self._known[pid][0]
            with suppress(ProcessLookupError):
                os.killpg(pid, number) if number == signal.SIGKILL else os.kill(pid, number)
        deadline = time.monotonic() + grace
        while self.left() and time.monotonic() < deadline:
            time.sleep(0.1)
        for pid in self.left():
            with suppress(ProcessLookupError):
                os.killpg(pid, signal.SIGKILL)


def main() -> None:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    wards = Wards()
    for line in sys.stdin:
        if not wards.obey(line):
            return
    wards.end(GRACE)


if __name__ == "__main__":
    main()
