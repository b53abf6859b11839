"""Whether and when a failed job runs again (SEMANTICS 25, 26)."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Literal

POISON_CRASHES = 3
"""A job whose worker died this many times is not given to another."""


class FailureKind(StrEnum):
    """How an attempt failed. A crash is a lost worker: it is not the task that said no."""

    ERROR = "error"
    TIMEOUT = "timeout"
    PERMANENT = "permanent"
    CRASH = "crash"


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """Exponential backoff with full jitter.

    The n-th retry waits up to ``min(cap, base * factor ** (n - 1))``. Raises ValueError for a
    policy that could not be followed.
    """

    max_attempts: int = 5
    base: timedelta = timedelta(seconds=10)
    factor: float = 2.0
    cap: timedelta = timedelta(hours=1)
    jitter: bool = True

    def __post_init__(self) -> None:
        if self.max_attempts < 1:
            raise ValueError(f"max_attempts is {self.max_attempts}: a job has at least 1 attempt.")
        if self.base < timedelta(0) or self.cap < timedelta(0):
            raise ValueError("The base and the cap of a backoff must not be negative.")
        if self.factor < 1:
            raise ValueError(f"The backoff factor is {self.factor}: it must be at least 1.")


@dataclass(frozen=True, slots=True)
class RetryAt:
    """Run the job again, not before this instant."""

    at: datetime


@dataclass(frozen=True, slots=True)
class GiveUp:
    """The job has failed for good."""

    reason: Literal["exhausted", "permanent", "poison"]


def decide(
    policy: RetryPolicy,
    *,
    kind: FailureKind,
    attempts: int,
    crashes: int,
    now: datetime,
    random: float,
    retry_after: timedelta | None = None,
) -> RetryAt | GiveUp:
    """Decide what follows a failed attempt.

    ``attempts`` and ``crashes`` count those used so far, this one included; crashes are counted
    apart from errors and charge no attempt. ``random`` is in [0, 1); ``retry_after`` is what an
    HTTP target asked for and wins when it is longer.
    """
    if kind is FailureKind.PERMANENT:
        return GiveUp("permanent")
    if kind is FailureKind.CRASH:
        return GiveUp("poison") if crashes >= POISON_CRASHES else RetryAt(now)
    if attempts >= policy.max_attempts:
        return GiveUp("exhausted")
    wait = backoff(policy, attempts)
    if policy.jitter:
        wait *= random
    return RetryAt(now + max(wait, retry_after or timedelta(0)))


def backoff(policy: RetryPolicy, attempts: int) -> timedelta:
    """Return the longest wait after this many attempts."""
    if not policy.base:
        return timedelta(0)
    try:
        growth = policy.factor ** (attempts - 1)
    except OverflowError:
        return policy.cap
    # Compared as numbers: base * growth may be more than a timedelta can hold.
    return policy.base * growth if growth < policy.cap / policy.base else policy.cap
