"""The ends of attempts, one at a time, for tests that are about something else.

In the product ends come in handfuls (`finishing.record`), with results and logs.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from jobs.engine import ending
from jobs.engine.lifecycle import end
from jobs.engine.records import Fence
from jobs.rules.states import Outcome, Reason


def complete(fence: Fence, *, outcome: Outcome = Outcome.COMPLETED, now: datetime | None = None) -> bool:
    """active -> completed."""
    return bool(end([ending.completed(fence, outcome=outcome)], now=now))


def fail(
    fence: Fence,
    reason: Reason,
    *,
    outcome: Outcome,
    error: str,
    traceback: str = "",
    now: datetime | None = None,
) -> bool:
    """active -> failed: the job is a dead letter from now on."""
    one = ending.failed(fence, reason, outcome=outcome, error=error, traceback=traceback)
    return bool(end([one], now=now))


def retry_at(
    fence: Fence,
    at: datetime,
    *,
    outcome: Outcome,
    error: str,
    traceback: str = "",
    now: datetime | None = None,
) -> bool:
    """active -> delayed until `at`; the attempt is charged."""
    return bool(end([ending.retried(fence, at, outcome=outcome, error=error, traceback=traceback)], now=now))


def crash(fence: Fence, error: str, *, now: datetime | None = None) -> bool:
    """active -> waiting: the worker was lost. Counted as a crash, not as an error."""
    return bool(end([ending.crashed(fence, error)], now=now))


def interrupt(fence: Fence, *, now: datetime | None = None) -> bool:
    """active -> waiting: a graceful stop. Nothing is charged."""
    return bool(end([ending.interrupted(fence)], now=now))


def continue_as(fence: Fence, work: dict[str, Any], *, now: datetime | None = None) -> bool:
    """active -> waiting with other work under the same id (Celery's `self.replace`)."""
    return bool(end([ending.replaced(fence, work)], now=now))
