"""The life of a job: every write of `Job.status` is made here.

Each legal write has a name and sets the only legal mix of fields. All of them are guarded: they name the
status and, for a running job, the attempt that the writer believes in (`Fence`). No row changed means that
somebody else won; the caller loses cleanly. Times are the database's, unless a test gives `now`.

The moves are those of `rules.states.TRANSITIONS`.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.db import connection

from jobs.engine import payload
from jobs.engine.records import Fence, NewJob, Started
from jobs.rules.states import Hold, Outcome, Reason, Status

CLOCK = "COALESCE(%(now)s::timestamptz, clock_timestamp())"
"""The database's clock, which alone decides; a test may hand in another instant as `now`."""

ERROR_LINE_LENGTH = 500


_BIRTH_COLUMNS = (
    "id, task, queue, trigger, status, available_at, args, kwargs, headers, priority, schedule_id, "
    "schedule_name, policy_version, scheduled_for, nonce, skipped_count, skipped_through, reason, hold, "
    "deadline_at, max_attempts, backoff, time_limit, soft_time_limit, concurrency_key"
)


def birth(jobs: Sequence[NewJob], *, now: datetime | None = None) -> set[str]:
    """Insert `jobs` and return the ids that are new.

    A job whose id, or whose occurrence, exists already is left as it is: that makes enqueueing with a
    chosen id idempotent, and backs the promise that no occurrence is decided twice.
    """
    if not jobs:
        return set()
    rows = payload.document([_row(job) for job in jobs])
    sql = f"""
        INSERT INTO jobs_job ({_BIRTH_COLUMNS}, created_at, published_at, finished_at)
        SELECT {_BIRTH_COLUMNS}, {CLOCK},
               CASE WHEN status = 'waiting' THEN {CLOCK} END,
               CASE WHEN status = 'skipped' THEN {CLOCK} END
        FROM jsonb_populate_recordset(NULL::jobs_job, %(rows)s::jsonb)
        ON CONFLICT DO NOTHING
        RETURNING id
    """
    with connection.cursor() as cursor:
        cursor.execute(sql, {"rows": rows, "now": now})
        return {row[0] for row in cursor.fetchall()}


def _row(job: NewJob) -> dict[str, Any]:
    return {name: getattr(job, name) for name in NewJob.__dataclass_fields__}


def start(
    fence: Fence,
    *,
    task: str,
    worker_id: UUID,
    queues: Sequence[str],
    default_limit: float,
    margin: timedelta,
    within_limits: bool = False,
    now: datetime | None = None,
) -> Started | None:
    """waiting -> active, for exactly one worker; None when this message has nothing to start.

    The guard is the whole authority of a message: the row must be waiting, for this attempt, must name this
    task, must be on one of the worker's own queues, and must not be past its deadline. `default_limit`
    (seconds) and `margin` give the instant at which the attempt counts as lost. A job that is subject to a
    limit starts only for a caller that has seen to it (`limiting.start_within`), and says so by
    `within_limits`; so a job without limits costs no second query.
    """
    # The start need not survive a crash of the database: the job would still be waiting and would run
    # again, exactly as if the worker had died. So its commit does not wait for the disk (the setting is
    # local to the statement's own transaction).
    sql = f"""
        UPDATE jobs_job SET
            status = 'active', attempt = attempt + 1, worker_id = %(worker)s, started_at = {CLOCK},
            expected_end_at = {CLOCK} + make_interval(secs => COALESCE(time_limit, %(limit)s))
                              + %(margin)s
        FROM (SELECT set_config('synchronous_commit', 'off', true) OFFSET 0) AS relaxed
        WHERE id = %(id)s AND status = 'waiting' AND attempt = %(attempt)s - 1
          AND task = %(task)s AND queue = ANY(%(queues)s)
          AND (deadline_at IS NULL OR deadline_at > {CLOCK})
          AND (%(unlimited)s OR NOT EXISTS (
              SELECT 1 FROM jobs_limit WHERE name IN
              ('queue:' || queue, 'schedule:' || schedule_id, 'key:' || nullif(concurrency_key, ''))))
        RETURNING id, attempt, task, queue, args, kwargs, headers, errors, crashes, max_attempts, backoff,
                  schedule_id, schedule_name, scheduled_for, trigger, started_at
    """
    params: dict[str, Any] = {
        "id": fence.job_id,
        "attempt": fence.attempt,
        "task": task,
        "worker": worker_id,
        "queues": list(queues),
        "limit": default_limit,
        "margin": margin,
        "unlimited": within_limits,
        "now": now,
    }
    with connection.cursor() as cursor:
        cursor.execute(sql, params)
        row = cursor.fetchone()
    if row is None:
        return None
    id_, attempt, name, queue, args, kwargs, headers, errors, crashes, max_attempts, backoff, *rest = row
    return Started(
        id_,
        attempt,
        name,
        queue,
        payload.decode(args),
        payload.decode(kwargs),
        payload.decode(headers),
        errors,
        crashes,
        max_attempts,
        payload.decode(backoff) if backoff else None,
        *rest,
    )


_END_ATTEMPT = f"""
    WITH ended AS (
        UPDATE jobs_job AS job SET
            status = %(status)s, reason = %(reason)s, hold = '', error = %(error)s,
            worker_id = NULL, expected_end_at = NULL, cancel_requested_at = NULL,
            available_at = COALESCE(%(available_at)s, job.available_at),
            published_at = CASE WHEN %(status)s = 'waiting' THEN before.ended_at ELSE job.published_at END,
            finished_at = CASE WHEN %(terminal)s THEN before.ended_at END,
            errors = errors + %(errors)s, crashes = crashes + %(crashes)s
        FROM (SELECT id AS job_id, started_at AS began, worker_id AS ran_on, {CLOCK} AS ended_at
              FROM jobs_job WHERE id = %(id)s FOR UPDATE) AS before
        WHERE job.id = before.job_id AND job.status = 'active' AND job.attempt = %(attempt)s
        RETURNING job.id, job.attempt, before.began, before.ran_on, before.ended_at
    )
    INSERT INTO jobs_attempt
        (job_id, number, worker_name, started_at, finished_at, outcome, error, traceback)
    SELECT ended.id, ended.attempt,
           COALESCE((SELECT name FROM jobs_worker WHERE jobs_worker.id = ended.ran_on), ''),
           ended.began, ended.ended_at, %(outcome)s, %(error)s, %(traceback)s
    FROM ended
    RETURNING job_id
"""


def _end_attempt(
    fence: Fence,
    *,
    status: Status,
    outcome: Outcome,
    reason: Reason | None = None,
    error: str = "",
    traceback: str = "",
    available_at: datetime | None = None,
    errors: int = 0,
    crashes: int = 0,
    now: datetime | None = None,
) -> bool:
    params: dict[str, Any] = {
        "id": fence.job_id,
        "attempt": fence.attempt,
        "status": str(status),
        "terminal": status in (Status.COMPLETED, Status.FAILED, Status.CANCELLED),
        "outcome": str(outcome),
        "reason": str(reason or ""),
        "error": storable(error)[:ERROR_LINE_LENGTH],
        "traceback": storable(traceback),
        "available_at": available_at,
        "errors": errors,
        "crashes": crashes,
        "now": now,
    }
    with connection.cursor() as cursor:
        cursor.execute(_END_ATTEMPT, params)
        return cursor.fetchone() is not None


def storable(text: str) -> str:
    """Return `text` without what PostgreSQL cannot store: NUL, and lone surrogates."""
    return text.replace("\x00", "\\x00").encode("utf-8", "backslashreplace").decode("utf-8")


def complete(fence: Fence, *, outcome: Outcome = Outcome.COMPLETED, now: datetime | None = None) -> bool:
    """active -> completed."""
    return _end_attempt(fence, status=Status.COMPLETED, outcome=outcome, now=now)


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
    crashed = outcome is Outcome.CRASH
    return _end_attempt(
        fence,
        status=Status.FAILED,
        reason=reason,
        outcome=outcome,
        error=error,
        traceback=traceback,
        errors=0 if crashed else 1,
        crashes=1 if crashed else 0,
        now=now,
    )


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
    return _end_attempt(
        fence,
        status=Status.DELAYED,
        outcome=outcome,
        error=error,
        traceback=traceback,
        available_at=at,
        errors=1,
        now=now,
    )


def crash(fence: Fence, error: str, *, now: datetime | None = None) -> bool:
    """active -> waiting: the worker was lost. Counted as a crash, not as an error."""
    return _end_attempt(fence, status=Status.WAITING, outcome=Outcome.CRASH, error=error, crashes=1, now=now)


def interrupt(fence: Fence, *, now: datetime | None = None) -> bool:
    """active -> waiting: a graceful stop. Nothing is charged."""
    return _end_attempt(fence, status=Status.WAITING, outcome=Outcome.INTERRUPTED, now=now)


def cancel_active(fence: Fence, *, error: str = "", now: datetime | None = None) -> bool:
    """active -> cancelled: the task was stopped because somebody asked for it."""
    return _end_attempt(
        fence,
        status=Status.CANCELLED,
        reason=Reason.CANCELLED,
        outcome=Outcome.CANCELLED,
        error=error,
        now=now,
    )


def _move(sql: str, params: dict[str, Any]) -> list[str]:
    with connection.cursor() as cursor:
        cursor.execute(sql, params)
        return [row[0] for row in cursor.fetchall()]


def promote(ids: Sequence[str], *, now: datetime | None = None) -> list[str]:
    """delayed -> waiting, for those still delayed; return the ids that moved."""
    return _move(
        f"""UPDATE jobs_job SET status = 'waiting', hold = '', published_at = {CLOCK}
            WHERE id = ANY(%(ids)s) AND status = 'delayed' RETURNING id""",
        {"ids": list(ids), "now": now},
    )


def defer(
    job_id: str,
    *,
    attempt: int,
    hold: Hold = Hold.NOTHING,
    until: datetime | None = None,
    now: datetime | None = None,
) -> bool:
    """waiting -> delayed: a limit has no room. Held back by `hold`, or until a time; nothing is charged."""
    return bool(
        _move(
            f"""UPDATE jobs_job SET status = 'delayed', hold = %(hold)s, published_at = NULL,
                       available_at = COALESCE(%(until)s, {CLOCK})
                WHERE id = %(id)s AND status = 'waiting' AND attempt = %(attempt)s - 1 RETURNING id""",
            {"id": job_id, "attempt": attempt, "hold": str(hold), "until": until, "now": now},
        )
    )


def skip(ids: Sequence[str], reason: Reason, *, now: datetime | None = None) -> list[str]:
    """delayed | waiting -> skipped; return the ids that moved."""
    return _move(
        f"""UPDATE jobs_job SET status = 'skipped', reason = %(reason)s, hold = '', finished_at = {CLOCK}
            WHERE id = ANY(%(ids)s) AND status IN ('delayed', 'waiting') RETURNING id""",
        {"ids": list(ids), "reason": str(reason), "now": now},
    )


def cancel_pending(ids: Sequence[str], *, now: datetime | None = None) -> list[str]:
    """delayed | waiting -> cancelled; return the ids that moved."""
    return _move(
        f"""UPDATE jobs_job SET status = 'cancelled', reason = 'cancelled', hold = '',
                   finished_at = {CLOCK}, cancel_requested_at = NULL
            WHERE id = ANY(%(ids)s) AND status IN ('delayed', 'waiting') RETURNING id""",
        {"ids": list(ids), "now": now},
    )


def request_cancel(ids: Sequence[str], *, now: datetime | None = None) -> list[str]:
    """Note on active jobs that somebody wants them stopped; their worker acts on it."""
    return _move(
        f"""UPDATE jobs_job SET cancel_requested_at = {CLOCK}
            WHERE id = ANY(%(ids)s) AND status = 'active' RETURNING id""",
        {"ids": list(ids), "now": now},
    )


def replay(ids: Sequence[str], *, now: datetime | None = None) -> list[str]:
    """failed -> waiting with a fresh allowance of attempts; return the ids that moved."""
    return _move(
        f"""UPDATE jobs_job SET status = 'waiting', reason = '', errors = 0, crashes = 0, finished_at = NULL,
                   available_at = {CLOCK}, published_at = {CLOCK}, deadline_at = NULL
            WHERE id = ANY(%(ids)s) AND status = 'failed' RETURNING id""",
        {"ids": list(ids), "now": now},
    )


def discard(ids: Sequence[str], *, now: datetime | None = None) -> list[str]:
    """failed -> cancelled: somebody decided that it need not run; return the ids that moved."""
    return _move(
        f"""UPDATE jobs_job SET status = 'cancelled', reason = 'discarded', finished_at = {CLOCK}
            WHERE id = ANY(%(ids)s) AND status = 'failed' RETURNING id""",
        {"ids": list(ids), "now": now},
    )


def continue_as(
    fence: Fence,
    *,
    task: str,
    queue: str,
    args: list[Any],
    kwargs: dict[str, Any],
    headers: dict[str, Any],
    now: datetime | None = None,
) -> bool:
    """active -> waiting with other work under the same id (Celery's `self.replace`)."""
    if not _end_attempt(fence, status=Status.WAITING, outcome=Outcome.COMPLETED, now=now):
        return False
    _move(
        """UPDATE jobs_job SET task = %(task)s, queue = %(queue)s, args = %(args)s::jsonb,
                  kwargs = %(kwargs)s::jsonb, headers = %(headers)s::jsonb, errors = 0, crashes = 0
           WHERE id = %(id)s AND status = 'waiting' RETURNING id""",
        {
            "id": fence.job_id,
            "task": task,
            "queue": queue,
            "args": payload.document(args),
            "kwargs": payload.document(kwargs),
            "headers": payload.document(headers),
        },
    )
    return True


def note_published(ids: Sequence[str], *, now: datetime | None = None) -> list[str]:
    """Note that messages of waiting jobs are about to be sent again; return the ids still waiting."""
    return _move(
        f"""UPDATE jobs_job SET published_at = {CLOCK}
            WHERE id = ANY(%(ids)s) AND status = 'waiting' RETURNING id""",
        {"ids": list(ids), "now": now},
    )


def change_payload(
    job_id: str, *, args: list[Any] | None = None, kwargs: dict[str, Any] | None = None
) -> None:
    """Give a job that is to be retried other arguments (Celery's `self.retry(args=...)`)."""
    _move(
        """UPDATE jobs_job SET args = COALESCE(%(args)s::jsonb, args),
                  kwargs = COALESCE(%(kwargs)s::jsonb, kwargs)
           WHERE id = %(id)s AND status = 'delayed' RETURNING id""",
        {
            "id": job_id,
            "args": None if args is None else payload.document(args),
            "kwargs": None if kwargs is None else payload.document(kwargs),
        },
    )
