"""The line with real processes; what it survives is in `tests/faults`."""

from __future__ import annotations

import json
import os
import signal
from collections import Counter
from datetime import timedelta
from pathlib import Path

import pytest
import redis as redis_client
from celery import current_app
from celery.result import AsyncResult
from django_celery_beat.models import ClockedSchedule, CrontabSchedule, IntervalSchedule, PeriodicTask

from jobs.engine.clock import database_now
from jobs.models import Job, Schedule
from tests.acceptance.line import Line, children, eventually, rows
from tests.jobs import tasks

pytestmark = pytest.mark.acceptance


def statuses() -> Counter[str]:
    return Counter(Job.objects.values_list("status", flat=True))


def begins(path: Path) -> Counter[str]:
    return Counter(line[0] for line in tasks.lines(path) if line[4] == "begin")


def test_from_a_schedule_to_a_result(line: Line) -> None:
    line.beat()
    line.worker()
    at = database_now() + timedelta(seconds=3)
    PeriodicTask.objects.create(
        name="one-shot",
        task="jobs.canary",
        one_off=True,
        clocked=ClockedSchedule.objects.create(clocked_time=at),
        kwargs='{"note": "hello"}',
    )
    job = eventually(lambda: Job.objects.filter(status="completed").first(), 20)
    assert job.scheduled_for == at
    assert timedelta(0) <= job.started_at - at < timedelta(seconds=0.5)
    assert [a.outcome for a in job.attempts.all()] == ["completed"]
    assert [entry.content for entry in job.logs.all()] == [f"canary hello: attempt 1 of {job.id}"]
    assert AsyncResult(job.id).get()["note"] == "hello"
    assert not PeriodicTask.objects.get().enabled


def test_a_failing_job_is_retried_and_ends_among_the_dead_letters(line: Line) -> None:
    line.beat()
    worker = line.worker()
    result = tasks.fails.delay("broken")
    Job.objects.filter(id=result.id).update(backoff={"base": 0.2})
    job = eventually(lambda: Job.objects.filter(status="failed").first(), 30, lambda: line.tail(worker))
    assert (job.reason, job.errors, job.error) == ("exhausted", 3, "ValueError: broken")
    assert [a.outcome for a in job.attempts.all()] == ["error"] * 3
    assert all("raise ValueError(text)" in a.traceback for a in job.attempts.all())
    assert AsyncResult(job.id).state == "FAILURE"


@pytest.mark.parametrize("how", ["QuerySet.update", "SQL"])
def test_an_edit_is_in_force_within_two_seconds(line: Line, how: str) -> None:
    line.beat()
    line.worker()
    hour, _ = IntervalSchedule.objects.get_or_create(every=1, period="hours")
    second, _ = IntervalSchedule.objects.get_or_create(every=1, period="seconds")
    row = PeriodicTask.objects.create(name="edited", task="jobs.canary", interval=hour)
    eventually(lambda: not Schedule.objects.get().stale, 15)
    edited = database_now()
    if how == "SQL":
        rows(
            "UPDATE django_celery_beat_periodictask SET interval_id = %s WHERE id = %s RETURNING id",
            second.pk,
            row.pk,
        )
    else:
        PeriodicTask.objects.filter(pk=row.pk).update(interval=second)
    eventually(lambda: not Schedule.objects.get().stale, 2)
    job = eventually(lambda: Job.objects.first(), 3)
    assert job.scheduled_for - edited < timedelta(seconds=2)


def test_a_running_job_can_be_cancelled(line: Line, tmp_path: Path) -> None:
    from jobs.engine.cancelling import cancel

    notes = tmp_path / "notes"
    line.beat()
    worker = line.worker()
    job_id = tasks.record.delay(str(notes), 60).id
    eventually(lambda: begins(notes), 10)
    assert cancel([job_id]) == (0, 1)
    job = eventually(lambda: Job.objects.filter(status="cancelled").first(), 10, lambda: line.tail(worker))
    assert [a.outcome for a in job.attempts.all()] == ["cancelled"]
    eventually(lambda: AsyncResult(job_id).state == "REVOKED", 5)


@pytest.mark.semantics(16)
@pytest.mark.parametrize("policy", ["cancel_other", "terminate_other"])
def test_an_overlapping_run_stops_the_other_and_starts(line: Line, tmp_path: Path, policy: str) -> None:
    notes = tmp_path / "notes"
    line.beat()
    worker = line.worker()
    interval, _ = IntervalSchedule.objects.get_or_create(every=5, period="seconds")
    row = PeriodicTask.objects.create(
        name="overlapping", task="tests.record", interval=interval, args=json.dumps([str(notes), 60])
    )
    Schedule.objects.filter(pk=row.pk).update(overlap=policy)
    eventually(lambda: len(begins(notes)) >= 2, 30, lambda: line.tail(worker))
    PeriodicTask.objects.filter(pk=row.pk).update(enabled=False)
    first, second = Job.objects.order_by("scheduled_for")[:2]
    assert (first.status, first.reason) == ("cancelled", "cancelled"), line.tail(worker)
    assert [attempt.outcome for attempt in first.attempts.all()] == ["cancelled"]
    assert second.started_at >= first.finished_at, "it starts when the other has stopped"


def test_a_beat_that_was_down_catches_up_by_policy(line: Line) -> None:
    """Every 15 s, down for 5 minutes: `all` 20 runs, `latest` one; a daily time is never at a wrong hour."""
    now = database_now()
    interval, _ = IntervalSchedule.objects.get_or_create(every=15, period="seconds")
    for policy in ("all", "latest", "none"):
        row = PeriodicTask.objects.create(
            name=policy, task="jobs.canary", interval=interval, start_time=now - timedelta(hours=1)
        )
        Schedule.objects.filter(pk=row.pk).update(catch_up=policy, overlap="allow_all")
    daily = CrontabSchedule.objects.create(
        minute=str(now.minute), hour=str((now.hour - 5) % 24), timezone="UTC"
    )
    row = PeriodicTask.objects.create(name="daily", task="jobs.canary", crontab=daily)
    assert line.manage("beat_tick", "--once").returncode == 0
    down_since = database_now() - timedelta(minutes=5)
    Schedule.objects.exclude(pk=row.pk).update(decided_through=down_since, next_run_at=down_since)
    Schedule.objects.filter(pk=row.pk).update(
        decided_through=now - timedelta(hours=6), next_run_at=now - timedelta(hours=5)
    )
    assert line.manage("beat_tick", "--once").returncode == 0
    ran = Counter(Job.objects.exclude(status="skipped").values_list("schedule_name", flat=True))
    assert 19 <= ran["all"] <= 21
    assert ran["latest"] == 1
    assert ran["none"] <= 1
    late = Job.objects.get(schedule_name="daily")
    assert late.status == "waiting"
    assert late.scheduled_for == (now - timedelta(hours=5)).replace(second=0, microsecond=0), "its own hour"


def test_callers_see_no_error_while_redis_is_away(line: Line, tmp_path: Path) -> None:
    line.env["REDIS_URL"] = "redis://127.0.0.1:1/0"
    script = (
        "import django; django.setup()\n"
        "from tests.jobs import tasks\n"
        "for n in range(5): tasks.add.delay(1, n)\n"
    )
    process = line.spawn("python", "-c", "import os; os.environ['DJANGO_SETTINGS_MODULE']="
                         "'scheduler_project.settings'\n" + script)  # fmt: skip
    assert process.wait(timeout=20) == 0, line.tail(process)
    assert statuses() == {"waiting": 5}


def test_the_children_of_a_killed_worker_do_not_outlive_it(line: Line) -> None:
    worker = line.worker()
    family = children(worker)
    assert family
    os.kill(worker.pid, signal.SIGKILL)
    eventually(lambda: not any(child.is_running() and child.status() != "zombie" for child in family), 10)


def test_a_job_whose_task_the_worker_does_not_have_fails_at_once(
    line: Line, redis: redis_client.Redis
) -> None:
    worker = line.worker()
    result = current_app.send_task("other.program.task", [1], queue="default")
    job = eventually(
        lambda: Job.objects.filter(id=result.id, status="failed").first(), 15, lambda: line.tail(worker)
    )
    assert (job.reason, job.attempt) == ("permanent", 1)
    assert "no task named 'other.program.task'" in job.error
