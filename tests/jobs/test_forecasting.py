"""`manage.py forecast` on real rows (SEMANTICS 30)."""

from __future__ import annotations

import time
from datetime import timedelta

import pytest
from django_celery_beat.models import CrontabSchedule, IntervalSchedule, PeriodicTask

from jobs.engine import pausing, syncing
from jobs.engine.clock import database_now
from jobs.insight.forecasting import look_ahead
from jobs.models import Job, Schedule
from jobs.rules.states import Status
from tests.jobs.builders import cron, every, job, worker
from tests.jobs.test_cli_runner import cli

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.semantics(30)]


def took(schedule: Schedule, *minutes: float) -> None:
    """Completed jobs of a schedule that took so long."""
    start = database_now() - timedelta(days=1)
    for number, length in enumerate(minutes):
        row = job(schedule_id=schedule.pk, nonce=f"past-{number}")
        Job.objects.filter(id=row.id).update(
            status=Status.COMPLETED, started_at=start, finished_at=start + timedelta(minutes=length)
        )


def test_it_runs_every_hour_and_takes_70_minutes() -> None:
    worker()
    slow, fine = every(3600, "slow"), every(3600, "fine")
    took(slow, *[70] * 20)
    took(fine, *[1] * 19, 50)
    found = cli("forecast", "--json").json
    assert [one["sentence"] for one in found["overruns"]] == [
        "slow runs every hour and takes 1 hour and 10 minutes."
    ]
    assert found["overruns"][0] == {**found["overruns"][0], "schedule": "slow", "period": 3600, "p95": 4200}
    assert (found["schedules"], found["unmeasured"], found["extrapolated"]) == (2, 0, 0)
    assert found["queues"][0]["starts"] == 2 * 7 * 24
    assert (found["queues"][0]["peak"], found["queues"][0]["slots"]) == (2, 1)
    text = cli("forecast", "--days", 1)
    assert "slow runs every hour and takes" in text.out
    assert "default" in text.out


def test_collisions_and_the_spread_that_removes_them() -> None:
    worker()
    for number in range(12):
        took(cron("0 3 * * *", f"nightly-{number:02}", since=database_now()), 5)
    found = cli("forecast", "--json").json
    one = found["collisions"][0]
    assert (one["schedules"], one["days"], one["spread_minutes"]) == (12, 7, 59)
    assert one["at"].endswith("T03:00:00Z")
    assert len(one["moves"]) == 12
    assert "--jitter 59m" in one["sentence"]
    assert found["queues"][0]["overloaded"] is True


def test_paused_broken_and_triggered_schedules_do_not_count() -> None:
    pausing.pause(every(3600, "paused"))
    up, down = every(3600, "up"), every(3600, "down")
    Schedule.objects.filter(pk=down.pk).update(after=up)
    every(3600, "broken")
    PeriodicTask.objects.filter(name="broken").update(args="{}")
    syncing.sync_stale(database_now())
    assert cli("forecast", "--json").json["schedules"] == 1


def test_nothing_is_an_empty_document() -> None:
    found = cli("forecast", "--json").json
    assert (found["queues"], found["collisions"], found["overruns"]) == ([], [], [])
    assert cli("forecast").out == ""
    assert cli("forecast", "--days", 0).code == 2


def test_thousands_of_schedules_are_foretold_in_seconds() -> None:
    minutely = IntervalSchedule.objects.create(every=5, period="seconds")
    crons = [CrontabSchedule.objects.create(minute=str(m), hour="*/2") for m in range(60)]
    PeriodicTask.objects.bulk_create(
        PeriodicTask(
            name=f"s{n}",
            task="jobs.canary",
            **({"interval": minutely} if n % 4 == 0 else {"crontab": crons[n % 60]}),
        )
        for n in range(3_000)
    )
    while syncing.sync_stale(database_now()):
        pass
    began = time.monotonic()
    found = look_ahead(database_now(), days=7).document()
    assert time.monotonic() - began < 30
    assert found["schedules"] == 3_000
    assert found["queues"][0]["starts"] == pytest.approx(750 * 7 * 86_400 / 5 + 2_250 * 7 * 12, rel=0.02)
