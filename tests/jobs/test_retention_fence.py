"""What has been deleted is not decided again, whatever happens to its schedule afterwards."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest
from django_celery_beat.models import CrontabSchedule, IntervalSchedule, PeriodicTask

from jobs.engine import (
    claiming,
    depending,
    executing,
    lifecycle,
    pausing,
    pruning,
    syncing,
)
from jobs.engine.clock import database_now
from jobs.engine.executing import Execution
from jobs.engine.records import Fence
from jobs.engine.ticking import Ticker
from jobs.models import Job, Schedule
from tests.jobs import moves
from tests.jobs.builders import NOON, begin, cron, every, minutes, once, worker
from tests.jobs.ended import days, ended, kept

pytestmark = pytest.mark.django_db


def save(schedule: Schedule, **fields: Any) -> None:
    PeriodicTask.objects.filter(pk=schedule.pk).update(**fields)


def pause_and_resume(schedule: Schedule, *, catch_up: bool) -> None:
    now = database_now()
    pausing.pause(schedule)
    syncing.sync_stale(now)
    pausing.resume(Schedule.objects.get(pk=schedule.pk), catch_up=catch_up)


def forget_the_policy(schedule: Schedule) -> None:
    """As after a restore without triggers: the policy's row is missing."""
    Schedule.objects.filter(pk=schedule.pk).delete()
    assert syncing.adopt_unseen() == 1


ACTS: dict[str, Callable[[Schedule], Any]] = {
    "nothing": lambda s: None,
    "another interval": lambda s: save(
        s, interval=IntervalSchedule.objects.get_or_create(every=90, period="seconds")[0]
    ),
    "the shared interval row": lambda s: IntervalSchedule.objects.update(every=30),
    "a crontab instead": lambda s: save(s, interval=None, crontab=CrontabSchedule.objects.create()),
    "an earlier start": lambda s: save(s, start_time=NOON - days(1)),
    "catch up all": lambda s: Schedule.objects.filter(pk=s.pk).update(
        catch_up="all", catchup_window=days(10_000)
    ),
    "compiled again": lambda s: Schedule.objects.filter(pk=s.pk).update(stale=True),
    "paused and resumed": lambda s: pause_and_resume(s, catch_up=False),
    "paused and resumed with catch-up": lambda s: pause_and_resume(s, catch_up=True),
    "adopted again": forget_the_policy,
}


@pytest.mark.parametrize("act", ACTS)
def test_what_was_pruned_is_not_decided_again(act: str) -> None:
    """The schedule was decided through until now; its history is deleted; then somebody does something."""
    now = database_now()
    since = now - days(20)
    schedule = every(60 * 60, anchor=since)
    Schedule.objects.filter(pk=schedule.pk).update(
        catch_up="all", catchup_window=days(10_000), max_catchup=10_000, overlap="allow_all"
    )
    Schedule.objects.filter(pk=schedule.pk).update(edited_at=since)
    syncing.sync_stale(since)
    while claiming.claim_due(now):
        pass
    decided = list(Job.objects.values_list("scheduled_for", flat=True))
    assert len(decided) == 20 * 24
    lifecycle.cancel_pending([*kept()], now=since)
    pruning.prune(now + days(31))
    assert kept() == set()

    ACTS[act](schedule)
    later = database_now() + minutes(1)
    for _ in range(3):
        Ticker().tick(later)
    assert not Job.objects.filter(scheduled_for__lte=now).exists()
    assert Schedule.objects.get().decided_through >= now
    Ticker().tick(later + timedelta(hours=3))
    assert Job.objects.filter(scheduled_for__gt=now).exists(), "and it goes on"


@pytest.mark.parametrize("keep", ["keep", "disable"])
def test_a_one_shot_that_was_pruned_does_not_fire_again(keep: str) -> None:
    at = database_now() - minutes(5)
    schedule = once(at, since=at - minutes(5))
    Schedule.objects.filter(pk=schedule.pk).update(on_complete=keep)
    syncing.sync_stale(at - minutes(4))
    assert claiming.claim_due(at) == 1
    lifecycle.cancel_pending([*kept()], now=at)
    pruning.prune(at + days(31))
    assert kept() == set()
    for enabled in (False, True):
        save(schedule, enabled=enabled)
        Ticker().tick(database_now() + minutes(1))
    assert kept() == set()


def test_runs_that_were_pruned_count_against_max_runs() -> None:
    schedule = every(60)
    Schedule.objects.filter(pk=schedule.pk).update(max_runs=2, overlap="allow_all", edited_at=NOON)
    syncing.sync_stale(NOON)
    for n in (1, 2):
        claiming.claim_due(NOON + minutes(n))
    lifecycle.cancel_pending([*kept()], now=NOON)
    assert pruning.prune(NOON + days(31)) == 2
    for n in (3, 4):
        claiming.claim_due(NOON + minutes(n))
    assert kept() == set()


def test_what_an_upstream_started_is_kept_as_long_as_the_upstream() -> None:
    upstream, downstream = every(60, "up"), every(60, "down")
    Schedule.objects.filter(pk=downstream.pk).update(
        after=upstream, after_on="failure", after_within=days(80)
    )
    Schedule.objects.filter(pk=downstream.pk).update(edited_at=NOON)
    syncing.sync_stale(NOON)
    Schedule.objects.filter(pk=downstream.pk).update(edited_at=NOON - days(1))
    failed = ended("failed", NOON, schedule_id=upstream.pk, nonce="up")
    assert depending.trigger_due(NOON + minutes(1)) == 1
    started = Job.objects.get(schedule_id=downstream.pk)
    assert moves.complete(begin(started).fence, now=NOON + minutes(2))

    for day in (8, 40, 79):
        pruning.prune(NOON + days(day))
        assert depending.trigger_due(NOON + days(day)) == 0, "it was started once for that failure"
    assert kept() == {failed.id, started.id}
    assert [pruning.prune(NOON + days(91)) for _ in range(3)] == [1, 1, 0]


def test_pruning_does_not_make_failures_follow_one_another() -> None:
    schedule = every(60)
    Schedule.objects.filter(pk=schedule.pk).update(pause_after_failures=3, created_at=NOON)
    for week, status in enumerate(("failed", "completed", "failed", "completed", "failed", "failed")):
        row = ended(status, NOON + days(7 * week), schedule_id=schedule.pk, nonce=str(week))
        Job.objects.filter(id=row.id).update(created_at=NOON + days(7 * week))
    assert pruning.prune(NOON + days(7 * 5 + 1)) == 1, "of the completed ones the last breaks the row"
    assert pausing.pause_failing() == []
    row = ended("failed", NOON + days(7 * 6), schedule_id=schedule.pk, nonce="6")
    assert pausing.pause_failing() == [str(schedule)], "now there are three in a row"


def test_a_completed_job_of_a_schedule_that_is_gone_is_kept_for_nothing() -> None:
    schedule = every(60)
    Schedule.objects.filter(pk=schedule.pk).update(pause_after_failures=3)
    ended("completed", schedule_id=schedule.pk, nonce="1")
    assert pruning.prune(NOON + days(100)) == 0
    schedule.periodic_task.delete()
    assert pruning.prune(NOON + days(100)) == 1


def test_a_message_of_a_job_that_was_pruned_starts_nothing() -> None:
    row = ended("failed")
    pruning.prune(NOON + days(91))
    refusal = executing.begin(
        Fence(row.id, 2),
        task=row.task,
        queue=row.queue,
        worker_id=worker(),
        default_limit=60,
        default_max_attempts=5,
    )
    assert not isinstance(refusal, Execution)
    assert refusal.why == "no such job"


def test_a_crontab_goes_on_from_where_it_was() -> None:
    """Pruning deletes while the schedule runs on: each time once, whatever has gone meanwhile."""
    cron("0 * * * *")
    Schedule.objects.update(overlap="allow_all", edited_at=NOON)
    syncing.sync_stale(NOON)
    seen: dict[str, datetime | None] = {}
    ticker = Ticker()
    for day in range(40):
        now = NOON + days(day) + timedelta(hours=1)
        ticker.tick(now)
        seen.update(Job.objects.values_list("id", "scheduled_for"))
        lifecycle.cancel_pending([*kept()], now=now)
    assert len(seen) == len(set(seen.values())) == 2 * 40 - 1, (
        "the latest of each day, and one row for those before"
    )
    assert Job.objects.count() < len(seen), "the older ones have gone"
