"""The hot statements find their rows by an index: their plans are read, over tables that are not small."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection

from jobs.engine import (
    claiming,
    dispatching,
    ending,
    executing,
    finishing,
    limiting,
    pausing,
    pruning,
    recovering,
    statements,
    ticking,
)
from jobs.engine.clock import database_now
from jobs.engine.records import Fence, Wanted
from jobs.insight import dashboard, throughput
from jobs.models import Job
from tests.jobs.builders import NOON, every, job, worker

pytestmark = pytest.mark.django_db

FINISHED, WAITING, SCHEDULES = 20_000, 1_000, 3_000
BIG = {"jobs_job", "jobs_attempt", "jobs_joblog", "jobs_schedule", "django_celery_beat_periodictask"}


@pytest.fixture
def grown() -> None:
    """A ledger that has been in use for some time, with fresh statistics."""
    finished, waiting, schedule = job(), job(), every(60, "model")
    with connection.cursor() as cursor:
        cursor.execute(
            """INSERT INTO jobs_job (id, task, queue, trigger, status, args, kwargs, headers, created_at,
                                     available_at, started_at, finished_at, attempt, reason)
               SELECT 'f' || g, task, queue, trigger,
                      CASE WHEN g %% 100 = 0 THEN 'failed' ELSE 'completed' END, args, kwargs, headers,
                      now() - g * interval '1 minute', now(), now(), now() - g * interval '1 minute', 1,
                      CASE WHEN g %% 100 = 0 THEN 'exhausted' ELSE '' END
               FROM jobs_job, generate_series(1, %s) AS g WHERE id = %s""",
            [FINISHED, finished.id],
        )
        cursor.execute(
            """INSERT INTO jobs_job (id, task, queue, trigger, status, args, kwargs, headers, available_at,
                                     published_at)
               SELECT 'w' || g, task, queue, trigger, status, args, kwargs, headers, now(), now()
               FROM jobs_job, generate_series(1, %s) AS g WHERE id = %s""",
            [WAITING, waiting.id],
        )
        cursor.execute(
            """INSERT INTO django_celery_beat_periodictask (name, task, interval_id, args, kwargs, queue, enabled,
                   one_off, total_run_count, date_changed, description, headers, start_time)
               SELECT 's' || g, task, interval_id, args, kwargs, queue, enabled, one_off, 0, date_changed, '',
                      headers, start_time
               FROM django_celery_beat_periodictask, generate_series(1, %s) AS g WHERE id = %s""",
            [SCHEDULES, schedule.pk],
        )
        cursor.execute(
            """UPDATE jobs_schedule SET spec = model.spec, template = model.template, stale = false,
                      next_run_at = now() + interval '1 hour', problem = ''
               FROM (SELECT spec, template FROM jobs_schedule WHERE periodic_task_id = %s) AS model""",
            [schedule.pk],
        )
        cursor.execute(
            """INSERT INTO jobs_attempt (job_id, number, started_at, finished_at, outcome)
               SELECT id, 1, now(), now(), 'completed' FROM jobs_job WHERE status = 'completed'"""
        )
        cursor.execute(
            """INSERT INTO jobs_joblog (job_id, attempt, level, logger, content, logged_at)
               SELECT id, 1, 20, 'app', 'done', now() FROM jobs_job WHERE status = 'completed'"""
        )
        for table in BIG:
            cursor.execute(f"ANALYZE {table}")


class Plans:
    """Explains what is executed, before it is."""

    def __init__(self) -> None:
        self.nodes: list[dict[str, Any]] = []

    def __call__(self, execute: Callable[..., Any], sql: str, params: Any, many: bool, context: Any) -> Any:
        self.explain(sql, params)
        return execute(sql, params, many, context)

    def explain(self, sql: str, params: Any) -> None:
        if sql.split(None, 1)[0].upper() in ("SELECT", "WITH", "UPDATE", "INSERT", "DELETE"):
            with connection.connection.cursor() as cursor:
                cursor.execute(f"EXPLAIN (FORMAT JSON) {sql}", params)
                document = cursor.fetchone()[0]
                found = json.loads(document) if isinstance(document, str) else document
                self.nodes += list(_nodes(found[0]["Plan"]))

    @property
    def scanned(self) -> set[str]:
        """The big tables that are read from end to end."""
        return {
            node["Relation Name"]
            for node in self.nodes
            if node["Node Type"] == "Seq Scan" and node.get("Relation Name") in BIG
        }

    @property
    def indexes(self) -> set[str]:
        return {node["Index Name"] for node in self.nodes if "Index Name" in node}


def _nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for part in plan.get("Plans", ()):
        yield from _nodes(part)


def plans_of(act: Callable[[], object], monkeypatch: pytest.MonkeyPatch) -> Plans:
    """Return the plans of every statement that `act` executes."""
    plans = Plans()
    run = statements.run

    def explained(sql: str, params: Any, **options: Any) -> Any:
        plans.explain(sql, params)
        return run(sql, params, **options)

    with monkeypatch.context() as patch, connection.execute_wrapper(plans):
        patch.setattr(statements, "run", explained)
        act()
    assert plans.nodes
    return plans


def start(*ids: str) -> None:
    wanted = [Wanted(Fence(key, 1), "jobs.canary", "default", 60) for key in ids]
    started, refused = executing.start(wanted, worker_id=worker())
    assert (len(started), refused) == (len(ids), [])


def finish(*ids: str) -> None:
    start(*ids)
    assert len(finishing.record([ending.completed(Fence(key, 1)) for key in ids])) == len(ids)


HOT: dict[str, tuple[Callable[[], object], set[str]]] = {
    "claim": (lambda: claiming.claim_due(database_now() - timedelta(seconds=1)), {"jobs_schedule_due"}),
    "claim what is due": (
        lambda: claiming.claim_due(database_now() + timedelta(hours=2), limit=50),
        {"jobs_schedule_due", "jobs_job_live"},
    ),
    "start one": (lambda: start("w7"), {"jobs_job_pkey"}),
    "start a batch": (lambda: start(*[f"w{n}" for n in range(1, 33)]), {"jobs_job_pkey"}),
    "finish one": (lambda: finish("w7"), {"jobs_job_pkey"}),
    "finish a batch": (lambda: finish(*[f"w{n}" for n in range(1, 33)]), {"jobs_job_pkey"}),
    "who has failed too often": (pausing.pause_failing, {"jobs_schedule_watched"}),
    "whose pause is over": (lambda: pausing.resume_due(database_now()), {"jobs_schedule_resume"}),
    "promote": (lambda: dispatching.promote_due(database_now()), {"jobs_job_delayed"}),
    "what there is to do": (
        lambda: ticking.look_around(database_now()),
        {
            "jobs_schedule_resume",
            "jobs_schedule_stale",
            "jobs_job_delayed",
            "jobs_job_held",
            "jobs_schedule_watched",
        },
    ),
    "when to wake": (ticking.next_wake, {"jobs_schedule_due", "jobs_job_delayed"}),
    "rescue": (lambda: recovering.rescue(database_now()), {"jobs_job_active"}),
    "release": (lambda: limiting.release(database_now()), set()),
    "prune": (lambda: pruning.prune(database_now(), batch=100), {"jobs_job_finished"}),
    "the newest jobs": (lambda: list(Job.objects.newest()[:100]), {"jobs_job_newest"}),  # type: ignore[attr-defined]
    "the dead letters": (
        lambda: list(Job.objects.dead_letters().newest()[:100]),  # type: ignore[attr-defined]
        {"jobs_job_by_status"},
    ),
    "the delayed": (
        lambda: list(Job.objects.delayed().newest()[:100]),  # type: ignore[attr-defined]
        {"jobs_job_delayed", "jobs_job_held"},
    ),
    "what completed last": (
        lambda: list(Job.objects.filter(status="completed").order_by("-finished_at", "-id")[:100]),
        {"jobs_job_finished"},
    ),
    "the queues of the overview": (
        lambda: dashboard.queues(database_now()),
        {"jobs_job_waiting", "jobs_job_active", "jobs_job_delayed", "jobs_job_held"},
    ),
    "what ended, on the overview": (lambda: throughput.ended(database_now()), {"jobs_job_finished"}),
    "the jobs of a schedule": (
        lambda: list(Job.objects.filter(schedule_id=1).order_by("-created_at")[:100]),
        {"jobs_job_history"},
    ),
}


@pytest.mark.parametrize("what", list(HOT))
def test_no_hot_statement_reads_a_whole_table(
    grown: None, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    act, wanted = HOT[what]
    plans = plans_of(act, monkeypatch)
    assert plans.scanned == set()
    assert wanted <= plans.indexes, plans.indexes


def test_a_statement_that_reads_a_whole_table_is_noticed(
    grown: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    plans = plans_of(lambda: Job.objects.filter(error="no index").count(), monkeypatch)
    assert plans.scanned == {"jobs_job"}


def test_an_unknown_job_is_not_looked_for_in_the_whole_table(
    grown: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    nobody = Wanted(Fence(str(uuid.uuid4()), 1), "jobs.canary", "default", 60)
    plans = plans_of(lambda: executing.start([nobody], worker_id=worker(), now=NOON), monkeypatch)
    assert plans.scanned == set()


def test_the_plan_of_a_start_that_is_kept_can_use_no_index_but_the_primary_key(db: None) -> None:
    """While few jobs wait, the index of the waiting ones looks as good, and would be used when there are many."""
    for _ in range(200):
        start(job().id)
    kept = "SELECT name, cardinality(parameter_types) FROM pg_prepared_statements WHERE statement ~ %s"
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL plan_cache_mode = force_generic_plan")
        cursor.execute("SET LOCAL enable_seqscan = off")
        cursor.execute("ANALYZE jobs_job")
        cursor.execute(kept, ["UPDATE jobs_job AS job SET\\s+status = 'active'"])
        ((name, parameters),) = cursor.fetchall()
        nothing = ", ".join(["NULL"] * parameters)
        cursor.execute(f'EXPLAIN (FORMAT JSON) EXECUTE "{name}" ({nothing})')
        (plan,) = cursor.fetchone()
    nodes = _nodes((json.loads(plan) if isinstance(plan, str) else plan)[0]["Plan"])
    names = {node["Index Name"] for node in nodes if "Index Name" in node}
    assert {name for name in names if name.startswith("jobs_job_")} == {"jobs_job_pkey"}
