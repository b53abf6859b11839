"""The states of a job and the moves between them: the table behind `engine/lifecycle.py`.

`waiting, active, completed, failed` are the field's words (Bull); `delayed` is not yet due. The diagram in
`docs/states.md` is checked against this table by a test.
"""

from enum import StrEnum


class Status(StrEnum):
    """Where a job stands."""

    DELAYED = "delayed"
    """Not yet due: a time to come, a retry, or held back by an overlap or rate limit."""
    WAITING = "waiting"
    """Due, and offered to the workers of its queue."""
    ACTIVE = "active"
    """One worker holds its lease and runs it."""
    COMPLETED = "completed"
    FAILED = "failed"
    """The dead letters: kept with everything until someone replays or discards it."""
    CANCELLED = "cancelled"
    SKIPPED = "skipped"
    """Decided not to run; the reason says why."""


LIVE = frozenset({Status.DELAYED, Status.WAITING, Status.ACTIVE})
"""Statuses of a job that may still do something. A schedule with a live job is running (SEMANTICS 16)."""

TERMINAL = frozenset(Status) - LIVE
"""Statuses in which a job has finished, and `finished_at` is set."""

BIRTH = frozenset({Status.DELAYED, Status.WAITING, Status.SKIPPED})
"""Statuses a new row may have."""

TRANSITIONS: dict[Status, frozenset[Status]] = {
    Status.DELAYED: frozenset({Status.WAITING, Status.CANCELLED, Status.SKIPPED}),
    # back to delayed: a limit on its queue, schedule or key has no room
    Status.WAITING: frozenset({Status.ACTIVE, Status.CANCELLED, Status.SKIPPED, Status.DELAYED}),
    Status.ACTIVE: frozenset(
        {Status.COMPLETED, Status.FAILED, Status.CANCELLED, Status.DELAYED, Status.WAITING}
    ),
    Status.FAILED: frozenset({Status.WAITING, Status.CANCELLED}),  # replay; discard
    Status.COMPLETED: frozenset(),
    Status.CANCELLED: frozenset(),
    Status.SKIPPED: frozenset(),
}
"""Every legal move. Whatever is not here never happens, and the database refuses its fields."""


class Reason(StrEnum):
    """Why a job was skipped, failed or was cancelled."""

    OVERLAP = "overlap"
    MISSED = "missed"
    PAUSED = "paused"
    EXCLUDED = "excluded"
    BLACKOUT = "blackout"
    EXPIRED = "expired"
    DROPPED = "dropped"
    UPSTREAM = "upstream"
    """What it depends on did not come to the wanted end in time."""
    EXHAUSTED = "exhausted"
    PERMANENT = "permanent"
    POISON = "poison"
    REJECTED = "rejected"
    CANCELLED = "cancelled"
    DISCARDED = "discarded"


class Hold(StrEnum):
    """What keeps a delayed job back beside its time."""

    NOTHING = ""
    OVERLAP = "overlap"
    CONCURRENCY = "concurrency"
    UPSTREAM = "upstream"


class Trigger(StrEnum):
    """What made a job (DESIGN 1)."""

    SCHEDULE = "schedule"
    ACTION = "action"
    EVENT = "event"
    MANUAL = "manual"
    BACKFILL = "backfill"
    DEPENDENCY = "after"
    """Another job's end."""
    FOREIGN = "foreign"


class Outcome(StrEnum):
    """How one attempt ended."""

    COMPLETED = "completed"
    ERROR = "error"
    TIMEOUT = "timeout"
    RETRY = "retry"
    """The task asked for another attempt by `self.retry()`."""
    CRASH = "crash"
    """The worker was lost."""
    INTERRUPTED = "interrupted"
    """A graceful stop; not charged."""
    CANCELLED = "cancelled"
    IGNORED = "ignored"
    """The task raised `Ignore` or `Reject`."""
