"""What was lost is found: jobs of dead workers, and messages that Redis no longer has."""

from __future__ import annotations

import uuid
from datetime import timedelta

import pytest
import redis as redis_client
from django_celery_results.models import TaskResult

from jobs.conf import conf
from jobs.engine import attending, lifecycle, pruning, recovering
from jobs.engine.clock import database_now
from jobs.engine.ticking import Ticker
from jobs.models import Attempt, Job, JobLog, Worker
from jobs.rules.states import Outcome, Reason, Status
from tests.jobs import moves
from tests.jobs.builders import begin, job, minutes, seconds, worker

pytestmark = pytest.mark.django_db(transaction=True)


def silent(worker_id: uuid.UUID, seconds_: float) -> None:
    Worker.objects.filter(id=worker_id).update(heartbeat_at=database_now() - seconds(seconds_))


def test_a_job_of_a_silent_worker_runs_again(redis: redis_client.Redis) -> None:
    row, worker_id = job(), worker()
    begin(row, worker_id=worker_id)
    now = database_now()
    assert recovering.rescue(now) == 0
    assert recovering.rescue(now + conf().lease - seconds(1)) == 0
    assert recovering.rescue(now + conf().lease + seconds(1)) == 1
    row.refresh_from_db()
    assert (row.status, row.crashes, row.errors) == ("waiting", 1, 0)
    assert redis.llen("default") == 1


def test_a_worker_that_said_goodbye_charges_nothing(redis: redis_client.Redis) -> None:
    row, worker_id = job(), worker()
    begin(row, worker_id=worker_id)
    attending.stop(worker_id)
    assert recovering.rescue(database_now()) == 1
    row.refresh_from_db()
    assert (row.status, row.crashes, row.errors) == ("waiting", 0, 0)
    assert Attempt.objects.get().outcome == "interrupted"


def test_a_restart_under_the_same_name_does_not_wait_for_the_lease(redis: redis_client.Redis) -> None:
    row = job()
    begin(row, worker_id=worker("w@host"))
    worker("w@host")
    assert recovering.rescue(database_now()) == 1


def test_an_attempt_past_every_limit_is_lost_though_its_worker_lives(redis: redis_client.Redis) -> None:
    row, worker_id = job(time_limit=60.0), worker()
    begin(row, worker_id=worker_id)
    later = database_now() + seconds(60) + conf().lease + seconds(1)
    Worker.objects.update(heartbeat_at=later)
    assert recovering.rescue(later) == 1
    assert Job.objects.get().crashes == 1


def test_three_crashes_make_a_poison_job(redis: redis_client.Redis) -> None:
    row = job()
    for attempt in (1, 2, 3):
        worker_id = worker(f"w{attempt}")
        begin(row, worker_id=worker_id, attempt=attempt)
        silent(worker_id, 1_000)
        assert recovering.rescue(database_now()) == 1
    row.refresh_from_db()
    assert (row.status, row.reason, row.crashes) == ("failed", "poison", 3)


def test_silence_proves_nothing_just_after_the_database_came_back(redis: redis_client.Redis) -> None:
    row, worker_id = job(), worker()
    begin(row, worker_id=worker_id)
    silent(worker_id, 1_000)
    ticker, now = Ticker(), database_now()
    assert ticker.tick(now).rescued == 0
    assert ticker.tick(now + conf().sweep).rescued == 0
    assert ticker.tick(now + conf().heartbeat * 2 + conf().sweep).rescued == 1


def test_workers_speak_first_after_an_outage(redis: redis_client.Redis) -> None:
    """What waits without a message may be running: the database has forgotten the start in its crash."""
    job(available_at=database_now())
    ticker, now = Ticker(), database_now() + minutes(1)
    ticker.disconnected()
    assert ticker.tick(now).republished == 0
    assert ticker.tick(now + conf().heartbeat * 2).republished == 1


def test_lost_messages_are_sent_again_and_others_are_not(redis: redis_client.Redis) -> None:
    rows = [job() for _ in range(5)]
    recovering.dispatching.publish(recovering.dispatching.messages_for(r.id for r in rows[:3]))
    now = database_now()
    assert recovering.reconcile(now) == 0, "too young: their messages may be in a worker's hands"
    assert recovering.reconcile(now + conf().publish_grace + seconds(1)) == 2
    assert sorted(recovering.queued_ids("default")) == sorted(r.id for r in rows)


def test_a_queue_that_is_merely_long_is_not_sent_again(redis: redis_client.Redis) -> None:
    rows = [job() for _ in range(300)]
    recovering.dispatching.publish(recovering.dispatching.messages_for(r.id for r in rows))
    assert recovering.reconcile(database_now() + timedelta(hours=6)) == 0
    assert redis.llen("default") == 300


def test_a_long_list_is_not_read_all_the_time_for_what_workers_have_in_their_hands(
    redis: redis_client.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recovering, "LONG_LIST", 30)
    monkeypatch.setattr(recovering, "FEW", 10)
    monkeypatch.setattr(recovering, "_read_at", {})
    rows = [job() for _ in range(50)]
    recovering.dispatching.publish(recovering.dispatching.messages_for(r.id for r in rows))
    now = database_now() + minutes(1)

    def lose(count: int) -> None:
        redis.rpop("default", count)

    lose(3)
    assert recovering.reconcile(now) == 3, "the first time it is read"
    now += minutes(1)
    lose(3)
    assert recovering.reconcile(now) == 0
    lose(10)
    assert recovering.reconcile(now) == 13, "so many are in nobody's hands"
    lose(3)
    now += recovering.READ_AGAIN
    assert recovering.reconcile(now) == 3
    lose(25)
    assert recovering.reconcile(now + minutes(1)) == 25
    lose(30)
    assert recovering.reconcile(now + minutes(2)) == 30, "what is left is no long list"


def test_two_beats_do_not_send_the_same_twice(redis: redis_client.Redis) -> None:
    rows = [job() for _ in range(3)]
    later = database_now() + minutes(1)
    ids = [row.id for row in rows]
    assert sorted(lifecycle.note_published(ids, before=later, now=later)) == sorted(ids)
    assert lifecycle.note_published(ids, before=later, now=later) == [], "the other beat has them"


def test_while_the_broker_is_left_alone_nothing_is_looked_for(redis: redis_client.Redis) -> None:
    job()
    recovering.doorbell.mute(redis_client.ConnectionError("away"))
    assert recovering.reconcile(database_now() + minutes(1)) == 0
    recovering.doorbell.unmute()
    assert recovering.reconcile(database_now() + minutes(1)) == 1


def test_priorities_and_foreign_rubbish_do_not_confuse_it(redis: redis_client.Redis) -> None:
    rows = [job(priority=priority) for priority in (0, 3, 9)]
    recovering.dispatching.publish(recovering.dispatching.messages_for(r.id for r in rows[1:]))
    redis.lpush("default\x06\x163", b"not json", b"[1]", b'{"headers": 3}')
    redis.rpop("default\x06\x169")
    later = database_now() + minutes(1)
    assert recovering.depth("default") == 4
    Job.objects.create(
        id="another",
        task="t",
        queue="default",
        trigger="action",
        status="waiting",
        published_at=database_now(),
    )
    Job.objects.create(
        id="third", task="t", queue="default", trigger="action", status="waiting", published_at=database_now()
    )
    assert recovering.reconcile(later) == 4
    assert {"another", "third", rows[0].id, rows[2].id} <= set(recovering.queued_ids("default"))


def test_pruning_keeps_to_the_retention_and_takes_everything_along(redis: redis_client.Redis) -> None:
    finished = {}
    for status, days in (("completed", 7), ("failed", 90)):
        for name, age in (("old", days + 1), ("young", days - 1)):
            row = job()
            execution = begin(row)
            JobLog.objects.create(
                job=row, attempt=1, level=20, logger="x", content="x", logged_at=database_now()
            )
            TaskResult.objects.create(task_id=row.id)
            if status == "completed":
                moves.complete(execution.fence)
            else:
                moves.fail(execution.fence, Reason.EXHAUSTED, outcome=Outcome.ERROR, error="x")
            Job.objects.filter(id=row.id).update(finished_at=database_now() - timedelta(days=age))
            finished[name, status] = row.id
    waiting = job()
    assert pruning.prune(database_now()) == 2
    kept = {finished["young", "completed"], finished["young", "failed"]}
    assert set(Job.objects.values_list("id", flat=True)) == {*kept, waiting.id}
    for model, field in ((Attempt, "job_id"), (JobLog, "job_id"), (TaskResult, "task_id")):
        assert set(model.objects.values_list(field, flat=True)) == kept


def test_pruning_goes_in_batches(redis: redis_client.Redis) -> None:
    for _ in range(5):
        lifecycle.cancel_pending([job(Status.WAITING).id])
    Job.objects.update(finished_at=database_now() - timedelta(days=400))
    assert [pruning.prune(database_now(), batch=2) for _ in range(4)] == [2, 2, 1, 0]
