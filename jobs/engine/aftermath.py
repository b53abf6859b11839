"""What an end leaves beside the row: the result, the chord's count, follow-ups, error callbacks.

A task whose code ended it has told Celery's result backend itself, which `ending` has taken down. Where no code
of the task's was there to do so (cancelled or expired before it started, killed, lost too often, unknown) it
is done here, by the row: so nobody waits for ever for the result of such a job, or for a chord that it is in.

All of this belongs into the transaction that moves the row, and concerns the rows that really moved.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

from celery import current_app
from celery.app.task import Context
from celery.exceptions import TaskRevokedError
from celery.states import FAILURE, REVOKED
from django.db import Error
from django.db.models import Q
from django_celery_results.models import ChordCounter, TaskResult

from jobs.engine import ending, enqueueing, payload, statements
from jobs.engine.ending import Ending
from jobs.engine.records import Fence
from jobs.models import Job
from jobs.rules.redaction import summary
from jobs.rules.replacing import predecessors_of
from jobs.rules.states import Trigger

logger = logging.getLogger(__name__)

OCCURRENCES = (Trigger.SCHEDULE, Trigger.BACKFILL, Trigger.DEPENDENCY)
"""What a schedule made: nobody holds an `AsyncResult` of it, and its row says why it did not run."""

HEARERS = ("chain", "chord", "errbacks")
"""Headers that name who is to hear of a failure."""


# --- What an ending holds ----------------------------------------------------------------------------------


def write(endings: Sequence[Ending]) -> None:
    """Store results and follow-ups of endings, and count down the chords that they are parts of."""
    _write_results(endings)
    _write_follow_ups(endings)


_RESULT_COLUMNS = (
    "task_id", "status", "result", "traceback", "meta", "content_encoding", "content_type",
    "periodic_task_name", "task_name", "task_args", "task_kwargs", "worker",
)  # fmt: skip
_RESULTS = f"""
    INSERT INTO {TaskResult._meta.db_table} ({", ".join(_RESULT_COLUMNS)}, date_created, date_done)
    SELECT given.*, now(), now()
    FROM jsonb_to_recordset(%(rows)s::jsonb) AS given({", ".join(f"{name} text" for name in _RESULT_COLUMNS)})
    ON CONFLICT (task_id) DO UPDATE SET
        {", ".join(f"{name} = excluded.{name}" for name in (*_RESULT_COLUMNS[1:], "date_done"))}
"""  # noqa: S608  (put together from names of columns)


def _write_results(endings: Sequence[Ending]) -> None:
    # The last one of an id counts; sorted, so that two batches lock rows in the same order.
    rows = {result["task_id"]: result for one in endings for result in one.results}
    if rows:
        statements.run(_RESULTS, {"rows": payload.document([rows[key] for key in sorted(rows)])})


def _write_follow_ups(endings: Sequence[Ending]) -> None:
    chords = [ChordCounter(**chord) for one in endings for chord in one.chords]
    if chords:
        ChordCounter.objects.bulk_create(chords)
    enqueueing.enqueue([job for one in endings for job in one.jobs])
    parts = [part for one in endings for part in one.chord_parts]
    # In one order, as two batches may count down the same chords.
    for part in sorted(parts, key=lambda part: (part["group"], part["id"])):
        current_app.backend.on_chord_part_return(Context(part), part["state"], None)


# --- Ends without the task's code --------------------------------------------------------------------------


def revoked(ids: Sequence[str], why: str) -> None:
    """Say of jobs that were cancelled, or have expired, that they were revoked; `why` in a word.

    Later steps of their chains, their chords and their error callbacks hear of it as of a failure. An
    occurrence of a schedule that has never started is left out, unless somebody is to hear of it.
    """
    if not ids:
        return
    jobs, heard = Job.objects.filter(id__in=ids), Q(headers__has_any_keys=HEARERS)
    write([_revoked(job, why) for job in jobs.filter(heard)])
    plain = jobs.exclude(heard).exclude(trigger__in=OCCURRENCES, attempt=0)
    _write_one_result_for(
        [
            (one, task)
            for job_id, task, ignored in plain.values_list("id", "task", "headers__ignore_result")
            if _keeps_errors(task, ignored)
            for one in (job_id, *predecessors_of(job_id))
        ],
        TaskRevokedError(why),
    )


def _revoked(job: Job, why: str) -> Ending:
    end = ending.cancelled(Fence(job.id, job.attempt))
    with ending.collecting(end):
        tell(job, TaskRevokedError(why), state=REVOKED)
    return end


def _write_one_result_for(jobs: Sequence[tuple[str, str]], exc: TaskRevokedError) -> None:
    """Store the same result for many jobs, of which id and task are given: a queue may be purged of 100,000."""
    if not jobs:
        return
    with ending.collecting(ending.cancelled(Fence("", 0))) as document:
        current_app.backend.store_result("", exc, REVOKED)
    [result] = document.results
    ids, tasks = zip(*sorted(jobs), strict=True)
    statements.run(_SAME_RESULT, {**result, "ids": list(ids), "tasks": list(tasks)})


_SAME_RESULT = f"""
    INSERT INTO {TaskResult._meta.db_table}
        (task_id, task_name, status, result, meta, content_type, content_encoding, date_created, date_done)
    SELECT given.id, given.task, %(status)s, %(result)s, %(meta)s, %(content_type)s, %(content_encoding)s,
           now(), now()
    FROM unnest(%(ids)s::text[], %(tasks)s::text[]) AS given(id, task)
    ON CONFLICT (task_id) DO UPDATE SET
        status = excluded.status, result = excluded.result, meta = excluded.meta, traceback = NULL,
        content_type = excluded.content_type, content_encoding = excluded.content_encoding,
        date_done = excluded.date_done
"""  # noqa: S608  (put together from a table's name)


def tell(job: Job, exc: Exception, *, state: str = FAILURE) -> None:
    """Tell the result backend how a job ended, while the ending that is about it is collected.

    A canvas that makes no sense, as a message of another program may bring one, is no reason to keep the job.
    """
    keeps = _keeps_errors(job.task, job.headers.get("ignore_result"))
    try:
        current_app.backend.mark_as_failure(
            job.id, exc, request=request_of(job), store_result=keeps, state=state
        )
    except Error:
        raise
    except Exception:
        logger.exception("job %s is %s, but its canvas cannot be told", job.id, job.status)


def request_of(job: Job) -> Context:
    """Return what Celery would know of the job in a worker, from its row."""
    args, kwargs, headers = job.args, job.kwargs, job.headers
    if any(headers.get(key) for key in HEARERS):
        args, kwargs, headers = payload.decode(payload.document([args, kwargs, headers]))
    return Context(
        headers,
        id=job.id,
        task=job.task,
        args=args,
        kwargs=kwargs,
        argsrepr=summary(job.args),
        kwargsrepr=summary(job.kwargs),
        retries=job.errors,
        root_id=headers.get("root_id") or job.id,
        errbacks=headers.get("errbacks") or [],
        delivery_info={"routing_key": job.queue},
        periodic_task_name=job.schedule_name or None,
        called_directly=False,
    )


def _keeps_errors(task: str, ignored: bool | None) -> bool:
    """Whether the error of a job of `task` is stored; `ignored` is what its call said about results."""
    registered = current_app.tasks.get(task)
    if ignored is None:
        ignored = getattr(registered, "ignore_result", False)
    return not ignored or bool(getattr(registered, "store_errors_even_if_ignored", False))
