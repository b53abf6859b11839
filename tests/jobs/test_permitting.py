"""Who may schedule which task is asked again when a beat claims; and where the answer is seen."""

from __future__ import annotations

import json
from typing import Any

import pytest
import redis as redis_client
from celery import current_app
from django.contrib.auth.models import Permission
from django.core import checks
from django.db import connection
from django.test import Client
from django.urls import reverse
from django_celery_beat.models import IntervalSchedule, PeriodicTask

from jobs.engine import claiming, depending, executing, syncing
from jobs.engine.clock import database_now
from jobs.engine.permitting import LOOK_AGAIN
from jobs.engine.ticking import Ticker
from jobs.insight import dashboard, doctoring, previewing
from jobs.insight.documents import schedule_document
from jobs.insight.explaining import explain
from jobs.models import Job, Quarantine, Schedule
from jobs.rules.states import Outcome, Reason
from tests.jobs import moves
from tests.jobs.builders import NOON, begin, every, job, minutes, seconds, worker
from tests.jobs.permits import BUILT_IN, CLEANUP, ELSEWHERE, Allow, allow, by_sql, fresh
from tests.jobs.test_admin_schedules import LIST, url
from tests.jobs.test_cli_runner import cli

__all__ = ["allow"]

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def _redis(redis: redis_client.Redis) -> None:
    """Redis is there."""


# --- at claim ---------------------------------------------------------------------------------------


def insert_by_sql(task: str) -> Schedule:
    """A row as another program writes it: nothing of this code has seen it."""
    interval = IntervalSchedule.objects.create(every=60, period="seconds")
    with connection.cursor() as cursor:
        cursor.execute(
            """INSERT INTO django_celery_beat_periodictask
                   (name, task, args, kwargs, headers, interval_id, enabled, one_off, total_run_count,
                    date_changed, description, start_time)
               VALUES ('by sql', %s, '[]', '{}', '{}', %s, true, false, 0, now(), '', %s) RETURNING id""",
            [task, interval.pk, NOON],
        )
        (pk,) = cursor.fetchone()
    Schedule.objects.filter(pk=pk).update(edited_at=NOON, decided_through=NOON)
    return Schedule.objects.get(pk=pk)


@pytest.mark.parametrize("task", [CLEANUP, ELSEWHERE, "tests.add"])
def test_a_row_that_was_written_behind_our_back_makes_no_job(allow: Allow, task: str) -> None:
    schedule = insert_by_sql(task)
    ticker = Ticker()
    for minute in range(1, 6):
        ticker.tick(NOON + minutes(minute))
    assert not Job.objects.exists()
    schedule = fresh(schedule)
    assert schedule.problem.startswith(f"Nobody may schedule {task!r}: ")
    assert schedule.decided_through == NOON
    seen = schedule_document(schedule)
    assert (seen["state"], seen["problem"], seen["next_run_at"]) == ("broken", schedule.problem, None)
    assert schedule.next_run_at is not None, "when a beat looks again"
    assert previewing.next_run_at(schedule) is None
    assert dashboard.upcoming(database_now()) == []


def test_what_is_allowed_later_runs_without_an_edit_and_catches_up(allow: Allow) -> None:
    schedule = insert_by_sql(CLEANUP)
    ticker = Ticker()
    ticker.tick(NOON + minutes(1))
    ticker.tick(NOON + minutes(2))
    version = fresh(schedule).version
    edited = fresh(schedule).edited_at
    allow(CLEANUP)
    ticker.tick(NOON + minutes(4))
    ticker.tick(NOON + minutes(4))
    found = list(Job.objects.order_by("scheduled_for").values_list("scheduled_for", "status", "reason"))
    assert found == [
        (NOON + minutes(1), "skipped", "missed"),
        (NOON + minutes(4), "waiting", ""),
    ], "as after an outage of beat: its catch-up policy is to run the latest"
    assert Job.objects.get(status="skipped").skipped_count == 3
    schedule = fresh(schedule)
    assert (schedule.problem, schedule.edited_at) == ("", edited)
    assert schedule.version > version
    assert schedule.next_run_at == NOON + minutes(5)


def test_what_is_forbidden_later_stops_without_an_edit(allow: Allow) -> None:
    allow(CLEANUP)
    schedule = insert_by_sql(CLEANUP)
    ticker = Ticker()
    ticker.tick(NOON + minutes(1))
    assert Job.objects.count() == 1
    version = fresh(schedule).version
    allow()
    ticker.tick(NOON + minutes(2))
    assert Job.objects.count() == 1
    schedule = fresh(schedule)
    assert (schedule.version, schedule.stale) == (version, False), "nobody edited it: the claim said no"
    assert BUILT_IN in schedule.problem
    assert (schedule.decided_through, schedule.next_run_at) == (
        NOON + minutes(1),
        NOON + minutes(2) + LOOK_AGAIN,
    )


def test_a_compiled_row_that_names_another_task_makes_no_job(allow: Allow) -> None:
    schedule = every(60, "mine")
    with connection.cursor() as cursor:
        cursor.execute(
            """UPDATE jobs_schedule SET template = jsonb_set(template, '{task}', '"celery.backend_cleanup"')
               WHERE periodic_task_id = %s""",
            [schedule.pk],
        )
    assert not fresh(schedule).stale
    assert claiming.claim_due(NOON + minutes(1)) == 1
    assert not Job.objects.exists()
    assert BUILT_IN in fresh(schedule).problem


def test_the_others_of_the_batch_go_on(allow: Allow) -> None:
    bad, good = every(60, "bad"), every(60, "good")
    by_sql(bad, CLEANUP)
    syncing.sync_stale(NOON)
    Schedule.objects.filter(pk=bad.pk).update(next_run_at=NOON)
    claiming.claim_due(NOON + minutes(1))
    assert list(Job.objects.values_list("schedule_name", flat=True)) == ["good"]
    assert fresh(good).next_run_at == NOON + minutes(2)


def test_what_the_old_task_owed_is_decided_before_the_new_one_is_denied(allow: Allow) -> None:
    schedule = every(60, "mine")
    by_sql(schedule, CLEANUP)
    Schedule.objects.filter(pk=schedule.pk).update(edited_at=NOON + seconds(90))
    Ticker().tick(NOON + minutes(10))
    assert list(Job.objects.values_list("task", "scheduled_for")) == [("jobs.canary", NOON + minutes(1))]
    assert BUILT_IN in fresh(schedule).problem


def test_an_edit_to_a_task_of_an_app_is_in_force_at_once(allow: Allow) -> None:
    schedule = insert_by_sql(CLEANUP)
    ticker = Ticker()
    ticker.tick(NOON + minutes(1))
    by_sql(schedule, "jobs.canary")
    Schedule.objects.filter(pk=schedule.pk).update(edited_at=NOON + minutes(1.5))
    ticker.tick(NOON + minutes(2))
    assert list(Job.objects.values_list("task", "scheduled_for", "status")) == [
        ("jobs.canary", NOON + minutes(2), "waiting")
    ], "an edit decides what comes after it"


def test_a_pause_is_a_pause_whatever_the_task(allow: Allow) -> None:
    schedule = insert_by_sql(CLEANUP)
    PeriodicTask.objects.filter(pk=schedule.pk).update(enabled=False)
    Schedule.objects.filter(pk=schedule.pk).update(edited_at=NOON)
    Ticker().tick(NOON + minutes(2))
    paused = fresh(schedule)
    assert (paused.next_run_at, BUILT_IN in paused.problem) == (None, True)
    assert paused.paused_at == NOON


def test_one_that_another_schedule_starts_is_asked_about_as_well(allow: Allow) -> None:
    first = every(3600, "first")
    allow(CLEANUP)
    then = by_sql(every(3600, "then"), CLEANUP)
    Schedule.objects.filter(pk=then.pk).update(after=first, after_mode="trigger")
    now = database_now()
    syncing.sync_stale(now)
    assert fresh(then).next_run_at is None
    done = begin(job(schedule_id=first.pk, schedule_name="first"))
    moves.complete(done.fence)
    allow()
    later = database_now() + seconds(1)
    assert depending.trigger_due(later) == 0
    assert BUILT_IN in fresh(then).problem
    assert depending.trigger_due(later) == 0
    allow(CLEANUP)
    Ticker().tick(later + LOOK_AGAIN)
    Ticker().tick(later + LOOK_AGAIN)
    assert list(Job.objects.filter(trigger="after").values_list("task", flat=True)) == [CLEANUP]
    assert (fresh(then).problem, fresh(then).next_run_at) == ("", None)


def test_a_call_is_not_a_schedule(allow: Allow) -> None:
    current_app.tasks[CLEANUP].delay()
    current_app.tasks["tests.add"].delay(1, 2)
    assert set(Job.objects.values_list("task", flat=True)) == {CLEANUP, "tests.add"}


def test_a_dead_letter_of_a_task_that_is_denied_by_now_can_be_replayed(allow: Allow) -> None:
    dead = begin(job(task=CLEANUP))
    moves.fail(dead.fence, Reason.PERMANENT, outcome=Outcome.ERROR, error="no")
    assert cli("jobs", "retry", dead.fence.job_id).code == 0


# --- where it is seen -------------------------------------------------------------------------------


def test_it_is_explained(allow: Allow, admin: Client) -> None:
    worker()
    schedule = every(3600, "cleanup", anchor=database_now().replace(microsecond=0))
    at = fresh(schedule).next_run_at
    assert at is not None
    assert explain(fresh(schedule), now=database_now()).verdict in ("will_run", "blocked")
    schedule = by_sql(schedule, CLEANUP)
    for found in (explain(schedule, now=database_now()), explain(schedule, now=database_now(), at=at)):
        assert "obody may schedule 'celery.backend_cleanup'" in found.sentence
        assert found.verdict in ("broken", "blocked")
    syncing.sync_stale(database_now())
    assert BUILT_IN in json.loads(cli("schedules", "explain", "cleanup", "--json").out)["sentence"]
    shown = cli("schedules", "show", "cleanup", "--json").json
    assert (shown["state"], BUILT_IN in shown["problem"]) == ("broken", True)
    listed = cli("schedules", "list", "--state", "broken", "--json").items
    assert [item["name"] for item in listed] == ["cleanup"]
    for page in (LIST, f"{LIST}?state=problem", url(schedule), reverse("admin:index")):
        assert "Nobody may schedule" in admin.get(page).content.decode(), page


def doctor() -> doctoring.Check:
    found, _ = doctoring.examine(database_now)
    return next(check for check in found if check.name == "permits")


def test_the_doctor_sees_it_before_a_beat_does(allow: Allow) -> None:
    every(3600, "mine")
    assert doctor().status == "ok"
    by_sql(every(3600, "cleanup"), CLEANUP)
    by_sql(every(3600, "count"), ELSEWHERE)
    found = doctor()
    assert found.status == "fail"
    assert found.sentence.startswith(
        "2 schedule(s) make no jobs. Nobody may schedule 'celery.backend_cleanup': "
    )
    assert found.sentence.endswith("So it is with warehouse.count.")
    assert "JADWAL_SCHEDULABLE" in found.remedy
    allow("celery.*", ELSEWHERE)
    assert doctor().status == "ok"
    Permission.objects.filter(codename="schedule_tasks", content_type__app_label="billing").delete()
    assert (doctor().status, "tasks of billing" in doctor().sentence) == ("warn", True)


def test_a_slip_in_the_setting_is_refused_and_opens_nothing(allow: Allow) -> None:
    allow("*", "celery.back*")
    assert {item.id for item in checks.run_checks() if item.level >= checks.ERROR} == {"jobs.E002"}
    result = cli("schedules", "create", "x", "--task", CLEANUP, "--every", "1h")
    assert (result.code, BUILT_IN in result.err) == (2, True)


# --- messages of other programs ---------------------------------------------------------------------


def adopt(task: str, **changes: Any) -> object:
    values: dict[str, Any] = {"args": [], "kwargs": {}, "headers": {}, **changes}
    return executing.adopt(job_id=f"foreign-{task}", task=task, queue="default", **values)


def test_another_program_cannot_call_what_is_celerys_own(allow: Allow) -> None:
    assert adopt("celery.starmap", args=["jobs.canary", [[1]]]) is None
    assert not Job.objects.exists()
    kept = Quarantine.objects.get()
    assert (kept.queue, "JADWAL_SCHEDULABLE does not name it" in kept.problem) == ("default", True)
    assert "celery.starmap" in kept.body
    assert adopt("tests.add", args=[1, 2]) is not None, "a call of a task is not a schedule of it"
    allow("celery.starmap")
    assert adopt("celery.starmap") is not None
