"""What the running job is called, for a task that may also be called as a plain function."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from datetime import datetime

from jobs.public import context


@dataclass(frozen=True, slots=True)
class Occasion:
    """Why a task runs: a key that is the same for every attempt, and the nominal time if there is one."""

    key: str
    scheduled_for: datetime | None = None


def occasion() -> Occasion:
    """Return the occasion of the running job; a fresh one where no job runs, so that a call is its own."""
    try:
        here = context()
    except RuntimeError:  # jobs.public's NoJobError: called as a plain function
        return Occasion(f"call-{uuid.uuid4()}")
    return Occasion(here.job_id, here.scheduled_for)
