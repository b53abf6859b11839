"""Wrong clocks, and clocks that people change twice a year."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from datetime import time as wall_time
from zoneinfo import ZoneInfo

import pytest

from jobs.engine import claiming, syncing
from jobs.engine.clock import database_now
from jobs.models import Attempt, Job, JobLog, Schedule, Worker
from tests.acceptance.line import eventually
from tests.faults.scene import LEASE, Scene
from tests.jobs import tasks
from tests.jobs.builders import cron, minutes

OFF = 7_200
"""Seconds: two hours."""
SECOND = timedelta(seconds=1)


def clock_of(scene: Scene, process: subprocess.Popen[bytes]) -> datetime:
    """What time a process believes that it is, by the first line of its log that says so."""
    stamped = re.compile(rb"^\[(20\d\d-\d\d-\d\d \d\d:\d\d:\d\d)", re.MULTILINE)
    found = eventually(lambda: stamped.search(scene.line.log_of(process)), 30, scene.tails)
    return datetime.fromisoformat(found[1].decode()).replace(tzinfo=UTC)


@pytest.mark.fault(25, "clocks 2 h off, before and behind, on beats and on workers")
def test_wrong_clocks(scene: Scene) -> None:
    started = database_now()
    clocks = (f"--clock={OFF}", f"--clock={-OFF}")
    beats = [scene.line.beat(clock) for clock in clocks]
    workers = [scene.line.worker(injected=[clock], concurrency=2, wait=False) for clock in clocks]
    for worker in workers:
        scene.line.wait_until_ready(worker)
    for process, seconds in zip([*beats, *workers], (OFF, -OFF) * 2, strict=True):
        assert abs(clock_of(scene, process) - started - timedelta(seconds=seconds)) < timedelta(minutes=5)
    schedules = scene.schedules(3)
    since = database_now()
    long = [tasks.record.delay(str(scene.notes), LEASE + 2).id for _ in range(2)]
    twice = [tasks.later.delay(str(scene.notes)).id for _ in range(4)]
    wanted = Job.objects.filter(id__in=[*long, *twice], status="completed")
    eventually(lambda: wanted.count() == 6, 40, scene.tails)
    through = scene.disable(schedules)
    scene.oracle.wait_until_at_rest(20, scene.tails)
    scene.figures = scene.oracle.judge(lateness=timedelta(seconds=LEASE + 4))
    decided = scene.oracle.every_occurrence_once(schedules, since=since, through=through)
    assert scene.figures["crashes"] == 0, "a lease ended early"
    ran = Job.objects.filter(id__in=long).values_list("attempt", flat=True)
    assert list(ran) == [1, 1]
    _times_are_the_databases(started, database_now())
    for job_id in twice:
        first = Attempt.objects.get(job_id=job_id, number=1)
        asked = Job.objects.get(id=job_id).available_at - first.finished_at
        assert -SECOND / 2 < asked - SECOND < SECOND / 2, "a retry in a second is in a second"
    called = Job.objects.filter(trigger="action", deadline_at__isnull=False)
    assert called.count() == len(twice)
    for job in called:
        assert abs(job.available_at - job.created_at - 2 * SECOND) < SECOND / 2
        assert abs(job.deadline_at - job.created_at - 60 * SECOND) < SECOND / 2
    scene.figures |= {"occurrences": decided, "off_s": OFF}


def _times_are_the_databases(started: datetime, now: datetime) -> None:
    """What happened lies within the test, and in its order."""
    for attempt in Attempt.objects.all():
        assert started < attempt.started_at <= attempt.finished_at < now
    assert JobLog.objects.count() >= 4
    for line in JobLog.objects.all():
        attempt = Attempt.objects.get(job_id=line.job_id, number=line.attempt)
        assert attempt.started_at <= line.logged_at <= attempt.finished_at
    workers = list(Worker.objects.all())
    now = database_now()  # they have beaten since
    for worker in workers:
        assert started < worker.started_at <= worker.heartbeat_at < now


# --- Clocks that are put forward and back --------------------

ZONES = {
    "Europe/Berlin": (date(2027, 3, 28), date(2027, 10, 31), wall_time(2, 30)),
    "America/New_York": (date(2027, 3, 14), date(2027, 11, 7), wall_time(1, 30)),
}
"""The days of the changes, and a time that the one in autumn repeats."""
DAY = timedelta(days=1)


def instants(zone: ZoneInfo, first: date, last: date, at: wall_time) -> Iterator[datetime]:
    """When a daily time of day is: once a day, at the end of the gap if there is no such time, else the first.

    Worked out from the zone alone: minute by minute through the day, until the wall clock has come that far.
    """
    for day in range((last - first).days + 1):
        wall = datetime.combine(first + day * DAY, at)
        moment = wall.replace(tzinfo=UTC) - DAY
        while moment.astimezone(zone).replace(tzinfo=None) < wall:
            moment += minutes(1)
        yield moment


def catching_up(expression: str, zone: str, since: datetime) -> Schedule:
    """A schedule that catches up with everything, with nothing decided before `since`."""
    schedule = cron(expression, tz=zone, since=since)
    policy = {"catch_up": "all", "overlap": "allow_all", "catchup_window": 400 * DAY, "max_catchup": 100_000}
    Schedule.objects.filter(pk=schedule.pk).update(**policy)
    Schedule.objects.filter(pk=schedule.pk).update(edited_at=since)
    syncing.sync_stale(since)
    return schedule


def decided(schedule: Schedule) -> list[datetime]:
    return list(
        Job.objects.filter(schedule_id=schedule.pk)
        .order_by("scheduled_for")
        .values_list("scheduled_for", flat=True)
    )


@pytest.mark.fault(25, "daylight saving time both ways, minute by minute and after a long outage")
@pytest.mark.parametrize("name", ZONES)
def test_daylight_saving_time(scene: Scene, name: str) -> None:
    spring, autumn, repeated = ZONES[name]
    zone, at_night = ZoneInfo(name), wall_time(2, 30)
    total = 0
    for change in (spring, autumn):
        since = datetime.combine(change, wall_time(), tzinfo=zone).astimezone(UTC)
        for at in sorted({at_night, repeated}):
            fixed = catching_up(f"{at.minute} {at.hour} * * *", name, since)
            often = catching_up("*/20 * * * *", name, since)
            for minute in range(1, 9 * 60):
                claiming.claim_due(since + minutes(minute))
            assert decided(fixed) == list(instants(zone, change, change, at)), "once, whatever the clocks do"
            assert decided(often) == [since + minutes(20 * n) for n in range(1, 27)], "every 20 real minutes"
            assert all(job.created_at - job.scheduled_for < minutes(1) for job in Job.objects.all())
            total += Job.objects.count()
            Job.objects.all().delete()
            Schedule.objects.update(next_run_at=None)
    total += after_an_outage(name, zone, spring - 20 * DAY, autumn + 20 * DAY, at_night)
    scene.figures = {"zone": name, "occurrences": total}


def after_an_outage(name: str, zone: ZoneInfo, first: date, last: date, at: wall_time) -> int:
    """No beat from before the change in spring to after that in autumn; return how many times were decided."""
    since = datetime.combine(first, wall_time(), tzinfo=zone).astimezone(UTC)
    until = datetime.combine(last, wall_time(23), tzinfo=zone).astimezone(UTC)
    daily = catching_up(f"{at.minute} {at.hour} * * *", name, since)
    hourly = catching_up("7 * * * *", name, since)
    while claiming.claim_due(until):
        pass
    due = list(instants(zone, first, last, at))
    assert decided(daily) == due
    hour = timedelta(hours=1)
    assert decided(hourly) == [since + minutes(7) + n * hour for n in range((until - since) // hour)]
    for minute in range(1, 26 * 60):
        claiming.claim_due(until + minutes(minute))
    assert decided(daily) == [*due, *instants(zone, last + DAY, last + DAY, at)], (
        "and it goes on at its own hour"
    )
    return Job.objects.count()
