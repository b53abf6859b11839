"""What the engine hands around about jobs: a fence, a job to be born, a start that was won.

What a worker's main process makes for each job, and gives to a child, is a tuple: made and pickled in a fifth of
the time that a frozen dataclass takes.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple

from jobs.engine import payload
from jobs.models import Job
from jobs.rules.states import Status, Trigger


class Fence(NamedTuple):
    """Which attempt of which job a writer speaks for."""

    job_id: str
    attempt: int


class Wanted(NamedTuple):
    """An attempt that a message asks to start: the job must be this task's, on this queue."""

    fence: Fence
    task: str
    queue: str
    default_limit: float
    """Seconds that the attempt may run where the job itself does not say."""


@dataclass(
    slots=True, kw_only=True
)  # not frozen, though nobody changes one: to freeze takes as long as to make
class NewJob:
    """A job to be born. Durations are in seconds, times are aware datetimes."""

    id: str
    task: str
    queue: str
    trigger: Trigger
    status: Status
    available_at: datetime | None = None
    """When it is due; None: now, by the database's clock at its birth."""
    args: list[Any] = field(default_factory=list)
    kwargs: dict[str, Any] = field(default_factory=dict)
    headers: dict[str, Any] = field(default_factory=dict)
    priority: int | None = None
    schedule_id: int | None = None
    schedule_name: str = ""
    policy_version: int = 0
    scheduled_for: datetime | None = None
    nonce: str | None = None
    skipped_count: int | None = None
    skipped_through: datetime | None = None
    reason: str = ""
    hold: str = ""
    deadline_at: datetime | None = None
    max_attempts: int | None = None
    backoff: dict[str, float] | None = None
    time_limit: float | None = None
    soft_time_limit: float | None = None
    concurrency_key: str = ""

    @classmethod
    def of_document(cls, document: dict[str, Any]) -> NewJob:
        """Return the job that `dataclasses.asdict` described, after JSON."""
        times = {
            name: datetime.fromisoformat(document[name])
            for name in ("available_at", "scheduled_for", "skipped_through", "deadline_at")
            if document[name] is not None
        }
        words = {"status": Status(document["status"]), "trigger": Trigger(document["trigger"])}
        return cls(**{**document, **times, **words})


class Started(NamedTuple):
    """What the winner of a start gets: everything the row says about the work.

    The payload is JSON text until `decoded`: whoever only passes it on need not read it.
    """

    job_id: str
    attempt: int
    task: str
    queue: str
    args: Any
    kwargs: Any
    headers: Any
    errors: int
    crashes: int
    max_attempts: int | None
    backoff: Any
    schedule_id: int | None
    schedule_name: str
    scheduled_for: datetime | None
    trigger: str
    started_at: datetime | None

    @classmethod
    def of(cls, job: Job) -> Started:
        """Return what a running job's row says about its attempt."""
        columns = {name: getattr(job, name) for name in cls._fields if name != "job_id"}
        return cls(job_id=job.id, **columns)

    def decoded(self) -> Started:
        """Return it with its payload as Python values."""
        return self._replace(
            args=payload.decode(self.args),
            kwargs=payload.decode(self.kwargs),
            headers=payload.decode(self.headers),
            backoff=payload.decode(self.backoff),
        )

    @property
    def fence(self) -> Fence:
        """The fence of this attempt."""
        return Fence(self.job_id, self.attempt)
