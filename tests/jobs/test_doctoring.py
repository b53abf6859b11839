"""`manage.py doctor`: each check finds what it is for, and a healthy line has nothing to complain about."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta

import pytest
import redis as redis_client
from django.db import connection
from django_celery_beat.models import PeriodicTask

from jobs.engine import attending, syncing
from jobs.engine.clock import database_now
from jobs.insight import doctoring, timezones
from jobs.models import Job, Quarantine, Schedule, Worker
from tests.jobs.builders import begin, every, job, seconds, worker
from tests.jobs.test_cli_operations import database_url
from tests.jobs.test_cli_runner import NOWHERE, cli, shell
from tests.jobs.test_explaining import beat

__all__ = ["beat"]

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def _redis(redis: redis_client.Redis) -> None:
    """Redis is there."""


def checks(clock: Callable[[], datetime] = lambda: datetime.now(UTC)) -> dict[str, doctoring.Check]:
    found, _ = doctoring.examine(clock)
    assert len({one.name for one in found}) == len(found)
    assert all(one.sentence.endswith(".") for one in found)
    assert all(one.remedy for one in found if one.status != "ok")
    return {one.name: one for one in found}


def soon(**fields: object) -> Schedule:
    return every(3600, "hourly", anchor=database_now().replace(microsecond=0), **fields)


def test_a_healthy_line(beat: None) -> None:
    worker()
    soon()
    found = checks()
    assert {name: one.sentence for name, one in found.items() if one.status == "fail"} == {}
    assert set(found) == {
        "database", "migrations", "broker", "redis clock", "database clock", "triggers", "audit", "secrets", "beat",
        "publishing", "edits",
        "schedules", "permits", "queues", "tasks", "workers", "quarantine", "time zones",
    }  # fmt: skip
    assert found["beat"].sentence.startswith("1 scheduler(s) run")
    result = cli("doctor", "--json")
    assert result.code == 0, result.err
    assert set(result.items[0]) == {"name", "status", "sentence", "remedy"}
    assert "nothing fails" in result.err


def test_no_beat() -> None:
    worker()
    schedule = soon()
    Schedule.objects.update(decided_through=database_now() - timedelta(hours=1))
    assert checks()["beat"].sentence == "No scheduler shows a sign of life."
    Schedule.objects.filter(pk=schedule.pk).update(next_run_at=database_now() - seconds(90))
    assert "something is due for 90 s" in checks()["beat"].sentence
    result = cli("doctor")
    assert (result.code, f"1 of {len(checks())} checks failed" in result.err) == (1, True)
    assert "celery -A scheduler_project beat" in result.out


def test_edits_that_nobody_reads_and_schedules_that_cannot_fire() -> None:
    schedule = soon()
    PeriodicTask.objects.update(args="{}")
    Schedule.objects.filter(pk=schedule.pk).update(edited_at=database_now() - seconds(60))
    assert checks()["edits"].sentence.endswith("by a scheduler: hourly.")
    syncing.sync_stale(database_now())
    assert checks()["schedules"].sentence == (
        "1 schedule(s) cannot fire; hourly: Its args must be a JSON list."
    )


def test_queues_without_workers() -> None:
    soon(queue="lonely")
    assert (checks()["queues"].status, "lonely" in checks()["queues"].sentence) == ("warn", True)
    job(queue="lonely")
    assert checks()["queues"].sentence == "No worker takes jobs from lonely (1 jobs)."
    assert checks()["queues"].status == "fail"


def test_tasks_that_no_worker_of_the_queue_has() -> None:
    soon()
    Worker.objects.filter(id=worker()).update(tasks=["other.task"])
    found = checks()["tasks"]
    assert (found.status, "jobs.canary (schedule hourly, queue default)" in found.sentence) == ("fail", True)
    worker("b@x")
    assert checks()["tasks"].status == "ok"


def test_dead_workers_that_hold_jobs() -> None:
    one = worker("a@x")
    begin(job(), worker_id=one)
    assert checks()["workers"].status == "ok"
    attending.stop(one)
    assert checks()["workers"].status == "warn"
    Worker.objects.update(heartbeat_at=database_now() - timedelta(minutes=10))
    found = checks()["workers"]
    assert (found.status, found.sentence) == ("fail", "1 dead worker(s) hold 1 active job(s): a@x.")
    Job.objects.all().delete()
    assert checks()["workers"].status == "ok"


def test_quarantine() -> None:
    Quarantine.objects.create(queue="default", body="x", problem="not JSON")
    assert checks()["quarantine"].status == "warn"


@pytest.mark.parametrize(("ahead", "status"), [(0, "ok"), (4, "warn"), (-40, "fail")])
def test_clocks_that_disagree(ahead: int, status: str) -> None:
    found = checks(lambda: datetime.now(UTC) + timedelta(seconds=ahead))
    assert {found["database clock"].status, found["redis clock"].status} == {status}
    if ahead == -40:
        assert found["redis clock"].sentence == "The clock of Redis is 40.0 s ahead of this machine's."


@pytest.fixture
def disabled_trigger() -> Iterator[None]:
    def alter(word: str) -> None:
        with connection.cursor() as cursor:
            cursor.execute(f"ALTER TABLE jobs_schedule {word} TRIGGER jobs_policy_updated")

    alter("DISABLE")
    yield
    alter("ENABLE")


def test_a_disabled_trigger(disabled_trigger: None) -> None:
    found = checks()["triggers"]
    assert (found.status, "jobs_policy_updated" in found.sentence) == ("fail", True)


@pytest.mark.parametrize(
    ("system", "package", "status"),
    [("2026a", "2026a", "ok"), ("2026a", "2026b", "warn"), ("", "2019c", "warn"), ("", "", "fail")],
)
def test_old_time_zone_data(monkeypatch: pytest.MonkeyPatch, system: str, package: str, status: str) -> None:
    monkeypatch.setattr(doctoring, "zone_versions", lambda: (system, package))
    assert checks()["time zones"].status == status


def test_zone_versions_are_found() -> None:
    assert any(timezones.zone_versions())


def test_without_a_database_or_a_broker() -> None:
    away = shell("doctor", "--json", **NOWHERE)
    assert (away.code, away.err.count("\n")) == (5, 1)
    assert {item["name"]: item["status"] for item in away.items}.items() >= {
        ("database", "fail"), ("broker", "fail"),
    }  # fmt: skip
    half = shell("doctor", "--json", DATABASE_URL=database_url(), REDIS_URL=NOWHERE["REDIS_URL"])
    assert half.code == 1
    assert next(item for item in half.items if item["name"] == "broker")["status"] == "fail"
