"""The verbs of jobs against each other, at the same row: each time one waits or passes over, and one wins."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest
import redis as redis_client
from django.conf import settings
from django_celery_beat.models import IntervalSchedule, PeriodicTask

from jobs.engine import (
    cancelling,
    claiming,
    depending,
    dispatching,
    enqueueing,
    executing,
    finishing,
    lifecycle,
    limiting,
    pruning,
    recovering,
    replaying,
    syncing,
)
from jobs.engine.clock import database_now
from jobs.engine.executing import Execution, Refusal
from jobs.engine.records import Fence, NewJob
from jobs.models import Attempt, Job, Limit, Schedule
from jobs.rules.retry import FailureKind
from jobs.rules.states import Outcome, Reason, Status, Trigger
from tests.concurrency.contending import passing, waiting
from tests.jobs import moves
from tests.jobs.builders import NOON, begin, every, job, minutes, seconds, worker

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("redis")]


@pytest.fixture
def row() -> Job:
    return job()


def starting(row: Job, attempt: int = 1) -> Callable[[], Execution | Refusal]:
    worker_id = worker(f"w{row.id}@test")

    def start() -> Execution | Refusal:
        return executing.begin(
            Fence(row.id, attempt),
            task=row.task,
            queue=row.queue,
            worker_id=worker_id,
            default_limit=60,
            default_max_attempts=5,
        )

    return start


def failing(execution: Execution) -> Callable[[], bool]:
    execution.judge(FailureKind.ERROR)
    return lambda: finishing.retry(execution, error="ValueError: no", traceback="")


def dead_letter() -> Job:
    row = job()
    assert moves.fail(begin(row).fence, Reason.EXHAUSTED, outcome=Outcome.ERROR, error="x")
    return row


def messages() -> int:
    return int(redis_client.Redis.from_url(settings.REDIS_URL).llen("default"))


def state(row: Job) -> tuple[str, str]:
    row.refresh_from_db()
    return row.status, row.reason


# --- cancel --------------------


def test_a_cancel_waits_for_a_start_and_asks_the_running_job_to_stop(row: Job) -> None:
    started, cancelled = waiting(starting(row), lambda: cancelling.cancel([row.id]))
    assert isinstance(started, Execution)
    assert cancelled == (0, 1)
    assert state(row) == ("active", "")
    assert row.cancel_requested_at is not None


def test_a_start_waits_for_a_cancel_and_is_refused(row: Job) -> None:
    cancelled, refusal = waiting(lambda: cancelling.cancel([row.id]), starting(row))
    assert cancelled == (1, 0)
    assert isinstance(refusal, Refusal)
    assert state(row) == ("cancelled", "cancelled")
    assert row.attempt == 0


def test_a_cancel_waits_for_an_end_and_changes_nothing(row: Job) -> None:
    execution = begin(row)
    ended, cancelled = waiting(lambda: finishing.complete(execution), lambda: cancelling.cancel([row.id]))
    assert (ended, cancelled) == (True, (0, 0))
    assert state(row) == ("completed", "")


def test_an_end_waits_for_a_request_to_stop_and_counts(row: Job) -> None:
    execution = begin(row)
    cancelled, ended = waiting(lambda: cancelling.cancel([row.id]), lambda: finishing.complete(execution))
    assert (cancelled, ended) == ((0, 1), True)
    assert state(row) == ("completed", "")
    assert row.cancel_requested_at is None


def test_a_cancel_waits_for_a_retry_and_ends_what_would_have_come(row: Job) -> None:
    retried, cancelled = waiting(failing(begin(row)), lambda: cancelling.cancel([row.id]))
    assert (retried, cancelled) == (True, (1, 0))
    assert state(row) == ("cancelled", "cancelled")
    assert list(row.attempts.values_list("number", "outcome")) == [(1, "error")]


def test_a_cancel_waits_for_a_rescue_and_ends_what_would_have_come(row: Job) -> None:
    begin(row)
    later = database_now() + minutes(600)
    rescued, cancelled = waiting(lambda: recovering.rescue(later), lambda: cancelling.cancel([row.id]))
    assert (rescued, cancelled) == (1, (1, 0))
    assert state(row) == ("cancelled", "cancelled")


def test_a_cancel_waits_for_a_promotion_and_its_message_starts_nothing() -> None:
    row = job(Status.DELAYED)
    promoted, cancelled = waiting(lambda: dispatching.promote_due(NOON), lambda: cancelling.cancel([row.id]))
    assert (promoted, cancelled) == (1, (1, 0))
    assert state(row) == ("cancelled", "cancelled")
    assert isinstance(starting(row)(), Refusal)


def test_a_promotion_passes_over_a_job_that_is_being_cancelled() -> None:
    row = job(Status.DELAYED)
    assert passing(lambda: cancelling.cancel([row.id]), lambda: dispatching.promote_due(NOON)) == ((1, 0), 0)
    assert state(row) == ("cancelled", "cancelled")
    assert messages() == 0


def test_two_cancels_of_the_same_jobs_wait_for_each_other_in_one_order() -> None:
    rows = [job() for _ in range(20)]
    ids = [row.id for row in rows]
    first, second = waiting(lambda: cancelling.cancel(ids), lambda: cancelling.cancel(ids[::-1]))
    assert (first, second) == ((20, 0), (0, 0))


# --- dead letters --------------------


def test_of_two_replays_one_waits_and_finds_nothing_to_replay() -> None:
    row = dead_letter()
    first, second = waiting(lambda: replaying.replay([row.id]), lambda: replaying.replay([row.id]))
    assert (first, second) == ([row.id], [])
    assert state(row) == ("waiting", "")
    assert messages() == 1


def test_a_replay_waits_for_a_discard_and_finds_nothing_to_replay() -> None:
    row = dead_letter()
    first, second = waiting(lambda: replaying.discard([row.id]), lambda: replaying.replay([row.id]))
    assert (first, second) == ([row.id], [])
    assert state(row) == ("cancelled", "discarded")
    assert messages() == 0


def test_a_discard_waits_for_a_replay_and_finds_nothing_to_discard() -> None:
    row = dead_letter()
    first, second = waiting(lambda: replaying.replay([row.id]), lambda: replaying.discard([row.id]))
    assert (first, second) == ([row.id], [])
    assert state(row) == ("waiting", "")


def test_a_replay_waits_for_pruning_and_finds_nothing_to_replay() -> None:
    row = dead_letter()
    later = database_now() + timedelta(days=91)
    pruned, replayed = waiting(lambda: pruning.prune(later), lambda: replaying.replay([row.id]))
    assert replayed == []
    assert pruned >= 1
    assert not Job.objects.exists()
    assert not Attempt.objects.exists()
    assert messages() == 0


def test_pruning_passes_over_a_job_that_is_being_replayed() -> None:
    row = dead_letter()
    later = database_now() + timedelta(days=91)
    assert passing(lambda: replaying.replay([row.id]), lambda: pruning.prune(later))[0] == [row.id]
    assert state(row) == ("waiting", "")
    assert row.attempts.count() == 1


# --- lost workers --------------------


def test_a_rescue_passes_over_a_job_that_is_being_retried(row: Job) -> None:
    execution = begin(row)
    later = database_now() + minutes(600)
    assert passing(failing(execution), lambda: recovering.rescue(later)) == (True, 0)
    assert state(row) == ("delayed", "")
    assert (row.errors, row.crashes) == (1, 0)


def test_a_retry_waits_for_a_rescue_and_does_not_count(row: Job) -> None:
    execution = begin(row)
    later = database_now() + minutes(600)
    assert waiting(lambda: recovering.rescue(later), failing(execution)) == (1, False)
    assert state(row) == ("waiting", "")
    assert (row.errors, row.crashes) == (0, 1)
    assert list(row.attempts.values_list("number", "outcome")) == [(1, "crash")]


def test_of_two_rescues_one_passes_over_the_jobs_of_the_other(row: Job) -> None:
    begin(row)
    later = database_now() + minutes(600)
    assert passing(lambda: recovering.rescue(later), lambda: recovering.rescue(later)) == (1, 0)
    row.refresh_from_db()
    assert row.crashes == 1
    assert messages() == 1


def test_a_reconcile_waits_for_another_and_sends_nothing_that_the_other_sends() -> None:
    ids = sorted(job().id for _ in range(5))
    now = database_now() + minutes(1)
    old = now - seconds(5)
    noted, published = waiting(
        lambda: lifecycle.note_published(ids, before=old, now=now), lambda: recovering.reconcile(now)
    )
    assert (sorted(noted), published) == (ids, 0)
    assert messages() == 0
    assert recovering.reconcile(now + minutes(1)) == 5, "had the other one died now, the next turn sends them"
    assert sorted(recovering.queued_ids("default")) == ids


# --- births --------------------


def adopting(job_id: str) -> Callable[[], Fence | None]:
    return lambda: executing.adopt(
        job_id=job_id, task="jobs.canary", queue="default", args=[], kwargs={}, headers={}
    )


def test_of_two_adoptions_of_one_message_one_waits_and_starts_nothing() -> None:
    assert waiting(adopting("foreign"), adopting("foreign")) == (Fence("foreign", 1), None)
    assert Job.objects.count() == 1


def test_an_adoption_that_is_rolled_back_leaves_the_message_to_the_other() -> None:
    _, second = waiting(adopting("foreign"), adopting("foreign"), commit=False)
    assert second == Fence("foreign", 1)
    assert Job.objects.count() == 1


def test_of_two_calls_with_one_id_one_waits_and_makes_no_second_job() -> None:
    def call() -> str:
        return enqueueing.action(task="jobs.canary", queue="default", job_id="order-17")

    assert waiting(call, call) == ("order-17", "order-17")
    assert (Job.objects.count(), messages()) == (1, 1)


def test_of_two_runs_with_one_nonce_one_waits_and_makes_no_second_job() -> None:
    schedule = every(60)

    def run() -> set[str]:
        new = NewJob(
            id=enqueueing.new_id(), task="jobs.canary", queue="default", trigger=Trigger.MANUAL,
            status=Status.WAITING, available_at=NOON, schedule_id=schedule.pk, nonce="pressed once",
        )  # fmt: skip
        return enqueueing.enqueue([new])

    first, second = waiting(run, run)
    assert (len(first), second) == (1, set())
    assert (Job.objects.count(), messages()) == (1, 1)


def test_of_two_beats_that_see_the_end_of_an_upstream_one_passes_over_it() -> None:
    upstream, row = every(60, "up"), None
    downstream = every(60, "down")
    Schedule.objects.filter(pk=downstream.pk).update(after=upstream, edited_at=NOON)
    syncing.sync_stale(NOON)
    Schedule.objects.filter(pk=downstream.pk).update(edited_at=NOON)
    row = job(schedule_id=upstream.pk, nonce="once")
    assert finishing.complete(begin(row))
    now = database_now()
    assert passing(lambda: depending.trigger_due(now), lambda: depending.trigger_due(now)) == (1, 0)
    assert Job.objects.filter(schedule_id=downstream.pk).count() == 1


# --- limits --------------------


def test_of_two_starts_for_the_last_place_one_waits_and_is_deferred() -> None:
    limiting.set_limit("queue:default", max_active=1)
    first, second = job(), job()
    won, lost = waiting(starting(first), starting(second))
    assert isinstance(won, Execution)
    assert isinstance(lost, Refusal)
    assert "no place" in lost.why
    assert (state(first)[0], state(second)[0]) == ("active", "delayed")
    assert second.hold == "concurrency"


def test_a_start_that_is_rolled_back_gives_its_place_back() -> None:
    limiting.set_limit("queue:default", max_active=1)
    first, second = job(), job()
    _, won = waiting(starting(first), starting(second), commit=False)
    assert isinstance(won, Execution)
    assert (state(first)[0], state(second)[0]) == ("waiting", "active")


def test_of_two_starts_under_a_rate_one_waits_and_is_put_off() -> None:
    limiting.set_limit("queue:default", max_per_second=0.01)
    first, second = job(), job()
    won, lost = waiting(starting(first), starting(second))
    assert isinstance(won, Execution)
    assert isinstance(lost, Refusal)
    assert state(second)[0] == "delayed"
    assert second.available_at == Limit.objects.get().next_start_at


# --- edits --------------------


def save_task(schedule: Schedule) -> None:
    task = PeriodicTask.objects.get(pk=schedule.pk)
    task.interval, _ = IntervalSchedule.objects.get_or_create(every=7, period="seconds")
    task.save()


EDITS: dict[str, Callable[[Schedule], Any]] = {
    "task": save_task,
    "policy": lambda schedule: Schedule.objects.filter(pk=schedule.pk).update(overlap="allow_all"),
    "pause": lambda schedule: PeriodicTask.objects.filter(pk=schedule.pk).update(enabled=False),
}


@pytest.mark.parametrize("edit", EDITS)
def test_an_edit_waits_for_a_claim_and_decides_nothing_that_was_decided(edit: str) -> None:
    schedule = every(60)
    now: datetime = NOON + minutes(1)
    claimed, _ = waiting(lambda: claiming.claim_due(now), lambda: EDITS[edit](schedule))
    assert claimed == 1
    schedule.refresh_from_db()
    assert schedule.stale
    assert schedule.decided_through == now
    Schedule.objects.filter(pk=schedule.pk).update(edited_at=now + seconds(1))
    syncing.sync_stale(now + seconds(1))
    claiming.claim_due(now + seconds(1))
    assert list(Job.objects.values_list("scheduled_for", flat=True)) == [now]
