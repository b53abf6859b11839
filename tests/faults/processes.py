"""Stopping and killing a worker with all its processes, wherever their groups are."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import psutil


def family(process: subprocess.Popen[bytes]) -> list[psutil.Process]:
    """Return a worker's main process and everything below it, the main process first."""
    main = psutil.Process(process.pid)
    return [main, *main.children(recursive=True)]


def kill(process: subprocess.Popen[bytes]) -> None:
    """SIGKILL a worker and all its children: what a lost machine looks like to the others."""
    with frozen(process) as members:  # so that no child sees another one die
        for member in members:
            with suppress(psutil.NoSuchProcess):
                member.kill()
    process.wait(timeout=10)


def freeze(process: subprocess.Popen[bytes]) -> list[psutil.Process]:
    """SIGSTOP a worker and all its children; return them for `thaw`."""
    main = psutil.Process(process.pid)
    main.suspend()  # from here on it makes no more children
    members = family(process)
    for member in members:
        with suppress(psutil.NoSuchProcess):
            member.suspend()
    return members


def thaw(members: list[psutil.Process]) -> None:
    """SIGCONT what `freeze` has stopped."""
    for member in members:
        with suppress(psutil.NoSuchProcess):
            member.resume()


@contextmanager
def frozen(process: subprocess.Popen[bytes]) -> Iterator[list[psutil.Process]]:
    """A worker that is stopped as long as the block lasts."""
    members = freeze(process)
    try:
        yield members
    finally:
        thaw(members)


def gone(pid: int) -> bool:
    """Whether no process `pid` runs any more; a zombie does not run."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True
