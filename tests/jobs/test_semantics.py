"""The rules of SEMANTICS on real rows, where no other module shows them."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
import redis as redis_client
from django_celery_beat.models import PeriodicTask

from jobs.engine import (
    attending,
    claiming,
    dispatching,
    executing,
    lifecycle,
    losing,
    pausing,
    syncing,
    triggering,
)
from jobs.engine.clock import database_now
from jobs.engine.executing import Execution, Refusal
from jobs.engine.records import Fence
from jobs.models import Job, Schedule
from jobs.public import context
from jobs.rules.states import Status
from jobs.runtime import identity
from tests.jobs import moves
from tests.jobs.builders import NOON, begin, cron, every, job, minutes, seconds
from tests.jobs.test_cli_runner import cli
from tests.jobs.test_executing import drain, run_next

pytestmark = pytest.mark.django_db(transaction=True)


def change(schedule: Schedule, at: Any = NOON, **policy: object) -> Schedule:
    """Change the policy of a schedule as of an instant, and let a beat see it."""
    Schedule.objects.filter(pk=schedule.pk).update(**policy)
    Schedule.objects.filter(pk=schedule.pk).update(edited_at=at)
    syncing.sync_stale(at)
    return Schedule.objects.select_related("periodic_task").get(pk=schedule.pk)


@pytest.fixture
def this_worker(redis: redis_client.Redis) -> redis_client.Redis:
    """This process is a worker of the queue `default`."""
    attending.register(
        identity.new_worker_id(),
        name="w@test",
        host="test",
        pid=1,
        queues=["default"],
        concurrency=1,
        tasks=[],
    )
    return redis


@pytest.mark.semantics(1)
def test_an_occurrence_is_decided_once_whoever_asks(redis: redis_client.Redis) -> None:
    schedule = every(60)
    claiming.claim_due(NOON + minutes(1))
    Schedule.objects.update(decided_through=NOON, next_run_at=NOON + minutes(1))
    claiming.claim_due(NOON + minutes(1))
    assert Job.objects.filter(schedule_id=schedule.pk, scheduled_for=NOON + minutes(1)).count() == 1


@pytest.mark.semantics(11)
def test_manual_runs_do_not_use_up_max_runs(redis: redis_client.Redis) -> None:
    schedule = change(every(60), max_runs=2, overlap="allow_all")
    for _ in range(3):
        triggering.run_now(schedule)
    for minute in range(1, 6):
        claiming.claim_due(NOON + minutes(minute))
    by_clock = Job.objects.filter(trigger="schedule").order_by("scheduled_for")
    assert [row.scheduled_for for row in by_clock] == [NOON + minutes(1), NOON + minutes(2)]
    assert Schedule.objects.get().next_run_at is None


@pytest.mark.semantics(11)
def test_skips_do_not_use_up_max_runs(redis: redis_client.Redis) -> None:
    change(every(60), max_runs=2)
    claiming.claim_due(NOON + minutes(1))
    claiming.claim_due(NOON + minutes(2))  # the first still waits: overlap
    moves.complete(begin(Job.objects.get(scheduled_for=NOON + minutes(1))).fence)
    claiming.claim_due(NOON + minutes(3))
    reasons = Job.objects.order_by("scheduled_for").values_list("reason", flat=True)
    assert list(reasons) == ["", "overlap", ""]
    assert Schedule.objects.get().runs == 2


@pytest.mark.semantics(17)
@pytest.mark.parametrize("by", ["deadline", "expire_seconds"])
def test_a_job_that_no_worker_has_started_by_its_deadline_is_expired(
    redis: redis_client.Redis, by: str
) -> None:
    schedule = every(60, **({"expire_seconds": 30} if by == "expire_seconds" else {}))
    if by == "deadline":
        change(schedule, deadline=seconds(30))
    claiming.claim_due(NOON + minutes(1))
    row = Job.objects.get()
    assert row.deadline_at == NOON + minutes(1) + seconds(30), "counted from the nominal"
    refused = executing.begin(
        Fence(row.id, 1),
        task=row.task,
        queue=row.queue,
        worker_id=identity.new_worker_id(),
        default_limit=60,
        default_max_attempts=1,
    )
    assert isinstance(refused, Refusal)
    row.refresh_from_db()
    assert (row.status, row.reason, row.attempt) == (Status.SKIPPED, "expired", 0)


@pytest.mark.semantics(18)
def test_a_pause_is_recorded_with_who_and_why(redis: redis_client.Redis) -> None:
    schedule = every(60)
    pausing.pause(schedule, note="stocktaking", actor="ada", until=NOON + minutes(5))
    paused = change(schedule)
    assert (paused.pause_note, paused.paused_by, paused.paused_at) == ("stocktaking", "ada", NOON)
    assert paused.next_run_at is None
    pausing.resume_due(NOON + minutes(6))
    change(schedule, at=NOON + minutes(6))
    row = Job.objects.get()
    assert (row.reason, row.skipped_count) == ("paused", 6)


@pytest.mark.semantics(20)
def test_run_now_keeps_every_option_and_moves_nothing(redis: redis_client.Redis) -> None:
    schedule = every(
        60, queue="billing", priority=3, headers='{"tenant": "acme"}', kwargs={"note": "x"}, enabled=False
    )
    schedule = change(schedule, deadline=minutes(5), max_attempts=2, timeout=seconds(9), concurrency_key="k")
    before = Schedule.objects.values("decided_through", "next_run_at", "runs", "version").get()
    job_id = triggering.run_now(schedule)
    row = Job.objects.get(id=job_id)
    assert (row.trigger, row.scheduled_for, row.queue, row.priority) == ("manual", None, "billing", 3)
    assert (row.headers, row.kwargs) == ({"tenant": "acme"}, {"note": "x"})
    assert (row.max_attempts, row.concurrency_key, row.time_limit) == (2, "k", 10), "a second to clean up in"
    assert row.deadline_at == row.available_at + minutes(5)
    assert Schedule.objects.values(*before).get() == before
    with pytest.raises(triggering.OverlappingError):
        triggering.run_now(schedule, overlap="skip")


@pytest.mark.semantics(22)
def test_an_edit_decides_only_what_comes_after_it(redis: redis_client.Redis) -> None:
    schedule = change(every(60), overlap="allow_all")
    PeriodicTask.objects.filter(pk=schedule.pk).update(kwargs='{"note": "new"}')
    Schedule.objects.filter(pk=schedule.pk).update(edited_at=NOON + seconds(90))
    syncing.sync_stale(NOON + seconds(130))
    claiming.claim_due(NOON + seconds(130))
    rows = Job.objects.order_by("scheduled_for")
    assert [row.kwargs for row in rows] == [{}, {"note": "new"}]
    assert rows[0].policy_version < rows[1].policy_version


@pytest.mark.semantics(22)
def test_what_is_not_named_is_not_reset() -> None:
    words = ("--task", "jobs.canary", "--every", "1h", "--jitter", "30s", "--group", "night", "--priority", 3)
    cli("schedules", "create", "kept", *words)
    changed = cli("schedules", "update", "kept", "--every", "2h", "--json").json
    assert (changed["jitter"], changed["group"], changed["priority"]) == (30, "night", 3)


@pytest.mark.semantics(25)
def test_a_schedule_has_its_own_retries(this_worker: redis_client.Redis) -> None:
    schedule = every(60, kwargs={"fail": "no"})
    change(schedule, max_attempts=2, backoff_base=seconds(100), backoff_factor=1.0, backoff_cap=seconds(100))
    claiming.claim_due(NOON + minutes(1))
    before = database_now()
    run_next(this_worker)
    row = Job.objects.get()
    assert (row.status, row.attempt) == (Status.DELAYED, 1)
    assert before <= row.available_at <= database_now() + seconds(100), "full jitter: at most the base"
    dispatching.promote_due(database_now() + seconds(200))
    run_next(this_worker)
    row.refresh_from_db()
    assert (row.status, row.reason) == (Status.FAILED, "exhausted")
    assert [one.outcome for one in row.attempts.all()] == ["error", "error"]


@pytest.mark.semantics(26)
def test_a_hard_limit_is_an_attempt_that_timed_out_and_is_tried_again(redis: redis_client.Redis) -> None:
    schedule = change(every(60), timeout=seconds(9), max_attempts=2)
    claiming.claim_due(NOON + minutes(1))
    row = Job.objects.get(schedule_id=schedule.pk)
    assert (row.soft_time_limit, row.time_limit) == (9, 10)
    execution = begin(row)
    row.refresh_from_db()
    assert row.expected_end_at is not None
    losing.timed_out(execution.fence, 9, 5)
    row.refresh_from_db()
    assert (row.status, row.attempts.get().outcome) == (Status.DELAYED, "timeout")
    lifecycle.promote([row.id])
    losing.timed_out(begin(row, attempt=2).fence, 9, 5)
    row.refresh_from_db()
    assert (row.status, row.reason) == (Status.FAILED, "exhausted")


@pytest.mark.semantics(27)
def test_a_task_knows_what_it_runs_for(
    this_worker: redis_client.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    from celery import current_app

    seen: list[dict[str, Any]] = []

    def curious(**_: Any) -> str:
        here = context()
        names = [
            "job_id",
            "schedule",
            "scheduled_for",
            "previous_scheduled_for",
            "attempt",
            "trigger",
            "last_result",
        ]
        seen.append({name: getattr(here, name) for name in names})
        return f"run {len(seen)}"

    monkeypatch.setattr(current_app.tasks["jobs.canary"], "run", curious)
    schedule = every(60, "nightly")
    for minute in (1, 2):
        claiming.claim_due(NOON + minutes(minute))
        drain(this_worker)
    triggering.run_now(schedule)
    drain(this_worker)
    first, second, manual = seen
    ids = list(Job.objects.order_by("created_at").values_list("id", flat=True))
    assert first == {
        "job_id": ids[0], "schedule": "nightly", "scheduled_for": NOON + minutes(1),
        "previous_scheduled_for": None, "attempt": 1, "trigger": "schedule", "last_result": None,
    }  # fmt: skip
    assert (second["previous_scheduled_for"], second["last_result"]) == (NOON + minutes(1), "run 1")
    assert (manual["scheduled_for"], manual["trigger"], manual["last_result"]) == (None, "manual", "run 2")


@pytest.mark.semantics(27)
def test_a_payload_may_name_its_time(this_worker: redis_client.Redis) -> None:
    every(60, kwargs={"note": "for {{ scheduled_for }}"})
    claiming.claim_due(NOON + minutes(1))
    execution = begin(Job.objects.get())
    assert isinstance(execution, Execution)
    assert execution.started.kwargs == {"note": "for 2026-03-10T12:01:00Z"}


@pytest.mark.semantics(28)
def test_every_nominal_has_one_row_in_the_ledger(redis: redis_client.Redis) -> None:
    schedule = cron("* * * * *", since=NOON)
    for minute in (1, 2, 30, 31):
        claiming.claim_due(NOON + minutes(minute))
    covered = 0
    for row in Job.objects.filter(schedule_id=schedule.pk):
        covered += row.skipped_count or 1
    assert covered == 31


@pytest.mark.semantics(9)
def test_a_job_outlives_its_one_shot(redis: redis_client.Redis) -> None:
    row = job(schedule_id=99, schedule_name="gone", scheduled_for=NOON - timedelta(days=1))
    assert cli("jobs", "show", row.id, "--json").json["schedule"] == "gone"
