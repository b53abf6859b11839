"""Due schedules become jobs: once each, with the right words for those that do not."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from django_celery_beat.models import PeriodicTask, SolarSchedule

from jobs.engine import claiming, dispatching, syncing
from jobs.engine.ticking import Ticker
from jobs.models import Job, Schedule
from jobs.rules.states import Status
from tests.jobs import moves
from tests.jobs.builders import NOON, begin, cron, every, minutes, once, seconds

pytestmark = pytest.mark.django_db


def ledger() -> list[tuple[datetime | None, str, str]]:
    rows = Job.objects.order_by("scheduled_for").values_list("scheduled_for", "status", "reason")
    return list(rows)


def test_a_due_schedule_becomes_a_waiting_job_and_moves_on() -> None:
    schedule = every(60, kwargs={"note": "x"}, priority=3, queue="billing")
    assert claiming.claim_due(NOON + seconds(59)) == 0
    assert claiming.claim_due(NOON + seconds(60)) == 1
    assert claiming.claim_due(NOON + seconds(60)) == 0
    job = Job.objects.get()
    assert (job.status, job.scheduled_for, job.trigger) == ("waiting", NOON + seconds(60), "schedule")
    assert (job.task, job.queue, job.kwargs, job.priority) == ("jobs.canary", "billing", {"note": "x"}, 3)
    moved = Schedule.objects.get(pk=schedule.pk)
    assert (moved.next_run_at, moved.decided_through, moved.runs) == (
        NOON + seconds(120),
        NOON + seconds(60),
        1,
    )


def test_django_celery_beats_counters_stay_true() -> None:
    schedule = every(60)
    claiming.claim_due(NOON + minutes(1))
    row = PeriodicTask.objects.get(pk=schedule.pk)
    assert (row.last_run_at, row.total_run_count) == (NOON + minutes(1), 1)
    assert not Schedule.objects.get(pk=schedule.pk).stale


def test_all_four_schedule_types_fire() -> None:
    every(60, "interval")
    cron("5 12 * * *", "crontab")
    once(NOON + minutes(7), "one-shot")
    sunrise = SolarSchedule.objects.create(event="sunrise", latitude=52.5, longitude=13.4)
    row = PeriodicTask.objects.create(name="solar", task="jobs.canary", solar=sunrise)
    Schedule.objects.filter(pk=row.pk).update(edited_at=NOON, decided_through=NOON)
    syncing.sync_stale(NOON)
    claiming.claim_due(datetime(2026, 3, 11, 8, 0, tzinfo=UTC))
    fired = dict(Job.objects.filter(status="waiting").values_list("schedule_name", "scheduled_for"))
    assert fired["crontab"] == NOON + minutes(5)
    assert fired["one-shot"] == NOON + minutes(7)
    assert (
        datetime(2026, 3, 11, 5, 15, tzinfo=UTC) < fired["solar"] < datetime(2026, 3, 11, 5, 45, tzinfo=UTC)
    )
    assert set(fired) == {"interval", "crontab", "one-shot", "solar"}


def test_missed_times_are_one_row_and_the_latest_runs() -> None:
    every(60)
    claiming.claim_due(NOON + minutes(10.5))
    assert ledger() == [
        (NOON + minutes(1), "skipped", "missed"),
        (NOON + minutes(10), "waiting", ""),
    ]
    row = Job.objects.get(status="skipped")
    assert (row.skipped_count, row.skipped_through) == (9, NOON + minutes(9))


def test_overlap_skips_by_default_and_says_so() -> None:
    every(60)
    claiming.claim_due(NOON + minutes(1))
    claiming.claim_due(NOON + minutes(2))
    assert ledger() == [
        (NOON + minutes(1), "waiting", ""),
        (NOON + minutes(2), "skipped", "overlap"),
    ]


def test_allow_all_runs_side_by_side() -> None:
    schedule = every(60)
    Schedule.objects.filter(pk=schedule.pk).update(overlap="allow_all", stale=True)
    syncing.sync_stale(NOON)
    claiming.claim_due(NOON + minutes(1))
    claiming.claim_due(NOON + minutes(2))
    assert [status for _, status, _ in ledger()] == ["waiting", "waiting"]


def test_buffer_one_holds_the_first_and_drops_later_ones() -> None:
    schedule = every(60)
    Schedule.objects.filter(pk=schedule.pk).update(overlap="buffer_one", edited_at=NOON)
    Schedule.objects.filter(pk=schedule.pk).update(edited_at=NOON)
    syncing.sync_stale(NOON)
    for n in (1, 2, 3):
        claiming.claim_due(NOON + minutes(n))
    assert [(status, reason) for _, status, reason in ledger()] == [
        ("waiting", ""),
        ("delayed", ""),
        ("skipped", "overlap"),
    ]
    assert dispatching.release_held(NOON + minutes(3)) == 0
    first = Job.objects.get(status="waiting")
    execution = begin(first)
    assert moves.complete(execution.fence)
    assert dispatching.release_held(NOON + minutes(3)) == 1
    assert Job.objects.get(scheduled_for=NOON + minutes(2)).status == Status.WAITING


def test_a_one_shot_fires_once_and_is_disabled() -> None:
    schedule = once(NOON + seconds(5))
    assert claiming.claim_due(NOON + seconds(4)) == 0
    claiming.claim_due(NOON + seconds(5))
    claiming.claim_due(NOON + seconds(6))
    assert ledger() == [(NOON + seconds(5), "waiting", "")]
    assert not PeriodicTask.objects.get(pk=schedule.pk).enabled


def test_a_one_shot_may_delete_itself_and_its_job_stays() -> None:
    schedule = once(NOON + seconds(5))
    Schedule.objects.filter(pk=schedule.pk).update(on_complete="delete")
    Schedule.objects.filter(pk=schedule.pk).update(edited_at=NOON)
    syncing.sync_stale(NOON)
    claiming.claim_due(NOON + seconds(5))
    assert not PeriodicTask.objects.filter(pk=schedule.pk).exists()
    assert Job.objects.get().status == "waiting"


def test_jitter_makes_a_delayed_job_that_is_promoted_in_its_time() -> None:
    schedule = every(600)
    Schedule.objects.filter(pk=schedule.pk).update(jitter=minutes(5))
    Schedule.objects.filter(pk=schedule.pk).update(edited_at=NOON)
    syncing.sync_stale(NOON)
    claiming.claim_due(NOON + minutes(10))
    job = Job.objects.get()
    assert job.status == "delayed"
    assert NOON + minutes(10) < job.available_at < NOON + minutes(15)
    assert dispatching.promote_due(job.available_at - seconds(1)) == 0
    assert dispatching.promote_due(job.available_at) == 1


def test_a_start_deadline_is_counted_from_the_nominal() -> None:
    every(60, expire_seconds=30)
    claiming.claim_due(NOON + minutes(1))
    assert Job.objects.get().deadline_at == NOON + seconds(90)


def test_a_schedule_that_cannot_be_decided_does_not_stop_the_others() -> None:
    bad, _ = every(60, "bad"), every(60, "good")
    spec = Schedule.objects.get(pk=bad.pk).spec
    spec["timing"]["every"] = -1
    Schedule.objects.filter(pk=bad.pk).update(spec=spec)
    claiming.claim_due(NOON + minutes(1))
    assert list(Job.objects.values_list("schedule_name", flat=True)) == ["good"]
    bad = Schedule.objects.get(pk=bad.pk)
    assert bad.problem
    assert bad.next_run_at is None


def test_a_thousand_schedules_are_taken_in_batches() -> None:
    interval = every(60).periodic_task.interval
    PeriodicTask.objects.bulk_create(
        [
            PeriodicTask(name=f"s{n}", task="jobs.canary", interval=interval, start_time=NOON)
            for n in range(1200)
        ]
    )
    Schedule.objects.update(edited_at=NOON, decided_through=NOON, anchor=NOON)
    turn = Ticker().tick(NOON)
    assert turn.synced == 1200
    assert Ticker().tick(NOON + minutes(1)).claimed == 1201
    assert Job.objects.filter(status="waiting").count() == 1201


def test_the_next_wake_is_the_earliest_of_schedules_and_delayed_jobs() -> None:
    cron("5 12 * * *")
    once(NOON + minutes(3))
    assert Ticker().tick(NOON).next_at == NOON + minutes(3)
