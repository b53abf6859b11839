"""Runs over one database of the product, started by `benchmarks.growth`: prints one JSON object.

python -m benchmarks.growth_driver seed FINISHED WAITING
python -m benchmarks.growth_driver measure
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any
from uuid import uuid4

from benchmarks import specs
from benchmarks.peers import _jadwal as base

SCHEDULES = 1_000
OLD = 2_000
"""Finished jobs past their retention: what a pruning finds, the same in a small and in a large database."""
ROUNDS = 7
STARTS = 20

_ID = """
    lpad(to_hex((extract(epoch FROM {at}) * 1000)::bigint), 12, '0') || substr(md5(g::text), 1, 20)
"""
_FINISHED = f"""
    INSERT INTO jobs_job (id, task, queue, trigger, status, reason, args, kwargs, headers, schedule_id,
                          schedule_name, scheduled_for, attempt, created_at, available_at, published_at,
                          started_at, finished_at)
    SELECT {_ID.format(at="made")}, 'app.task_' || g %% 20, 'queue_' || g %% 4, 'schedule',
           CASE WHEN g %% 50 = 0 THEN 'failed' ELSE 'completed' END,
           CASE WHEN g %% 50 = 0 THEN 'exhausted' ELSE '' END,
           jsonb_build_array(g), '{{}}', '{{}}', %(first)s + g %% {SCHEDULES}, 's' || g %% {SCHEDULES}, made,
           1, made, made, made, made + interval '20 ms', made + interval '1 s'
    FROM (SELECT g, %(since)s::timestamptz + g * (%(until)s::timestamptz - %(since)s) / %(count)s AS made
          FROM generate_series(1, %(count)s) AS g) AS rows
"""
_ATTEMPTS = """
    INSERT INTO jobs_attempt (job_id, number, started_at, finished_at, outcome, worker_name)
    SELECT id, 1, started_at, finished_at,
           CASE status WHEN 'completed' THEN 'completed' ELSE 'error' END, 'worker@bench'
    FROM jobs_job WHERE finished_at IS NOT NULL
"""
_RESULTS = """
    INSERT INTO django_celery_results_taskresult
        (task_id, status, content_type, content_encoding, result, date_created, date_done, meta, task_name)
    SELECT id, CASE status WHEN 'completed' THEN 'SUCCESS' ELSE 'FAILURE' END, 'application/json', 'utf-8',
           'null', created_at, finished_at, '{"children": []}', task
    FROM jobs_job WHERE finished_at IS NOT NULL
"""
_WAITING = f"""
    INSERT INTO jobs_job (id, task, queue, trigger, status, args, kwargs, headers, created_at,
                          available_at, published_at)
    SELECT {_ID.format(at="made")}, 'bench.noop', 'default', 'action', 'waiting', '[]', '{{}}', '{{}}',
           made, made, made
    FROM (SELECT g, now() - (%(count)s - g) * interval '1 ms' AS made
          FROM generate_series(1, %(count)s) AS g) AS rows
"""


def seed(finished: str, waiting: str) -> dict[str, Any]:
    """Fill the database: schedules, finished jobs with attempts and results, waiting jobs."""
    from django.contrib.auth.models import User
    from django.db import connection

    from benchmarks.peers import sched_jadwal

    base.migrate()
    began = time.monotonic()
    sched_jadwal.seed(specs.mix(SCHEDULES), burst=False)
    User.objects.create_superuser("bench", "bench@example.com", "bench")
    with connection.cursor() as cursor:
        cursor.execute("SELECT min(periodic_task_id), now() FROM jobs_schedule")
        first, now = cursor.fetchone()
        cursor.execute("SET statement_timeout = 0")
        from datetime import timedelta

        for count, since, until in ((OLD, 9, 8), (int(finished) - OLD, 6, 0)):
            days = {"since": now - timedelta(days=since), "until": now - timedelta(days=until)}
            cursor.execute(_FINISHED, {"first": first, "count": count, **days})
        cursor.execute(_ATTEMPTS)
        cursor.execute(_RESULTS)
        cursor.execute(_WAITING, {"count": int(waiting)})
        cursor.execute("VACUUM ANALYZE")
        cursor.execute("SELECT count(*) FILTER (WHERE finished_at IS NOT NULL), count(*) FROM jobs_job")
        ended, every = cursor.fetchone()
    return {"finished": ended, "waiting": every - ended, "seed_s": time.monotonic() - began}


class _Undo(Exception):
    """Rolls a measured transaction back."""


def _page(path: str) -> Callable[[], None]:
    from django.test import Client

    client = Client(headers={"host": "localhost"})
    from django.contrib.auth.models import User

    client.force_login(User.objects.get(username="bench"))

    def get() -> None:
        response = client.get(path)
        if response.status_code != 200:
            raise AssertionError(f"{path}: {response.status_code}")

    return get


def _jobs_list() -> None:
    from django.core.management import call_command

    with contextlib.redirect_stdout(io.StringIO()):
        call_command("jobs", "list", "--json", stdout=io.StringIO())


def _undone(prepare: Callable[[], Any], act: Callable[[], int], expected: int) -> float:
    """Return the milliseconds of `act` in a transaction that is rolled back; it must do `expected`."""
    from django.db import transaction

    spent = 0.0
    try:
        with transaction.atomic():
            prepare()
            began = time.perf_counter()
            done = act()
            spent = (time.perf_counter() - began) * 1e3
            raise _Undo
    except _Undo:
        pass
    if done != expected:
        raise AssertionError(f"expected {expected}, did {done}")
    return spent


def _claim() -> float:
    from benchmarks.peers import sched_jadwal
    from jobs.engine import claiming
    from jobs.engine.clock import database_now

    make_due = sched_jadwal.Bench.make_due
    return _undone(
        lambda: make_due(None, 100),
        lambda: claiming.claim_due(database_now(), limit=100),
        100,
    )


def _prune() -> float:
    from jobs.engine import pruning
    from jobs.engine.clock import database_now

    return _undone(lambda: None, lambda: pruning.prune(database_now(), batch=1_000), 1_000)


def _start() -> float:
    """Return the milliseconds of one start, committed, in the order of their messages; the jobs stay active."""
    from jobs.engine import executing
    from jobs.engine.executing import Execution
    from jobs.engine.records import Fence
    from jobs.models import Job

    waiting = Job.objects.filter(status="waiting", queue="default").order_by("available_at")
    ids = list(waiting.values_list("id", flat=True)[:STARTS])
    worker = uuid4()
    began = time.perf_counter()
    for job_id in ids:
        found = executing.begin(
            Fence(job_id, 1),
            task="bench.noop",
            queue="default",
            worker_id=worker,
            default_limit=60,
            default_max_attempts=1,
        )
        if not isinstance(found, Execution):
            raise AssertionError(found)
    return (time.perf_counter() - began) * 1e3 / STARTS


def timed(act: Callable[[], None]) -> Callable[[], float]:
    """Return a function that does `act` and returns the milliseconds it took."""

    def measured() -> float:
        began = time.perf_counter()
        act()
        return (time.perf_counter() - began) * 1e3

    return measured


def measure() -> dict[str, float]:
    """Return the median milliseconds of everything that must not grow with the tables."""
    acts = {
        "admin_overview_ms": timed(_page("/admin/")),
        "admin_jobs_ms": timed(_page("/admin/jobs/job/")),
        "admin_waiting_ms": timed(_page("/admin/jobs/job/?status__exact=waiting")),
        "admin_completed_ms": timed(_page("/admin/jobs/job/?status__exact=completed")),
        "admin_failed_ms": timed(_page("/admin/jobs/job/?status__exact=failed")),
        "jobs_list_ms": timed(_jobs_list),
        "claim_100_ms": _claim,
        "start_ms": _start,
        "prune_1000_ms": _prune,
    }
    found = {}
    for name, act in acts.items():
        act()
        found[name] = statistics.median(act() for _ in range(ROUNDS))
    return found


if __name__ == "__main__":
    base.setup()
    verb, *words = sys.argv[1:]
    print(json.dumps({"seed": seed, "measure": measure}[verb](*words)), flush=True)
    os._exit(0)
