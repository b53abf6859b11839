"""The end of an attempt as a document: all that is to be written about it, and nothing that needs a process.

A task's return value, its error, its links and the next step of its chain become plain data first
(`collecting`). So an end can be recorded in one commit with others, or, when the database is away, be kept
on disk and recorded later, by another process, under the same fence.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any

from jobs.engine.records import Fence, NewJob
from jobs.rules.states import TERMINAL, Outcome, Reason, Status

ERROR_LINE_LENGTH = 500
"""Characters of the one line that lists show; the traceback has the rest."""


@dataclass(frozen=True, slots=True)
class LogLine:
    """What the task logged. `level` is the number of the `logging` module."""

    level: int
    logger: str
    content: str
    logged_at: datetime


@dataclass(kw_only=True)  # no slots: with them, each is pickled and unpickled by Python code
class Ending:
    """One end of one attempt. The functions below make the legal ones, each with its only legal mix."""

    job_id: str
    attempt: int
    status: Status
    """What the job is then."""
    outcome: Outcome
    """How the attempt ended."""
    reason: str = ""
    error: str = ""
    traceback: str = ""
    available_at: datetime | None = None
    """When a retry is due; None leaves it as it is."""
    errors: int = 0
    crashes: int = 0
    """What is charged."""
    work: dict[str, Any] = field(default_factory=dict)
    """Columns of other work that the job goes on with: `task`, `queue`, `args`, `kwargs`, `headers`."""
    logs: list[LogLine] = field(default_factory=list)
    results: list[dict[str, Any]] = field(default_factory=list)
    """Rows of django-celery-results, as its backend encodes them."""
    jobs: list[NewJob] = field(default_factory=list)
    """Follow-ups: links, the chain's next step, error callbacks."""
    chords: list[dict[str, Any]] = field(default_factory=list)
    """Counters of chords among the follow-ups."""
    chord_parts: list[dict[str, Any]] = field(default_factory=list)
    """Chords of which this job is a part that has returned: `id`, `group`, `chord`, `state`."""

    @property
    def fence(self) -> Fence:
        """Which attempt it is the end of."""
        return Fence(self.job_id, self.attempt)

    @property
    def is_terminal(self) -> bool:
        """Whether the job has finished with it."""
        return self.status in TERMINAL

    @property
    def is_plain(self) -> bool:
        """Whether nothing that happens in this process depends on its being recorded: success, no canvas."""
        return self.status is Status.COMPLETED and not (self.jobs or self.chords or self.chord_parts)

    def as_document(self) -> dict[str, Any]:
        """Return it as JSON types and datetimes."""
        return asdict(self)

    @classmethod
    def of_document(cls, document: dict[str, Any]) -> Ending:
        """Return the ending that `as_document` described, after JSON.

        Raises KeyError, TypeError or ValueError for what is not one.
        """
        fields = dict(document)
        fields["status"], fields["outcome"] = Status(fields["status"]), Outcome(fields["outcome"])
        fields["available_at"] = _time(fields["available_at"])
        fields["logs"] = [
            LogLine(line["level"], line["logger"], line["content"], datetime.fromisoformat(line["logged_at"]))
            for line in fields["logs"]
        ]
        fields["jobs"] = [NewJob.of_document(job) for job in fields["jobs"]]
        return cls(**fields)


def _time(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)


def completed(fence: Fence, *, outcome: Outcome = Outcome.COMPLETED) -> Ending:
    """active -> completed."""
    return Ending(job_id=fence.job_id, attempt=fence.attempt, status=Status.COMPLETED, outcome=outcome)


def failed(fence: Fence, reason: Reason, *, outcome: Outcome, error: str, traceback: str = "") -> Ending:
    """active -> failed: the job is a dead letter from then on."""
    crash = outcome is Outcome.CRASH
    return Ending(
        job_id=fence.job_id,
        attempt=fence.attempt,
        status=Status.FAILED,
        outcome=outcome,
        reason=reason,
        error=error,
        traceback=traceback,
        errors=0 if crash else 1,
        crashes=1 if crash else 0,
    )


def retried(
    fence: Fence,
    at: datetime,
    *,
    outcome: Outcome,
    error: str,
    traceback: str = "",
    work: dict[str, Any] | None = None,
) -> Ending:
    """active -> delayed until `at`, perhaps with other arguments; the attempt is charged."""
    return Ending(
        job_id=fence.job_id,
        attempt=fence.attempt,
        status=Status.DELAYED,
        outcome=outcome,
        error=error,
        traceback=traceback,
        available_at=at,
        errors=1,
        work=work or {},
    )


def crashed(fence: Fence, error: str) -> Ending:
    """active -> waiting: the worker was lost. Counted as a crash, not as an error."""
    return Ending(
        job_id=fence.job_id,
        attempt=fence.attempt,
        status=Status.WAITING,
        outcome=Outcome.CRASH,
        error=error,
        crashes=1,
    )


def interrupted(fence: Fence) -> Ending:
    """active -> waiting: a graceful stop. Nothing is charged."""
    return Ending(
        job_id=fence.job_id, attempt=fence.attempt, status=Status.WAITING, outcome=Outcome.INTERRUPTED
    )


def cancelled(fence: Fence, error: str = "") -> Ending:
    """active -> cancelled: the task was stopped because somebody asked for it."""
    return Ending(
        job_id=fence.job_id,
        attempt=fence.attempt,
        status=Status.CANCELLED,
        outcome=Outcome.CANCELLED,
        reason=Reason.CANCELLED,
        error=error,
    )


def replaced(fence: Fence, work: dict[str, Any]) -> Ending:
    """active -> waiting with other work under the same id (Celery's `self.replace`)."""
    return Ending(
        job_id=fence.job_id,
        attempt=fence.attempt,
        status=Status.WAITING,
        outcome=Outcome.COMPLETED,
        work=work,
    )


_collecting: ContextVar[Ending | None] = ContextVar("jadwal_ending", default=None)


@contextmanager
def collecting(ending: Ending) -> Iterator[Ending]:
    """Let what Celery would write at the end of a task become part of `ending` instead."""
    token = _collecting.set(ending)
    try:
        yield ending
    finally:
        _collecting.reset(token)


def being_collected() -> Ending | None:
    """Return the ending that is being made in this context; None: write as usual."""
    return _collecting.get()
