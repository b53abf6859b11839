"""With real processes: what nobody may schedule is not run, and what no job may carry does not get in."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import redis as redis_client
from celery import Celery
from django.conf import settings
from django_celery_beat.models import IntervalSchedule, PeriodicTask

from jobs.models import Job, Quarantine, Schedule
from tests.acceptance.line import Line, eventually, rows
from tests.jobs import tasks

pytestmark = [pytest.mark.acceptance, pytest.mark.django_db(transaction=True)]


def test_a_beat_makes_no_job_of_a_built_in_task(redis: redis_client.Redis, tmp_path: Path) -> None:
    second = IntervalSchedule.objects.create(every=1, period="seconds")
    for name, task in (("cleanup", "celery.backend_cleanup"), ("fine", "jobs.canary"), ("mine", "tests.add")):
        PeriodicTask.objects.create(name=name, task=task, interval=second, kwargs='{"note": "x"}')
    with Line(tmp_path, JADWAL_SCHEDULABLE="") as line:
        beat = line.beat()
        made = "SELECT schedule_name, task FROM jobs_job WHERE status <> 'skipped' GROUP BY 1, 2"
        eventually(lambda: rows(made), 20, lambda: line.tail(beat))
        eventually(lambda: Schedule.objects.exclude(problem="").count() == 2, 10, lambda: line.tail(beat))
        assert rows(made) == [("fine", "jobs.canary")]
        told = line.manage("schedules", "explain", "cleanup", "--json")
        assert "it is a task of Celery itself" in json.loads(told.stdout)["sentence"]
        refused = line.manage("schedules", "run", "cleanup")
        assert (refused.returncode, "JADWAL_SCHEDULABLE" in refused.stderr) == (2, True)


def test_messages_of_another_program_that_are_not_taken(line: Line, redis: redis_client.Redis) -> None:
    worker = line.worker()
    other = Celery("other", broker=settings.REDIS_URL, set_as_current=False)
    other.send_task("celery.starmap", [{"task": "tests.add"}, [[1, 2]]], queue="default")
    other.send_task("tests.add", ["x" * 2_000_000, ""], queue="default")
    other.send_task("tests.add", ["x" * 6_000_000, ""], queue="default")
    other.send_task("tests.add", [1, 2], task_id="fine", queue="default")
    eventually(lambda: Job.objects.filter(id="fine", status="completed"), 20, lambda: line.tail(worker))
    eventually(lambda: Quarantine.objects.count() == 3, 5, lambda: line.tail(worker))
    problems = sorted(Quarantine.objects.values_list("problem", flat=True))
    for problem, why in zip(
        problems, ("is a task of Celery itself", "The payload is too large", "the item has"), strict=True
    ):
        assert why in problem
    result = tasks.add.delay(1, 2)
    eventually(lambda: Job.objects.get(id=result.id).status == "completed", 20, lambda: line.tail(worker))
    assert Job.objects.count() == 2
