"""The life of a job: every write of `Job.status` is made here.

Each legal write has a name and sets the only legal mix of fields. All of them are guarded: they name the
status and, for a running job, the attempt that the writer believes in (`Fence`). No row changed means that
somebody else won; the caller loses cleanly. Times are the database's, unless a test gives `now`.

The moves are those of `rules.states.TRANSITIONS`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import MISSING, fields
from datetime import datetime, timedelta
from functools import cache
from operator import attrgetter
from typing import Any
from uuid import UUID

from django.db import connection

from jobs.engine import ending, payload, statements
from jobs.engine.ending import ERROR_LINE_LENGTH, Ending
from jobs.engine.records import Fence, NewJob, Started, Wanted
from jobs.rules.states import Hold, Reason, Status

CLOCK = "COALESCE(%(now)s::timestamptz, clock_timestamp())"
"""The database's clock, which alone decides; a test may hand in another instant as `now`."""

IDS = '%(ids)s::text[] COLLATE "C"'
"""The ids of a batch, said once more beside the join: so the planner takes the primary key, whatever it thinks
of the size of the table."""

_COLUMNS = tuple(one.name for one in fields(NewJob))
_values = attrgetter(*_COLUMNS)
_USUAL = tuple(
    one.default if one.default_factory is MISSING else one.default_factory() for one in fields(NewJob)
)
"""What the table puts into a column that is not named; `MISSING` where there is no such thing."""
_DOCUMENTS = ("args", "kwargs", "headers", "backoff")
_WORDS = ("status", "trigger")
"""Columns with a few words each: a statement for every word costs less than a parameter."""
_TYPES = {
    **dict.fromkeys(_COLUMNS, "text"),
    **dict.fromkeys(_DOCUMENTS, "jsonb"),
    **dict.fromkeys(("available_at", "scheduled_for", "skipped_through", "deadline_at"), "timestamptz"),
    **dict.fromkeys(("priority", "schedule_id", "policy_version", "skipped_count", "max_attempts"), "int"),
    **dict.fromkeys(("time_limit", "soft_time_limit"), "float"),
}


def birth(jobs: Sequence[NewJob], *, fresh: bool = False, now: datetime | None = None) -> set[str]:
    """Insert `jobs` and return the ids that are new. `fresh`: their ids have just been made, and no schedule's.

    A job whose id, or whose occurrence, exists already is left as it is: that makes enqueueing with a
    chosen id idempotent, and backs the promise that no occurrence is decided twice.

    What is the same for all of them is said once, and what is usual is not said: a job alone is one short INSERT.
    Where nothing can be there already, nothing is looked for either.
    """
    if not jobs:
        return set()
    own = tuple(name for name in _COLUMNS if not _is_shared(name, jobs)) if len(jobs) > 1 else ()
    shared = _unusual(jobs[0], own)
    words = tuple((name, str(shared.pop(name))) for name in _WORDS if name in shared)
    params = {
        name: payload.document(value) if name in _DOCUMENTS else value for name, value in shared.items()
    }
    if own:
        params["rows"] = payload.document([{name: getattr(job, name) for name in own} for job in jobs])
    if now is not None:
        params["now"] = now
    found = statements.run(
        _birth(tuple(shared), words, own, fresh=fresh, at_now=now is not None), params, prepared=not own
    )
    return {job.id for job in jobs} if fresh else {row[0] for row in found}


def _is_shared(name: str, jobs: Sequence[NewJob]) -> bool:
    """Whether a column has one value in all jobs. 1, 1.0 and True are one in Python, but not in a document."""
    first = getattr(jobs[0], name)
    if name in _DOCUMENTS:
        return all(getattr(job, name) is first for job in jobs)
    return all(getattr(job, name) == first for job in jobs)


def _unusual(job: NewJob, own: Sequence[str]) -> dict[str, Any]:
    """Return the columns, but those in `own`, in which `job` is not as the table would make it."""
    return {
        name: value
        for name, value, usual in zip(_COLUMNS, _values(job), _USUAL, strict=True)
        if value != usual and name not in own
    }


@cache
def _birth(
    shared: tuple[str, ...],
    words: tuple[tuple[str, str], ...],
    own: tuple[str, ...],
    *,
    fresh: bool,
    at_now: bool,
) -> str:
    """Return the statement for jobs that share some columns, and have others of their own, from `rows`."""
    clock = CLOCK if at_now else "clock_timestamp()"
    values = {
        **{name: f"%({name})s::{_TYPES[name]}" for name in shared},
        **{name: f"'{word}'" for name, word in words},
        **{name: f"own.{name}" for name in own},
    }
    status, available_at = values["status"], values.get("available_at", "NULL")
    values |= {
        "available_at": f"COALESCE({available_at}, {clock})",
        "created_at": clock,
        "published_at": f"CASE {status} WHEN 'waiting' THEN {clock} END",
        "finished_at": f"CASE {status} WHEN 'skipped' THEN {clock} END",
    }
    types = ", ".join(f"{name} {_TYPES[name]}" for name in own)
    said = ", ".join(values.values())
    rows = (
        f"SELECT {said} FROM jsonb_to_recordset(%(rows)s::jsonb) AS own({types})"
        if own
        else f"VALUES ({said})"
    )
    refused = "" if fresh else "ON CONFLICT DO NOTHING RETURNING id"
    return f"INSERT INTO jobs_job ({', '.join(values)}) {rows} {refused}"


# The start need not survive a crash of the database, so its commit does not wait for the disk (the setting is
# local to the statement's own transaction). A worker that outlives the crash starts the same
# attempt once more (`runtime.heart`), or ends it all the same (`_OURS`); if none does, the job still waits.
_START = f"""
    {{wanted}}
    UPDATE jobs_job AS job SET
        status = 'active', attempt = job.attempt + 1, worker_id = %(worker)s, started_at = {CLOCK},
        expected_end_at = {CLOCK} + make_interval(secs => COALESCE(time_limit, {{limit}})) + %(margin)s
    FROM {{source}} (SELECT set_config('synchronous_commit', 'off', true) OFFSET 0) AS relaxed
    WHERE job.id = {{id}}
      AND job.status || '' = 'waiting' AND job.attempt = {{attempt}} - 1
      AND job.task = {{task}} AND job.queue = {{queue}}
      AND (deadline_at IS NULL OR deadline_at > {CLOCK})
      AND (%(unlimited)s OR NOT EXISTS (
          SELECT 1 FROM jobs_limit WHERE name IN
          ('queue:' || job.queue, 'schedule:' || schedule_id, 'key:' || nullif(concurrency_key, ''))))
    RETURNING job.id, job.attempt, job.task, job.queue, args, kwargs, headers, errors, crashes, max_attempts,
              backoff, schedule_id, schedule_name, scheduled_for, trigger, started_at
"""

_START_MANY = _START.format(
    wanted="""WITH wanted AS MATERIALIZED (
        SELECT id COLLATE "C" AS id, attempt, task, queue, default_limit
        FROM jsonb_to_recordset(%(wanted)s::jsonb) AS w(
            id text, attempt int, task text, queue text, default_limit float))""",
    source="wanted,",
    id=f"ANY({IDS}) AND job.id = wanted.id",
    attempt="wanted.attempt",
    task="wanted.task",
    queue="wanted.queue",
    limit="wanted.default_limit",
)

# One alone is somebody waiting for it: it is told in plain parameters, and its plan is kept. That plan must be the
# primary key's, whatever the table looked like when it was made; so no other index is of use to `status || ''`.
_START_ONE = _START.format(
    wanted="",
    source="",
    id="%(id)s",
    attempt="%(attempt)s::int",
    task="%(task)s",
    queue="%(queue)s",
    limit="%(default_limit)s::float",
)


def start(
    wanted: Sequence[Wanted],
    *,
    worker_id: UUID,
    margin: timedelta,
    within_limits: bool = False,
    now: datetime | None = None,
) -> list[Started]:
    """waiting -> active, each for exactly one worker; return those that have started.

    The guard is the whole authority of a message: the row must be waiting, for this attempt, must name this
    task and this queue, and must not be past its deadline. The task's limit and `margin` give the instant at
    which the attempt counts as lost. A job that is subject to a limit starts only for a caller that has seen
    to it (`limiting.start_within`), and says so by `within_limits`; so a job without limits costs no second
    query.
    """
    if not wanted:
        return []
    common = {"worker": worker_id, "margin": margin, "unlimited": within_limits, "now": now}
    if len(wanted) == 1:
        sql, params = _START_ONE, _wanted_row(wanted[0])
    else:
        sql, params = (
            _START_MANY,
            {
                "ids": [one.fence.job_id for one in wanted],
                "wanted": payload.document([_wanted_row(one) for one in wanted]),
            },
        )
    rows = statements.run(sql, {**params, **common}, prepared=len(wanted) == 1)
    return [Started(*row) for row in rows]


def _wanted_row(wanted: Wanted) -> dict[str, Any]:
    return {
        "id": wanted.fence.job_id,
        "attempt": wanted.fence.attempt,
        "task": wanted.task,
        "queue": wanted.queue,
        "default_limit": wanted.default_limit,
    }


# A fence is given out by a start alone. So where the row waits for the very attempt that a fence names, the
# database has crashed and has forgotten that start; nobody else has made it since, and the end counts.
_OURS = """(job.status = 'active' AND job.attempt = given.attempt
            OR job.status = 'waiting' AND job.attempt = given.attempt - 1)"""

# Somebody wanted it stopped while it ran. If it did not come to an end of its own, then it has come to this one:
# a job that is to be cancelled is not tried again.
_STOPPED = "(job.cancel_requested_at IS NOT NULL AND NOT given.is_terminal)"

_END = f"""
    WITH given AS MATERIALIZED (
        SELECT DISTINCT ON (id, g.attempt)
               g.id COLLATE "C" AS id, g.attempt, g.status, g.outcome, g.reason, g.error, g.traceback,
               g.available_at, g.errors, g.crashes, g.is_terminal, g.task, g.queue, g.args, g.kwargs, g.headers
        FROM jsonb_to_recordset(%(endings)s::jsonb) AS g(
            id text, attempt int, status text, outcome text, reason text, error text, traceback text,
            available_at timestamptz, errors int, crashes int, is_terminal boolean,
            task text, queue text, args jsonb, kwargs jsonb, headers jsonb)
    ), before AS MATERIALIZED (
        SELECT job.id, given.attempt, job.worker_id AS ran_on, {CLOCK} AS ended_at,
               CASE job.status WHEN 'active' THEN job.started_at END AS began
        FROM jobs_job AS job JOIN given ON given.id = job.id
        WHERE job.id = ANY({IDS}) AND {_OURS}
        ORDER BY job.id FOR UPDATE OF job
    ), ended AS (
        UPDATE jobs_job AS job SET
            status = CASE WHEN {_STOPPED} THEN 'cancelled' ELSE given.status END,
            reason = CASE WHEN {_STOPPED} THEN 'cancelled' ELSE given.reason END,
            attempt = before.attempt, started_at = COALESCE(before.began, before.ended_at),
            hold = '', error = given.error,
            worker_id = NULL, expected_end_at = NULL, cancel_requested_at = NULL,
            available_at = COALESCE(given.available_at, job.available_at),
            published_at = CASE WHEN given.status = 'waiting' AND NOT {_STOPPED} THEN before.ended_at
                                ELSE job.published_at END,
            finished_at = CASE WHEN given.is_terminal OR {_STOPPED} THEN before.ended_at END,
            errors = CASE WHEN given.task IS NULL THEN job.errors + given.errors ELSE 0 END,
            crashes = CASE WHEN given.task IS NULL THEN job.crashes + given.crashes ELSE 0 END,
            task = COALESCE(given.task, job.task), queue = COALESCE(given.queue, job.queue),
            args = COALESCE(given.args, job.args), kwargs = COALESCE(given.kwargs, job.kwargs),
            headers = COALESCE(given.headers, job.headers)
        FROM given JOIN before ON before.id = given.id AND before.attempt = given.attempt
        WHERE job.id = ANY({IDS}) AND job.id = before.id AND {_OURS}
        RETURNING job.id, job.attempt, job.status, job.started_at AS began, before.ran_on, before.ended_at
    ), noted AS (
        INSERT INTO jobs_attempt
            (job_id, number, worker_name, started_at, finished_at, outcome, error, traceback)
        SELECT ended.id, ended.attempt,
               COALESCE((SELECT name FROM jobs_worker WHERE jobs_worker.id = ended.ran_on), ''),
               ended.began, ended.ended_at, given.outcome, given.error, given.traceback
        FROM ended JOIN given ON given.id = ended.id AND given.attempt = ended.attempt
    )
    SELECT id, attempt, status FROM ended
"""


def end(endings: Sequence[Ending], *, now: datetime | None = None) -> dict[Fence, Status]:
    """End running attempts, each under its fence; return what the jobs are then, for which it counted.

    That is what the ending says, but for a job that was to be stopped and would be tried again: it is cancelled.
    One statement, whatever their number. Rows are locked in the order of their ids, so that two batches
    cannot wait for each other.
    """
    if not endings:
        return {}
    rows = payload.document([_ending_row(one) for one in endings])
    ids = [one.job_id for one in endings]
    ended = statements.run(_END, {"endings": rows, "ids": ids, "now": now})
    return {Fence(job_id, attempt): Status(status) for job_id, attempt, status in ended}


def _ending_row(ending: Ending) -> dict[str, Any]:
    return {
        "id": ending.job_id,
        "attempt": ending.attempt,
        "status": ending.status,
        "outcome": ending.outcome,
        "reason": ending.reason,
        "error": storable(ending.error)[:ERROR_LINE_LENGTH],
        "traceback": storable(ending.traceback),
        "available_at": ending.available_at,
        "errors": ending.errors,
        "crashes": ending.crashes,
        "is_terminal": ending.is_terminal,
        **ending.work,
    }


def storable(text: str) -> str:
    """Return `text` without what PostgreSQL cannot store: NUL, and lone surrogates."""
    return text.replace("\x00", "\\x00").encode("utf-8", "backslashreplace").decode("utf-8")


def cancel_active(fence: Fence, *, error: str = "", now: datetime | None = None) -> bool:
    """active -> cancelled: the task was stopped because somebody asked for it."""
    return bool(end([ending.cancelled(fence, error)], now=now))


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


def note_published(ids: Sequence[str], *, before: datetime, now: datetime | None = None) -> list[str]:
    """Note that messages of waiting jobs are about to be sent again; return whose they are.

    Jobs that no longer wait, and those of which a message was sent since `before`, are not among them.
    """
    return _move(
        f"""UPDATE jobs_job SET published_at = {CLOCK}
            WHERE id = ANY(%(ids)s) AND status = 'waiting' AND published_at < %(before)s RETURNING id""",
        {"ids": list(ids), "before": before, "now": now},
    )
