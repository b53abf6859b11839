"""The line with real processes, and what is killed under it."""

from __future__ import annotations

import itertools
import json
import os
import signal
from collections import Counter
from datetime import timedelta
from pathlib import Path

import pytest
import redis as redis_client
from celery.result import AsyncResult
from django_celery_beat.models import ClockedSchedule, CrontabSchedule, IntervalSchedule, PeriodicTask

from jobs.engine.clock import database_now
from jobs.models import Job, Schedule, Worker
from tests.acceptance.line import Line, children, eventually, kill_group, rows
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


def test_a_worker_killed_in_mid_job_runs_it_again(line: Line, tmp_path: Path) -> None:
    notes = tmp_path / "notes"
    line.beat()
    first = line.worker(name="first")
    job_id = tasks.record.delay(str(notes), 3).id
    eventually(lambda: begins(notes), 10, lambda: line.tail(first))
    kill_group(first)
    second = line.worker(name="second")
    eventually(lambda: statuses()["completed"] == 1, 6 + 1 + 10, lambda: line.tail(second))
    job = Job.objects.get(id=job_id)
    assert (job.attempt, job.crashes, job.errors) == (2, 1, 0)
    assert [a.outcome for a in job.attempts.all()] == ["crash", "completed"]


def test_a_killed_pool_child_is_noticed_at_once(line: Line, tmp_path: Path) -> None:
    notes = tmp_path / "notes"
    line.beat()
    worker = line.worker()
    tasks.record.delay(str(notes), 20)
    pid = int(eventually(lambda: tasks.lines(notes), 10)[0][2])
    os.kill(pid, signal.SIGKILL)
    # Milliseconds on a quiet machine; two cores that also run other tests need more.
    eventually(lambda: Job.objects.get().crashes == 1, 5, lambda: line.tail(worker))
    eventually(lambda: sum(begins(notes).values()) == 2, 10, lambda: line.tail(worker))


def test_a_job_that_kills_its_worker_is_poison_after_three(line: Line, tmp_path: Path) -> None:
    notes = tmp_path / "notes"
    line.beat()
    worker = line.worker()
    tasks.kill_self.delay(str(notes))
    other = tasks.add.delay(1, 2)
    job = eventually(lambda: Job.objects.filter(status="failed").first(), 30, lambda: line.tail(worker))
    assert (job.reason, job.crashes, sum(begins(notes).values())) == ("poison", 3, 3)
    eventually(lambda: Job.objects.get(id=other.id).status == "completed", 10, lambda: line.tail(worker))


def test_a_hard_limit_kills_the_attempt_and_is_a_timeout(line: Line, tmp_path: Path) -> None:
    notes = tmp_path / "notes"
    line.beat()
    worker = line.worker()
    result = tasks.swallow.apply_async((str(notes),))
    Job.objects.filter(id=result.id).update(max_attempts=1)
    job = eventually(lambda: Job.objects.filter(status="failed").first(), 20, lambda: line.tail(worker))
    assert job.reason == "exhausted"
    assert [a.outcome for a in job.attempts.all()] == ["timeout"]
    assert "hard limit of 2 s" in job.error


def test_redis_flushed_with_a_hundred_waiting_jobs(
    line: Line, redis: redis_client.Redis, tmp_path: Path
) -> None:
    notes = tmp_path / "notes"
    for _ in range(100):
        tasks.record.delay(str(notes))
    assert redis.llen("default") == 100
    redis.flushdb()
    line.beat()
    worker = line.worker()
    eventually(lambda: statuses()["completed"] == 100, 60, lambda: f"{statuses()}{line.tail(worker)}")
    assert set(begins(notes).values()) == {1}
    assert len(begins(notes)) == 100


def test_a_hundred_copies_of_a_message_start_one_job(
    line: Line, redis: redis_client.Redis, tmp_path: Path
) -> None:
    notes = tmp_path / "notes"
    tasks.record.delay(str(notes), 0.5)
    message = redis.lindex("default", 0)
    for _ in range(99):
        redis.lpush("default", message)
    worker = line.worker(concurrency=4)
    eventually(lambda: redis.llen("default") == 0, 30, lambda: line.tail(worker))
    eventually(lambda: statuses()["completed"] == 1, 20, lambda: line.tail(worker))
    assert sum(begins(notes).values()) == 1


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


def test_a_graceful_stop_loses_nothing_and_charges_nothing(line: Line, tmp_path: Path) -> None:
    notes = tmp_path / "notes"
    line.beat()
    worker = line.worker(concurrency=2)
    short = tasks.record.delay(str(notes), 2).id
    long = tasks.record.delay(str(notes), 60).id
    waiting = [tasks.record.delay(str(notes)).id for _ in range(10)]
    eventually(lambda: len(begins(notes)) == 2, 10, lambda: line.tail(worker))
    worker.send_signal(signal.SIGTERM)
    worker.wait(timeout=5 + 3)
    assert Job.objects.get(id=short).status == "completed"
    interrupted = Job.objects.get(id=long)
    assert (interrupted.errors, interrupted.crashes) == (0, 0)
    assert interrupted.status == "waiting", line.tail(worker)
    assert Worker.objects.get().stopped_at is not None
    Job.objects.filter(id=long).update(args=[str(notes), 0])
    second = line.worker()
    eventually(lambda: statuses()["completed"] == 12, 30, lambda: f"{statuses()}{line.tail(second)}")
    assert {begins(notes)[job_id] for job_id in waiting} == {1}


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


def exactly_once(line: Line, *, schedules: int, seconds: float, beats: int) -> None:
    """Let `beats` beats run over schedules of 5 to 30 s; every occurrence must be decided once."""
    periods = itertools.cycle(range(5, 31))
    for number in range(schedules):
        interval, _ = IntervalSchedule.objects.get_or_create(every=next(periods), period="seconds")
        PeriodicTask.objects.create(name=f"s{number}", task="jobs.canary", interval=interval)
    running = [line.beat() for _ in range(beats)]
    worker = line.worker(concurrency=2)
    start = database_now()
    eventually(
        lambda: database_now() > start + timedelta(seconds=seconds), seconds + 30, lambda: line.tail(worker)
    )
    for process in running:
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=20)
    eventually(lambda: not Job.objects.live().exists(), 20, lambda: line.tail(worker))
    for schedule in Schedule.objects.all():
        every = timedelta(seconds=schedule.spec["timing"]["every"])
        decided = Job.objects.filter(schedule_id=schedule.pk).order_by("scheduled_for")
        times = [job.scheduled_for for job in decided for _ in range(job.skipped_count or 1)]
        expected = int((schedule.decided_through - schedule.anchor.replace(microsecond=0)) / every)
        assert len(times) == expected, (schedule.pk, times)
        assert all(job.attempt == 1 for job in decided if job.status == "completed")


def test_two_beats_decide_every_occurrence_once(line: Line) -> None:
    exactly_once(line, schedules=50, seconds=35, beats=2)


@pytest.mark.full
@pytest.mark.timeout(400)
def test_two_beats_for_three_minutes(line: Line) -> None:
    exactly_once(line, schedules=50, seconds=180, beats=2)


def test_the_children_of_a_killed_worker_do_not_outlive_it(line: Line) -> None:
    worker = line.worker()
    family = children(worker)
    assert family
    os.kill(worker.pid, signal.SIGKILL)
    eventually(lambda: not any(child.is_running() and child.status() != "zombie" for child in family), 10)
