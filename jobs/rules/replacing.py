"""Whose result is whose, where a task has put a canvas in its place (`self.replace`).

The job of such a task is done; the canvas ends with a job of its own, whose id says in whose place it is.
What is stored as the result of that job is stored as the result of those too, so that their `AsyncResult`,
and a chord that they are in, find it.
"""

from __future__ import annotations

_MARK = "~replacement-"


def successor_of(job_id: str, nesting: int) -> str:
    """Return the id of the job whose result will be that of `job_id`; `nesting` counts earlier replacements."""
    return f"{job_id}{_MARK}{nesting + 1}"


def predecessors_of(job_id: str) -> list[str]:
    """Return the ids in whose place a job is."""
    found = []
    while _MARK in job_id:
        job_id, _, nesting = job_id.rpartition(_MARK)
        if not (job_id and nesting.isdecimal()):
            break
        found.append(job_id)
    return found
