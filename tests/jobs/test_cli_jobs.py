"""`manage.py jobs`."""

from __future__ import annotations

import threading
from datetime import timedelta

import pytest
import redis as redis_client
from django.db import connection
from django_celery_results.models import TaskResult

from jobs.engine import finishing, lifecycle
from jobs.engine.clock import database_now
from jobs.engine.enqueueing import new_id
from jobs.models import Job, JobLog
from jobs.rules.retry import FailureKind
from jobs.rules.states import Reason, Status
from tests.jobs.builders import NOON, begin, every, job
from tests.jobs.test_cli_runner import cli

pytestmark = pytest.mark.django_db(transaction=True)

FIELDS = [
    "id", "schedule", "task", "queue", "status", "reason", "trigger", "scheduled_for", "attempts",
    "max_attempts", "created_at", "available_at", "started_at", "finished_at", "args", "kwargs", "result",
    "error", "attempt_history",
]  # fmt: skip


def failed(text: str = "CanaryError: boom", **fields: object) -> Job:
    """A dead letter."""
    row = job(**fields)
    execution = begin(row, max_attempts=1)
    execution.judge(FailureKind.ERROR)
    assert finishing.fail(execution, error=text, traceback="Traceback\n  here")
    row.refresh_from_db()
    return row


def completed(**fields: object) -> Job:
    """A job that has ended well, with a result and a log line."""
    row = job(**fields)
    execution = begin(row)
    line = JobLog(job_id=row.id, attempt=1, level=20, logger="t", content="hello", logged_at=database_now())
    execution.logs.append(line)
    assert finishing.complete(execution, lambda: _store(row.id))
    row.refresh_from_db()
    return row


def _store(job_id: str) -> None:
    TaskResult.objects.create(task_id=job_id, status="SUCCESS", result='{"answer": 42}')


# --- show -------------------------------------------------------------------------------------------------


def test_show_has_the_fields_of_the_contract() -> None:
    schedule = every(60, "minutely")
    row = completed(
        schedule_id=schedule.pk, schedule_name="minutely", scheduled_for=NOON, args=[1], kwargs={"a": None}
    )
    document = cli("jobs", "show", row.id, "--json").json
    assert list(document) == FIELDS
    assert document["attempt_history"] == [
        {
            "number": 1,
            "worker": "w@test",
            "started_at": document["started_at"],
            "finished_at": document["attempt_history"][0]["finished_at"],
            "outcome": "completed",
            "error": None,
        }
    ]
    expected = {
        "schedule": "minutely", "status": "completed", "reason": None, "trigger": "action", "attempts": 1,
        "max_attempts": 5, "scheduled_for": "2026-03-10T12:00:00Z", "args": [1], "kwargs": {"a": None},
        "result": {"answer": 42}, "error": None,
    }  # fmt: skip
    assert {key: document[key] for key in expected} == expected


def test_the_running_attempt_is_in_the_history() -> None:
    row = job()
    begin(row)
    document = cli("jobs", "show", row.id, "--json").json
    (running,) = document["attempt_history"]
    assert (running["number"], running["worker"]) == (1, "w@test")
    assert (running["outcome"], running["finished_at"], running["error"]) == (None, None, None)
    assert running["started_at"] == document["started_at"]


def test_a_failed_job_says_why() -> None:
    document = cli("jobs", "show", failed().id, "--json").json
    assert (document["status"], document["reason"], document["error"]) == (
        "failed",
        "exhausted",
        "CanaryError: boom",
    )
    assert (document["result"], document["attempt_history"][0]["outcome"]) == (None, "error")


def test_a_task_says_how_often_it_is_tried() -> None:
    rows = {task: job(task=task).id for task in ("jobs.canary", "tests.fails", "tests.auto", "no.such.task")}
    wanted = {"jobs.canary": 5, "tests.fails": 3, "tests.auto": 3, "no.such.task": 5}
    import tests.jobs.tasks  # noqa: F401  (registers them)

    found = {task: cli("jobs", "show", id_, "--json").json["max_attempts"] for task, id_ in rows.items()}
    assert found == wanted
    assert cli("jobs", "show", job(max_attempts=2).id, "--json").json["max_attempts"] == 2


def test_an_id_may_be_its_beginning() -> None:
    row, other = job(id="aaaaaaaa-1"), job(id="bbbbbbbb-1")
    job(id="bbbbbbbb-2")
    assert cli("jobs", "show", "aaaaaaaa", "--json").json["id"] == row.id
    assert cli("jobs", "show", other.id, "--json").json["id"] == other.id
    assert (cli("jobs", "show", "bbbbbbbb").code, cli("jobs", "show", "aaaa").code) == (2, 3)
    for verb in ("show", "logs", "wait", "retry", "cancel"):
        result = cli("jobs", verb, new_id())
        assert (result.code, "There is no job" in result.err) == (3, True)


# --- list -------------------------------------------------------------------------------------------------


def test_list_is_newest_first_and_filtered() -> None:
    schedule = every(60, "minutely")
    first = job(queue="billing", task="a.b")
    second = failed(schedule_id=schedule.pk, schedule_name="minutely")
    third = completed()
    ids = [item["id"] for item in cli("jobs", "list", "--json").items]
    assert ids == [third.id, second.id, first.id]
    for flags, expected in (
        (("--status", "failed"), [second.id]),
        (("--status", "failed,completed"), [third.id, second.id]),
        (("--status", "failed", "--status", "waiting"), [second.id, first.id]),
        (("--queue", "billing"), [first.id]),
        (("--schedule", "minutely"), [second.id]),
        (("--task", "a.b"), [first.id]),
        (("--since", "1h"), ids),
        (("--since", "2099-01-01"), []),
        (("--limit", "1"), [third.id]),
    ):
        assert [item["id"] for item in cli("jobs", "list", *flags, "--json").items] == expected, flags
    assert list(cli("jobs", "list", "--json").items[0]) == FIELDS
    assert "--limit shows more" in cli("jobs", "list", "--limit", 1).err
    assert cli("jobs", "list", "--status", "broken").code == 2


def test_a_list_takes_as_many_queries_for_a_hundred_jobs_as_for_one(django_assert_num_queries) -> None:  # type: ignore[no-untyped-def]
    for _ in range(100):
        job(max_attempts=1)
    failed()
    completed()
    with django_assert_num_queries(3):
        cli("jobs", "list", "--limit", 100, "--json")


# --- logs -------------------------------------------------------------------------------------------------


def test_logs() -> None:
    row = completed()
    assert cli("jobs", "logs", row.id).out.endswith("Z #1 INFO hello\n")
    (line,) = cli("jobs", "logs", row.id, "--json").items
    assert (line["attempt"], line["level"], line["message"]) == (1, "INFO", "hello")
    silent = job()
    result = cli("jobs", "logs", silent.id)
    assert (result.code, result.out) == (0, "")
    assert "has logged nothing" in result.err


def test_following_ends_with_the_job_and_shows_its_last_lines() -> None:
    row = job()
    execution = begin(row)
    line = JobLog(
        job_id=row.id, attempt=1, level=30, logger="t", content="last words", logged_at=database_now()
    )
    execution.logs.append(line)
    ended = _later(0.4, lambda: finishing.complete(execution))
    result = cli("jobs", "logs", row.id, "-f")
    ended.join()
    assert (result.code, "WARNING last words" in result.out) == (0, True)


def _later(seconds: float, act: object) -> threading.Timer:
    def run() -> None:
        try:
            act()  # type: ignore[operator]
        finally:
            connection.close()

    timer = threading.Timer(seconds, run)
    timer.start()
    return timer


# --- wait -------------------------------------------------------------------------------------------------


def test_wait_exit_codes() -> None:
    good = cli("jobs", "wait", completed().id, "--json")
    assert (good.code, good.json["status"], good.json["result"]) == (0, "completed", {"answer": 42})
    bad = cli("jobs", "wait", failed().id, "--json")
    assert (bad.code, bad.json["status"]) == (1, "failed")
    assert "CanaryError: boom" in bad.err
    for row in (
        job(Status.SKIPPED, reason=Reason.OVERLAP),
        Job.objects.get(id=lifecycle.cancel_pending([job().id])[0]),
    ):
        assert cli("jobs", "wait", row.id).code == 1
    slow = cli("jobs", "wait", job().id, "--timeout", "0.1", "--json")
    assert (slow.code, slow.json["status"]) == (6, "waiting")
    assert cli("jobs", "wait", job().id, "--timeout", "soon").code == 2


def test_wait_returns_when_the_job_ends() -> None:
    row = job()
    execution = begin(row)
    ended = _later(0.3, lambda: finishing.complete(execution))
    result = cli("jobs", "wait", row.id, "--timeout", "20s", "--json")
    ended.join()
    assert (result.code, result.json["status"]) == (0, "completed")


# --- retry, cancel ----------------------------------------------------------------------------------------


def test_retry_runs_a_failed_job_again_under_its_id(redis: redis_client.Redis) -> None:
    row = failed()
    result = cli("jobs", "retry", row.id, "--json")
    assert (result.code, result.json["id"], result.json["status"]) == (0, row.id, "waiting")
    assert redis.llen("default") == 1
    again = cli("jobs", "retry", row.id)
    assert (again.code, "is waiting: only a failed job" in again.err) == (4, True)


def test_cancel(redis: redis_client.Redis) -> None:
    row = job(Status.DELAYED, available_at=database_now() + timedelta(days=1))
    assert cli("jobs", "cancel", row.id, "--json").json["status"] == "cancelled"
    again = cli("jobs", "cancel", row.id)
    assert (again.code, "has ended" in again.err) == (4, True)
    running = job()
    begin(running)
    result = cli("jobs", "cancel", running.id, "--json")
    assert (result.code, result.json["status"]) == (0, "active")
    assert "asked to stop" in result.err
    running.refresh_from_db()
    assert running.cancel_requested_at is not None
