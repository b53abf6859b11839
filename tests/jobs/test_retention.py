"""What is kept, for how long, and what goes with it; in batches that do not block."""

from __future__ import annotations

import psycopg
import pytest
from celery import chord, group
from django.db import connection
from django_celery_results.models import ChordCounter, GroupResult, TaskResult

from jobs.engine import (
    cancelling,
    claiming,
    executing,
    lifecycle,
    pruning,
    replaying,
)
from jobs.engine.clock import database_now
from jobs.engine.ticking import Ticker
from jobs.models import Attempt, Job, JobLog, Quarantine, Schedule, Worker
from jobs.rules.states import Status
from tests.acceptance.line import database_url
from tests.concurrency.contending import passing
from tests.jobs import moves, tasks
from tests.jobs.builders import NOON, begin, every, job, minutes, seconds, worker
from tests.jobs.ended import DAYS, TICK, days, ended, kept

pytestmark = pytest.mark.django_db
two_connections = pytest.mark.django_db(transaction=True)


# --- How long --------------------


@pytest.mark.parametrize("status", DAYS)
def test_nothing_is_deleted_earlier_than_is_said(status: str) -> None:
    row = ended(status)
    for now in (NOON, NOON + days(DAYS[status]) - TICK, NOON + days(DAYS[status])):
        assert pruning.prune(now) == 0
        assert kept() == {row.id}
    assert pruning.prune(NOON + days(DAYS[status]) + TICK) == 1
    assert kept() == set()


def test_a_job_that_has_not_ended_is_never_deleted() -> None:
    rows = [job(), job(Status.DELAYED), job()]
    begin(rows[2])
    assert pruning.prune(NOON + days(10_000)) == 0
    assert kept() == {row.id for row in rows}


def test_a_replay_and_a_discard_count_from_when_they_were_made() -> None:
    replayed, discarded = ended("failed"), ended("failed")
    replaying.replay([replayed.id], now=NOON + days(89))
    replaying.discard([discarded.id], now=NOON + days(89))
    assert pruning.prune(NOON + days(89 + 30)) == 0
    assert pruning.prune(NOON + days(89 + 30) + TICK) == 1
    assert kept() == {replayed.id}


# --- What goes with a job --------------------


def test_everything_of_a_job_goes_with_it_and_nothing_of_another() -> None:
    old, young = ended("failed"), ended("failed", NOON + days(1))
    assert pruning.prune(NOON + days(90) + TICK) == 1
    for model, field in ((Job, "id"), (Attempt, "job_id"), (JobLog, "job_id"), (TaskResult, "task_id")):
        assert set(model.objects.values_list(field, flat=True)) == {young.id}, (model, old)


@pytest.fixture
def header() -> list[Job]:
    """The two members of a chord's header, as Celery makes them."""
    chord([tasks.add.s(1, 1), tasks.add.s(2, 2)], tasks.add.s(3)).apply_async()
    assert ChordCounter.objects.get().count == 2
    return list(Job.objects.order_by("id"))


def test_the_counter_of_a_chord_that_never_came_to_its_end_goes_with_its_last_member(
    header: list[Job],
) -> None:
    cancelling.cancel([header[0].id], now=NOON)
    assert moves.complete(begin(header[1]).fence, now=NOON)
    pruning.prune(NOON + days(7) + TICK)
    assert kept() == {header[0].id}
    assert ChordCounter.objects.count() == 1, "a member is still there"
    pruning.prune(NOON + days(30) + TICK)
    assert kept() == set()
    assert not ChordCounter.objects.exists()


def test_the_counter_of_a_chord_stays_while_a_member_may_still_run(header: list[Job]) -> None:
    cancelling.cancel([header[0].id], now=NOON)
    pruning.prune(NOON + days(10_000))
    assert kept() == {header[1].id}
    assert ChordCounter.objects.count() == 1


def test_both_members_of_a_chord_in_one_batch_take_the_counter_along(header: list[Job]) -> None:
    cancelling.cancel([row.id for row in header], now=NOON)
    assert pruning.prune(NOON + days(30) + TICK) == 2
    assert not ChordCounter.objects.exists()


def test_the_counter_of_a_chord_whose_jobs_are_not_stored_yet_is_left_alone() -> None:
    ended("completed", headers={"group": "another"})
    ChordCounter.objects.create(group_id="new", sub_tasks='[[["later", null], null]]', count=1)
    pruning.prune(NOON + days(10_000))
    assert kept() == set()
    assert ChordCounter.objects.count() == 1


def test_a_group_goes_after_the_longest_retention_when_none_of_its_jobs_is_left() -> None:
    group(tasks.add.s(1, 1), tasks.add.s(2, 2)).apply_async().save()
    group_row, (first, second) = GroupResult.objects.get(), Job.objects.order_by("id")
    GroupResult.objects.filter(pk=group_row.pk).update(date_done=NOON)
    cancelling.cancel([first.id], now=NOON)
    later = NOON + days(10_000)
    pruning.prune(later)
    assert kept() == {second.id}
    assert GroupResult.objects.exists(), "a job of it is still there"
    cancelling.cancel([second.id], now=NOON)
    pruning.prune(NOON + days(90))
    assert kept() == set()
    assert GroupResult.objects.exists(), "it is not older than the longest retention"
    assert pruning.prune(NOON + days(90) + TICK) == 1
    assert not GroupResult.objects.exists()


def test_results_of_no_job_go_after_the_longest_retention() -> None:
    waiting = job()
    for task_id in ("body-of-a-failed-chord", waiting.id):
        TaskResult.objects.create(task_id=task_id)
    TaskResult.objects.update(date_done=NOON)
    assert pruning.prune(NOON + days(90)) == 0
    assert pruning.prune(NOON + days(90) + TICK) == 1
    assert TaskResult.objects.get().task_id == waiting.id


def test_quarantine_has_a_retention_of_its_own() -> None:
    for name, at in (("old", NOON), ("young", NOON + TICK)):
        Quarantine.objects.create(queue="default", body=name, problem="not JSON", received_at=at)
    assert pruning.prune(NOON + days(90)) == 0
    assert pruning.prune(NOON + days(90) + TICK) == 1
    assert Quarantine.objects.get().body == "young"


def test_quarantine_goes_in_batches_from_the_oldest() -> None:
    for n in range(5):
        Quarantine.objects.create(queue="default", body=str(n), problem="x", received_at=NOON)
    assert [pruning.prune(NOON + days(91), batch=2) for _ in range(4)] == [2, 2, 1, 0]


def test_workers_go_a_week_after_they_were_last_heard_of() -> None:
    worker("beats@test"), worker("stopped@test"), worker("silent@test")
    Worker.objects.update(heartbeat_at=NOON + days(1), started_at=NOON)
    Worker.objects.filter(name="silent@test").update(heartbeat_at=NOON)
    Worker.objects.filter(name="stopped@test").update(heartbeat_at=NOON, stopped_at=NOON)
    assert pruning.prune(NOON + days(7)) == 0
    assert pruning.prune(NOON + days(7) + TICK) == 2
    assert Worker.objects.get().name == "beats@test"


def test_a_worker_stays_until_its_jobs_are_rescued() -> None:
    row = job()
    begin(row, worker_id=worker("lost@test"))
    Worker.objects.update(heartbeat_at=NOON, started_at=NOON)
    assert pruning.prune(NOON + days(100)) == 0
    assert Worker.objects.exists(), "the attempt is to say whose it was"


def test_a_worker_that_was_started_again_is_history_for_as_long_as_others() -> None:
    worker("again@test"), worker("again@test")
    assert Worker.objects.count() == 2
    assert pruning.prune(database_now()) == 0, "the first one's heartbeat is set back, its start is not"


# --- In batches that do not block --------------------


def test_a_batch_is_no_larger_than_it_is_said_to_be() -> None:
    for status in ("completed", "failed"):
        for _ in range(5):
            ended(status)
    assert [pruning.prune(NOON + days(91), batch=2) for _ in range(4)] == [4, 4, 2, 0]


def test_a_batch_of_talkative_jobs_is_a_smaller_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pruning, "MOST_LINES", 10)
    rows = [ended("completed", NOON + seconds(n)) for n in range(4)]
    JobLog.objects.bulk_create(
        JobLog(job=row, attempt=1, level=20, logger="x", content="x", logged_at=NOON)
        for row in rows
        for _ in range(5)
    )
    assert pruning.prune(NOON + days(91)) == 2, "six lines each: the third begins after ten"
    assert kept() == {rows[2].id, rows[3].id}
    assert pruning.prune(NOON + days(91)) == 2


def test_a_backlog_is_deleted_turn_by_turn_behind_what_is_due(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jobs.engine.ticking.PRUNE_BATCH", 2)
    for _ in range(5):
        ended("completed")
    now = NOON + days(8)
    every(60, anchor=now)
    ticker = Ticker()
    turns = [ticker.tick(now + minutes(1) + seconds(n)) for n in range(5)]
    assert [turn.pruned for turn in turns] == [2, 2, 1, 0, 0]
    assert turns[0].claimed == 1, "what is due comes first"
    assert turns[0].next_at == now + minutes(1), "and the next turn comes at once"
    assert turns[3].next_at == now + minutes(2), "nothing is left to delete"
    assert ticker.tick(now + minutes(2)).claimed == 1


@two_connections
def test_a_job_that_somebody_holds_does_not_stop_the_others_from_going() -> None:
    rows = [ended("failed") for _ in range(3)]
    with psycopg.connect(database_url()) as other:
        other.execute("SELECT 1 FROM jobs_job WHERE id = %s FOR UPDATE", [rows[1].id])
        assert pruning.prune(NOON + days(91)) == 2
        other.rollback()
    assert kept() == {rows[1].id}
    assert pruning.prune(NOON + days(91)) == 1


@two_connections
def test_two_beats_prune_side_by_side() -> None:
    for _ in range(4):
        ended("completed")
    later = NOON + days(8)
    assert passing(lambda: pruning.prune(later, batch=3), lambda: pruning.prune(later, batch=3)) == (3, 1)
    assert kept() == set()


def work_beside() -> str:
    """Everything that makes a job run, on a connection that waits for nobody."""
    with connection.cursor() as cursor:
        cursor.execute("SET lock_timeout = '1s'")
    schedule = Schedule.objects.get()
    assert claiming.claim_due(NOON + days(100)) == 1
    row = Job.objects.filter(schedule_id=schedule.pk, status=Status.WAITING).latest("scheduled_for")
    assert moves.complete(begin(row).fence)
    other = job(Status.DELAYED)
    assert lifecycle.promote([other.id]) == [other.id]
    assert cancelling.cancel([other.id]) == (1, 0)
    executing.adopt(job_id="foreign", task="tests.add", queue="default", args=[], kwargs={}, headers={})
    return Job.objects.get(id=row.id).status


@two_connections
def test_pruning_holds_up_no_claim_no_start_and_no_end() -> None:
    schedule = every(60)
    ended("completed", schedule_id=schedule.pk, nonce="old")
    pruned, status = passing(lambda: pruning.prune(NOON + days(100)), work_beside)
    assert (pruned, status) == (1, "completed")
