"""Deleting what has been kept long enough, a small batch at a time.

The fence against deciding an old occurrence again is the schedule's cursor, not the row: it survives. Two
rows are fences themselves, and are kept while they are needed, however old they are (`_STILL_NEEDED`).

No statement here waits for a row that somebody works with, and none takes a row that anybody may want to
change: a claim, a start or an end of a job never waits for pruning.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from django.db import connection, transaction

from jobs.conf import conf
from jobs.rules.states import TERMINAL

WORKERS_KEPT = timedelta(days=7)
MOST_LINES = 50_000
"""Log lines that one batch deletes, about: a batch of talkative jobs is a batch of fewer jobs."""

# A job that another one's end started is the mark that it did: without it, and with the other one still
# there, it would be started again (`depending.trigger_due`).
# The last completed job of a schedule that pauses after failures in a row is what breaks the row: failed
# jobs are kept longer, and would stand side by side without it (`pausing.pause_failing`).
# CASE keeps the planner from joining the whole table before the LIMIT, and LIMIT 1 from hashing all of it.
_STILL_NEEDED = """
    (CASE WHEN job.nonce LIKE 'after:%%' THEN (
         SELECT true FROM jobs_job AS upstream
         WHERE upstream.id = (substr(job.nonce, length('after:') + 1) COLLATE "C") LIMIT 1) IS TRUE
       ELSE false END
     OR CASE WHEN job.status = 'completed' AND (
         SELECT true FROM jobs_schedule AS schedule
         WHERE schedule.periodic_task_id = job.schedule_id AND schedule.pause_after_failures > 0
         LIMIT 1) IS TRUE
       THEN job.id = (
         SELECT last.id FROM jobs_job AS last
         WHERE last.schedule_id = job.schedule_id AND last.status = 'completed'
         ORDER BY last.created_at DESC LIMIT 1) ELSE false END)
"""

# The jobs among the words of a document of django-celery-results, which names them by their ids.
_JOBS_NAMED_IN = """
    SELECT 1 FROM jsonb_path_query({document}::jsonb, 'strict $.**') AS word
    JOIN jobs_job AS member ON member.id = ((word #>> '{{}}') COLLATE "C")
    WHERE jsonb_typeof(word) = 'string'
"""

# A chord whose header will never be complete (a member was cancelled, or is a dead letter that nobody
# replayed) leaves its counter behind. It goes with the last job that it names.
_PRUNE = f"""
    WITH candidate AS MATERIALIZED (
        SELECT job.id, job.finished_at, job.headers ->> 'group' AS in_group
        FROM jobs_job AS job
        WHERE job.status = %(status)s AND job.finished_at < %(before)s AND NOT {_STILL_NEEDED}
        ORDER BY job.finished_at LIMIT %(batch)s FOR UPDATE SKIP LOCKED
    ), counted AS MATERIALIZED (
        SELECT *, (SELECT count(*) FROM jobs_joblog WHERE job_id = candidate.id) AS lines FROM candidate
    ), summed AS (
        SELECT *, sum(lines) OVER (ORDER BY finished_at, id) - lines AS lines_before FROM counted
    ), old AS MATERIALIZED (
        SELECT id, in_group FROM summed WHERE lines_before < %(most_lines)s
    ), logs AS (DELETE FROM jobs_joblog USING old WHERE job_id = old.id),
    attempts AS (DELETE FROM jobs_attempt USING old WHERE job_id = old.id),
    results AS (DELETE FROM django_celery_results_taskresult USING old
                WHERE task_id = (old.id COLLATE "default")),
    counters AS (
        DELETE FROM django_celery_results_chordcounter AS counter
        USING (SELECT DISTINCT in_group FROM old) AS gone
        WHERE counter.group_id = gone.in_group AND NOT EXISTS (
            {_JOBS_NAMED_IN.format(document="counter.sub_tasks")} AND member.id NOT IN (SELECT id FROM old))
    )
    DELETE FROM jobs_job USING old WHERE jobs_job.id = old.id
"""  # noqa: S608  (put together from the constants above)


def prune(now: datetime, *, batch: int = 1_000) -> int:
    """Delete at most `batch` rows of each kind that are past their retention; return how many.

    With a job go its attempts, log lines and result. Zero means that nothing is left to do.
    """
    deleted = sum(_jobs(status, now - kept, batch) for status, kept in conf().retention.items())
    deleted += _results_of_no_job(now, batch)
    if (quarantine_kept := conf().quarantine_kept) is not None:
        deleted += _delete(_QUARANTINE, before=now - quarantine_kept, batch=batch)
    return deleted + sum(_delete(sql, before=now - WORKERS_KEPT, batch=batch) for sql in (_WORKERS, _BEATS))


def _jobs(status: str, before: datetime, batch: int) -> int:
    return _delete(_PRUNE, status=status, before=before, batch=batch, most_lines=MOST_LINES)


def _results_of_no_job(now: datetime, batch: int) -> int:
    """Delete what django-celery-results keeps of more than our jobs: groups, and bodies of failed chords.

    They have no end of their own to count from, so the longest retention is theirs; a status whose jobs are
    kept for good keeps these as well.
    """
    if len(conf().retention) < len(TERMINAL):
        return 0
    before = now - max(conf().retention.values())
    return sum(_delete(sql, before=before, batch=batch) for sql in (_RESULTS, _GROUPS))


def _delete(sql: str, **params: Any) -> int:
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(sql, params)
        return int(cursor.rowcount)


_RESULTS = """
    WITH old AS MATERIALIZED (
        SELECT result.id FROM django_celery_results_taskresult AS result
        WHERE result.date_done < %(before)s
          AND NOT EXISTS (SELECT 1 FROM jobs_job WHERE jobs_job.id = (result.task_id COLLATE "C"))
        ORDER BY result.date_done LIMIT %(batch)s FOR UPDATE SKIP LOCKED
    )
    DELETE FROM django_celery_results_taskresult AS result USING old WHERE result.id = old.id
"""

_GROUPS = f"""
    WITH old AS MATERIALIZED (
        SELECT id FROM django_celery_results_groupresult
        WHERE date_done < %(before)s
          AND NOT CASE WHEN content_type = 'application/json'
                       THEN EXISTS ({_JOBS_NAMED_IN.format(document="result")}) ELSE false END
        ORDER BY date_done LIMIT %(batch)s FOR UPDATE SKIP LOCKED
    )
    DELETE FROM django_celery_results_groupresult AS found USING old WHERE found.id = old.id
"""  # noqa: S608  (as above)

# Ids come in the order of time: the oldest are found without an index on the time.
_QUARANTINE = """
    WITH oldest AS MATERIALIZED (SELECT id FROM jobs_quarantine ORDER BY id LIMIT %(batch)s),
    old AS MATERIALIZED (
        SELECT message.id FROM jobs_quarantine AS message JOIN oldest USING (id)
        WHERE message.received_at < %(before)s FOR UPDATE OF message SKIP LOCKED
    )
    DELETE FROM jobs_quarantine AS message USING old WHERE message.id = old.id
"""

# The heartbeat of one that was started again under its name is set back (`attending.register`); it is
# wanted until its jobs are rescued, and its row is history like any other.
_WORKERS = """
    WITH old AS MATERIALIZED (
        SELECT id FROM jobs_worker AS worker
        WHERE GREATEST(heartbeat_at, started_at, stopped_at) < %(before)s
          AND NOT EXISTS (SELECT 1 FROM jobs_job WHERE worker_id = worker.id AND status = 'active')
        LIMIT %(batch)s FOR UPDATE OF worker SKIP LOCKED
    )
    DELETE FROM jobs_worker AS worker USING old WHERE worker.id = old.id
"""

_BEATS = """
    WITH old AS MATERIALIZED (
        SELECT id FROM jobs_beat WHERE GREATEST(heartbeat_at, stopped_at) < %(before)s
        LIMIT %(batch)s FOR UPDATE SKIP LOCKED
    )
    DELETE FROM jobs_beat AS beat USING old WHERE beat.id = old.id
"""
