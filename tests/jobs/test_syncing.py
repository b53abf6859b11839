"""Compiled schedules follow the rows people edit, however they edit them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from django.db import connection
from django_celery_beat.models import CrontabSchedule, IntervalSchedule, PeriodicTask

from jobs.engine import claiming, pausing, syncing
from jobs.engine.clock import database_now
from jobs.models import Job, Schedule
from tests.jobs.builders import NOON, cron, every, minutes, once, seconds

pytestmark = pytest.mark.django_db


def fresh(schedule: Schedule) -> Schedule:
    return Schedule.objects.get(pk=schedule.pk)


def sql(statement: str, *params: object) -> None:
    with connection.cursor() as cursor:
        cursor.execute(statement, params)


def test_a_row_made_by_any_means_gets_its_policy() -> None:
    every(5, "by the ORM")
    interval = IntervalSchedule.objects.get()
    PeriodicTask.objects.bulk_create([PeriodicTask(name="in bulk", task="jobs.canary", interval=interval)])
    sql(
        """INSERT INTO django_celery_beat_periodictask
           (name, task, interval_id, args, kwargs, headers, one_off, enabled, total_run_count, date_changed,
            description)
           VALUES ('by SQL', 'jobs.canary', %s, '[]', '{}', '{}', false, true, 0, now(), '')""",
        interval.pk,
    )
    now = database_now()
    syncing.sync_stale(now)
    assert {str(s) for s in Schedule.objects.filter(stale=False, next_run_at__gt=now)} == {
        "in bulk",
        "by SQL",
    }


EDITS = {
    "QuerySet.update": lambda s: PeriodicTask.objects.filter(pk=s.pk).update(kwargs='{"note": "new"}'),
    "save": lambda s: _save(s),
    "SQL": lambda s: sql("UPDATE django_celery_beat_periodictask SET priority = 3 WHERE id = %s", s.pk),
    "shared crontab row": lambda s: CrontabSchedule.objects.all().update(minute="7"),
    "policy": lambda s: Schedule.objects.filter(pk=s.pk).update(jitter=timedelta(seconds=9)),
}


def _save(schedule: Schedule) -> None:
    row = PeriodicTask.objects.get(pk=schedule.pk)
    row.queue = "other"
    row.save()


@pytest.mark.parametrize("edit", list(EDITS))
def test_every_kind_of_edit_is_noticed(edit: str) -> None:
    schedule = cron("5 * * * *")
    before = fresh(schedule)
    assert not before.stale
    EDITS[edit](schedule)
    assert fresh(schedule).stale
    syncing.sync_stale(database_now())
    after = fresh(schedule)
    assert (after.stale, after.version) == (False, before.version + 1)
    assert (after.spec, after.template) != (before.spec, before.template)


def test_a_save_that_changes_nothing_marks_nothing() -> None:
    schedule = every(5)
    PeriodicTask.objects.get(pk=schedule.pk).save()
    PeriodicTask.objects.filter(pk=schedule.pk).update(last_run_at=NOON, total_run_count=4)
    assert not fresh(schedule).stale


def test_a_schedule_deleted_by_sql_is_gone_and_its_jobs_stay() -> None:
    schedule = every(60)
    claiming.claim_due(NOON + seconds(60))
    sql("DELETE FROM django_celery_beat_periodictask WHERE id = %s", schedule.pk)
    assert not Schedule.objects.filter(pk=schedule.pk).exists()
    assert Job.objects.get().schedule_name == str(schedule)


def test_an_edit_is_not_retroactive() -> None:
    schedule = every(60)
    claiming.claim_due(NOON + minutes(1))
    PeriodicTask.objects.filter(pk=schedule.pk).update(kwargs='{"note": "new"}')
    Schedule.objects.filter(pk=schedule.pk).update(edited_at=NOON + minutes(2.5))
    syncing.sync_stale(NOON + minutes(3.5))
    claiming.claim_due(NOON + minutes(3.5))
    told = Job.objects.order_by("scheduled_for").values_list("scheduled_for", "kwargs")
    assert list(told) == [
        (NOON + minutes(1), {}),
        (NOON + minutes(2), {}),
        (NOON + minutes(3), {"note": "new"}),
    ]


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"args": "[1"}, "not valid JSON"),
        ({"args": '{"a": 1}'}, "must be a JSON list"),
        ({"kwargs": "[]"}, "must be a JSON object"),
        ({"headers": "[1]"}, "must be a JSON object"),
        ({"interval_id": None}, "no crontab, interval, clocked or solar time"),
    ],
)
def test_a_poison_row_is_put_aside_with_its_reason(fields: dict[str, object], why: str) -> None:
    bad, good = every(60, "bad"), every(60, "good")
    PeriodicTask.objects.filter(pk=bad.pk).update(**fields)
    syncing.sync_stale(NOON)
    assert why in fresh(bad).problem
    claiming.claim_due(NOON + minutes(1))
    assert list(Job.objects.values_list("schedule_name", flat=True)) == ["good"]
    assert fresh(good).problem == ""


@pytest.mark.parametrize(
    "fields", [{"minute": "60"}, {"day_of_month": "30", "month_of_year": "2"}, {"hour": "x"}]
)
def test_an_impossible_crontab_of_an_older_version_is_put_aside(fields: dict[str, str]) -> None:
    schedule = cron("5 * * * *")
    CrontabSchedule.objects.update(**fields)
    syncing.sync_stale(database_now())
    assert fresh(schedule).problem
    assert fresh(schedule).next_run_at is None


def test_a_zero_interval_does_not_loop() -> None:
    schedule = every(60)
    IntervalSchedule.objects.update(every=0)
    syncing.sync_stale(database_now())
    assert fresh(schedule).problem == "Its interval is zero."


def test_day_of_week_7_is_sunday() -> None:
    schedule = cron("0 9 * * 7")
    assert fresh(schedule).next_run_at == datetime(2026, 3, 15, 9, tzinfo=UTC)


def test_times_that_pass_while_paused_are_one_ledger_row() -> None:
    schedule = every(60)
    pausing.pause(schedule, note="moving house", actor="ada")
    Schedule.objects.filter(pk=schedule.pk).update(edited_at=NOON + minutes(2.5))
    syncing.sync_stale(NOON + minutes(3))
    claiming.claim_due(NOON + minutes(9))
    assert Job.objects.filter(status="skipped").count() == 1, "the first of two before the pause was missed"
    assert fresh(schedule).pause_note == "moving house"
    pausing.resume(schedule)
    Schedule.objects.filter(pk=schedule.pk).update(edited_at=NOON + minutes(12.5))
    syncing.sync_stale(NOON + minutes(12.5))
    row = Job.objects.get(reason="paused")
    assert (row.scheduled_for, row.skipped_through, row.skipped_count) == (
        NOON + minutes(3),
        NOON + minutes(12),
        10,
    )
    assert fresh(schedule).next_run_at == NOON + minutes(13)
    assert fresh(schedule).pause_note == ""


def test_a_pause_with_an_end_ends() -> None:
    schedule = every(60)
    pausing.pause(schedule, until=NOON + minutes(5))
    syncing.sync_stale(database_now())
    assert pausing.resume_due(NOON + minutes(4)) == 0
    assert pausing.resume_due(NOON + minutes(5)) == 1
    assert PeriodicTask.objects.get(pk=schedule.pk).enabled


def test_a_new_one_shot_whose_time_has_just_passed_still_runs() -> None:
    now = database_now()
    schedule = once(now - seconds(3), since=now)
    assert claiming.claim_due(database_now()) == 1
    assert Job.objects.get().scheduled_for == now - seconds(3)
    assert not PeriodicTask.objects.get(pk=schedule.pk).enabled


def test_a_one_shot_that_has_fired_is_not_armed_by_enabling_it() -> None:
    schedule = once(NOON + seconds(10))
    claiming.claim_due(NOON + seconds(10))
    syncing.sync_stale(database_now())
    PeriodicTask.objects.filter(pk=schedule.pk).update(enabled=True)
    syncing.sync_stale(database_now())
    claiming.claim_due(database_now() + minutes(10_000))
    assert Job.objects.count() == 1
    assert fresh(schedule).next_run_at is None


def test_a_one_shot_moved_to_a_new_time_fires_again() -> None:
    schedule = once(NOON + seconds(10))
    claiming.claim_due(NOON + seconds(10))
    later = database_now() + minutes(60)
    row = PeriodicTask.objects.get(pk=schedule.pk)
    row.clocked.clocked_time = later
    row.clocked.save()
    PeriodicTask.objects.filter(pk=schedule.pk).update(enabled=True)
    syncing.sync_stale(database_now())
    assert fresh(schedule).next_run_at == later


def test_rows_made_while_triggers_were_off_are_adopted() -> None:
    schedule = every(60)
    sql("DELETE FROM jobs_schedule")  # what a restore without triggers leaves
    assert (syncing.adopt_unseen(), fresh(schedule).stale) == (1, True)
