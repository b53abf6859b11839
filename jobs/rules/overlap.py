"""What an occurrence does while another job of its schedule is running (SEMANTICS 16)."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

BUFFER_CAP = 1000
"""Jobs that `buffer_all` holds before it drops later ones."""


class OverlapPolicy(StrEnum):
    """The words of Temporal Schedules."""

    SKIP = "skip"
    BUFFER_ONE = "buffer_one"
    BUFFER_ALL = "buffer_all"
    CANCEL_OTHER = "cancel_other"
    TERMINATE_OTHER = "terminate_other"
    ALLOW_ALL = "allow_all"


@dataclass(frozen=True, slots=True)
class Run:
    """Start now."""


@dataclass(frozen=True, slots=True)
class Hold:
    """Wait, first in first out, until the running job is done."""


@dataclass(frozen=True, slots=True)
class Skip:
    """Do not run; the reason goes into the ledger."""

    reason: Literal["overlap", "dropped"]


@dataclass(frozen=True, slots=True)
class CancelOthersThenRun:
    """Ask the running jobs to stop; start when they have."""


@dataclass(frozen=True, slots=True)
class TerminateOthersThenRun:
    """Kill the running jobs; start when they are dead."""


Decision = Run | Hold | Skip | CancelOthersThenRun | TerminateOthersThenRun


def decide(policy: OverlapPolicy | str, running: int, buffered: int) -> Decision:
    """Decide for one occurrence.

    ``running`` counts the schedule's jobs that have started and are not terminal, waiting
    retries included; ``buffered`` those held back. Raises ValueError for an unknown policy.
    """
    policy = OverlapPolicy(policy)
    if policy is OverlapPolicy.ALLOW_ALL:
        return Run()
    if policy is OverlapPolicy.BUFFER_ALL:
        return _buffer_all(running, buffered)
    if not running and not buffered:
        return Run()
    match policy:
        case OverlapPolicy.BUFFER_ONE:
            return Skip("overlap") if buffered else Hold()
        case OverlapPolicy.CANCEL_OTHER:
            return CancelOthersThenRun()
        case OverlapPolicy.TERMINATE_OTHER:
            return TerminateOthersThenRun()
        case _:
            return Skip("overlap")


def _buffer_all(running: int, buffered: int) -> Decision:
    """Keep the order: while one is held, a later one never overtakes it."""
    if not running and not buffered:
        return Run()
    return Hold() if buffered < BUFFER_CAP else Skip("dropped")
