"""Schedules after schedules (SEMANTICS 23), and schedules that pause themselves (19)."""

from __future__ import annotations

from datetime import timedelta

import pytest
import redis as redis_client
from django.db import connection

from jobs.engine import claiming, depending, editing, lifecycle, pausing, syncing
from jobs.engine.clock import database_now
from jobs.engine.editing import EditError
from jobs.models import Job, Schedule
from jobs.rules.states import Outcome, Reason
from tests.jobs import moves
from tests.jobs.builders import NOON, begin, every, job, minutes

pytestmark = pytest.mark.django_db(transaction=True)


def link(schedule: Schedule, after: Schedule, **fields: object) -> Schedule:
    Schedule.objects.filter(pk=schedule.pk).update(after=after, **fields)
    Schedule.objects.filter(pk=schedule.pk).update(edited_at=NOON)
    syncing.sync_stale(NOON)
    return Schedule.objects.get(pk=schedule.pk)


def run(schedule: Schedule, *, ok: bool = True) -> Job:
    row = job(schedule_id=schedule.pk, nonce=f"test-{Job.objects.count()}")
    execution = begin(row)
    if ok:
        moves.complete(execution.fence)
    else:
        moves.fail(execution.fence, Reason.EXHAUSTED, outcome=Outcome.ERROR, error="x")
    return row


@pytest.mark.semantics(23)
@pytest.mark.parametrize(
    ("on", "ok", "count"),
    [
        ("success", True, 1),
        ("success", False, 0),
        ("failure", False, 1),
        ("failure", True, 0),
        ("any", False, 1),
    ],
)
def test_a_trigger_starts_once_for_each_wanted_end(
    redis: redis_client.Redis, on: str, ok: bool, count: int
) -> None:
    up, down = every(60, "up"), every(60, "down")
    assert link(down, up, after_on=on).next_run_at is None, "it has no times of its own"
    upstream = run(up, ok=ok)
    for _ in range(3):
        depending.trigger_due(database_now())
    made = Job.objects.filter(schedule_id=down.pk)
    assert made.count() == count
    assert redis.llen("default") == count
    if count:
        assert (made.get().trigger, made.get().nonce) == ("after", f"after:{upstream.id}")


@pytest.mark.semantics(23)
def test_an_old_end_triggers_nothing(redis: redis_client.Redis) -> None:
    up, down = every(60, "up"), every(60, "down")
    link(down, up, after_within=timedelta(hours=1))
    run(up)
    assert depending.trigger_due(database_now() + timedelta(hours=2)) == 0


@pytest.mark.semantics(23)
def test_a_gate_holds_until_upstream_has_succeeded(redis: redis_client.Redis) -> None:
    up, down = every(60, "up"), every(60, "down")
    link(down, up, after_mode="gate", after_within=timedelta(days=9_000))
    Schedule.objects.filter(pk=up.pk).update(next_run_at=None)
    claiming.claim_due(NOON + minutes(1))
    held = Job.objects.get(schedule_id=down.pk)
    assert (held.status, held.hold) == ("delayed", "upstream")
    assert depending.open_gates(NOON + minutes(2)) == 0
    run(up, ok=False)
    assert depending.open_gates(NOON + minutes(2)) == 0
    run(up)
    assert depending.open_gates(NOON + minutes(2)) == 1
    held.refresh_from_db()
    assert held.status == "waiting"


@pytest.mark.semantics(23)
def test_a_gate_that_stays_shut_skips_and_says_why(redis: redis_client.Redis) -> None:
    up, down = every(60, "up"), every(60, "down")
    link(down, up, after_mode="gate", after_within=timedelta(hours=1))
    Schedule.objects.filter(pk=up.pk).update(next_run_at=None)
    claiming.claim_due(NOON + minutes(1))
    depending.open_gates(NOON + minutes(61))
    assert Job.objects.get().status == "delayed"
    depending.open_gates(NOON + minutes(62))
    assert (Job.objects.get().status, Job.objects.get().reason) == ("skipped", "upstream")


@pytest.mark.semantics(23)
def test_cycles_are_refused_on_save() -> None:
    a, b, c = every(60, "a"), every(60, "b"), every(60, "c")
    link(b, a)
    link(c, b)
    with pytest.raises(EditError, match="wait for each other"):
        editing.set_policy(Schedule.objects.get(pk=a.pk), {"after": Schedule.objects.get(pk=c.pk)})


@pytest.mark.semantics(19)
def test_a_schedule_pauses_itself_after_failures_in_a_row(redis: redis_client.Redis) -> None:
    schedule = every(60)
    Schedule.objects.filter(pk=schedule.pk).update(pause_after_failures=3)
    run(schedule, ok=False)
    run(schedule, ok=True)
    run(schedule, ok=False)
    run(schedule, ok=False)
    cancelled = job(schedule_id=schedule.pk, nonce="c")
    lifecycle.cancel_pending([cancelled.id])
    assert pausing.pause_failing() == []
    run(schedule, ok=False)
    assert pausing.pause_failing() == [str(schedule)]
    assert pausing.pause_failing() == []
    paused = Schedule.objects.get(pk=schedule.pk)
    assert not paused.periodic_task.enabled
    assert "3 failed jobs in a row" in paused.pause_note


@pytest.mark.semantics(19)
def test_after_a_resume_the_count_begins_anew(redis: redis_client.Redis) -> None:
    schedule = every(60)
    Schedule.objects.filter(pk=schedule.pk).update(pause_after_failures=1)
    run(schedule, ok=False)
    assert pausing.pause_failing()
    syncing.sync_stale(database_now())
    pausing.resume(schedule)
    syncing.sync_stale(database_now())
    assert pausing.pause_failing() == []
    run(schedule, ok=False)
    assert pausing.pause_failing() == [str(schedule)]


@pytest.mark.semantics(23)
@pytest.mark.parametrize("how", ["ORM", "SQL"])
def test_what_ran_after_a_deleted_schedule_is_paused_and_says_why(
    redis: redis_client.Redis, how: str
) -> None:
    up, down = every(60, "up"), every(60, "down")
    link(down, up)
    if how == "ORM":
        up.periodic_task.delete()
    else:
        with connection.cursor() as cursor:
            cursor.execute("DELETE FROM django_celery_beat_periodictask WHERE id = %s", [up.pk])
    syncing.sync_stale(database_now())
    left = Schedule.objects.get(pk=down.pk)
    assert (left.after, left.periodic_task.enabled, left.next_run_at) == (None, False, None)
    assert left.pause_note == "The schedule it ran after, up, was deleted."
