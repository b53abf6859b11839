"""`jobs.canary`: a task that shows that the line is whole."""

import logging
import time
from typing import Any

from celery import shared_task

from jobs.engine.context import context

logger = logging.getLogger(__name__)


class CanaryError(Exception):
    """The canary was asked to fail."""


@shared_task(name="jobs.canary", schedulable="anyone")
def canary(note: str = "", sleep: float = 0, fail: str = "") -> dict[str, Any]:
    """Return the job's context. `sleep` takes that many seconds first, `fail` raises that text."""
    here = context()
    logger.info("canary %s: attempt %d of %s", note, here.attempt, here.job_id)
    if sleep:
        time.sleep(sleep)
    if fail:
        raise CanaryError(fail)
    return {
        "note": note,
        "job_id": here.job_id,
        "schedule": here.schedule,
        "scheduled_for": here.scheduled_for.isoformat() if here.scheduled_for else None,
        "attempt": here.attempt,
        "trigger": here.trigger,
    }
