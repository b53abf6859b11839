"""One attempt, run by Celery's own tracer in this process: start, task, and one fenced end."""

from __future__ import annotations

import json
import logging
import uuid
from datetime import timedelta
from typing import Any

import pytest
import redis as redis_client
from celery import Task, chain, chord, current_app, group
from celery.app.trace import build_tracer
from celery.result import AsyncResult
from django_celery_results.models import TaskResult

from jobs.engine import attending, dispatching
from jobs.engine.clock import database_now
from jobs.engine.records import Fence
from jobs.models import Job, JobLog
from jobs.runtime import identity, logs, trace
from jobs.runtime.trace import run_job
from tests.jobs import moves, tasks

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def _this_process_is_a_worker(redis: redis_client.Redis) -> None:
    worker_id = identity.new_worker_id()
    attending.register(
        worker_id, name="w@test", host="test", pid=1, queues=["default"], concurrency=1, tasks=[]
    )


def deliver(message: dict[str, Any], queue: str = "default", priority: int | None = None) -> Any:
    """Hand one message to the tracer, as a pool child does; return Celery's trace info."""
    head = message["headers"]
    task = current_app.tasks[head["task"]]
    info = {"routing_key": queue, "priority": priority}
    request = {**head, "delivery_info": info, "is_eager": False, "hostname": "w@test"}
    args, kwargs, embed = message.get("args", []), message.get("kwargs", {}), message.get("embed", {})
    request.update(embed)
    tracer = build_tracer(task.name, task, app=current_app)
    return run_job(task, tracer, head["id"], args, kwargs, request).info


def run_next(client: redis_client.Redis, queue: str = "default") -> Any:
    """Take the next message of a queue, as a worker would, and run it."""
    item = client.rpop(queue)
    assert item is not None, "no message"
    return deliver(json.loads(item), queue)


def drain(client: redis_client.Redis) -> int:
    """Run messages until there are none; return how many."""
    count = 0
    while client.llen("default"):
        run_next(client)
        count += 1
    return count


def only_job() -> Job:
    return Job.objects.get()


def test_a_job_runs_and_its_result_is_stored(redis: redis_client.Redis) -> None:
    result = tasks.add.delay(1, 2)
    run_next(redis)
    job = only_job()
    assert (job.status, job.attempt, job.errors) == ("completed", 1, 0)
    assert result.get(timeout=1) == 3
    row = TaskResult.objects.get()
    assert (row.status, row.task_name, row.worker) == ("SUCCESS", "tests.add", "w@test")


def test_the_result_and_the_end_are_one_commit(redis: redis_client.Redis, monkeypatch) -> None:
    tasks.add.delay(1, 2)

    def broken(*args: Any, **kwargs: Any) -> None:
        raise RuntimeError("the result could not be stored")

    monkeypatch.setattr(type(current_app.backend), "_store_result", broken)
    with pytest.warns(RuntimeWarning, match="outside body"):
        run_next(redis)
    job = only_job()
    assert (job.status, job.reason) == ("failed", "permanent"), "completed without its result would be a lie"
    assert job.error == "RuntimeError: the result could not be stored"
    assert TaskResult.objects.count() == 0


def test_a_message_seen_twice_runs_once(redis: redis_client.Redis) -> None:
    tasks.add.delay(1, 2)
    item = redis.lindex("default", 0)
    redis.lpush("default", item, item)
    assert drain(redis) == 3
    assert only_job().attempt == 1


@pytest.mark.parametrize(
    ("change", "queue"),
    [
        ({"id": str(uuid.uuid4())}, "default"),
        ({"task": "tests.permanent"}, "default"),
        ({"jadwal_attempt": 2}, "default"),
        ({}, "billing"),
    ],
    ids=["unknown id", "another task", "another attempt", "another queue"],
)
def test_a_forged_message_starts_nothing(redis: redis_client.Redis, change: dict, queue: str) -> None:
    tasks.add.delay(1, 2)
    message = json.loads(redis.rpop("default"))
    message["headers"].update(change)
    assert deliver(message, queue).state == "IGNORED"
    assert (only_job().status, only_job().attempt) == ("waiting", 0)


def test_a_message_cannot_choose_arguments(redis: redis_client.Redis) -> None:
    result = tasks.add.delay(1, 2)
    message = json.loads(redis.rpop("default"))
    message["args"] = [1000, 1000]
    deliver(message)
    assert result.get(timeout=1) == 3


def test_a_failure_is_retried_with_backoff_and_ends_dead(redis: redis_client.Redis) -> None:
    result = tasks.fails.delay("broken")
    for attempt in (1, 2):
        run_next(redis)
        job = only_job()
        assert (job.status, job.errors, job.error) == ("delayed", attempt, "ValueError: broken")
        ceiling = timedelta(seconds=10 * 2 ** (attempt - 1))
        assert job.available_at - database_now() <= ceiling
        assert result.state == "RETRY"
        assert dispatching.promote_due(job.available_at) == 1
    run_next(redis)
    job = only_job()
    assert (job.status, job.reason, job.errors) == ("failed", "exhausted", 3)
    assert [a.outcome for a in job.attempts.all()] == ["error"] * 3
    assert "raise ValueError(text)" in job.attempts.last().traceback
    assert result.state == "FAILURE"
    with pytest.raises(ValueError, match="broken"):
        result.get(timeout=1)


@pytest.mark.parametrize(
    ("call", "error"),
    [
        (tasks.permanent.s(), "Permanent: this can never work"),
        (current_app.signature("tests.add", (1,)), "Permanent: The arguments do not fit the task"),
    ],
    ids=["Permanent", "bad arguments"],
)
def test_a_permanent_error_fails_at_once(redis: redis_client.Redis, call: Any, error: str) -> None:
    if call.task == "tests.add":
        current_app.send_task("tests.add", (1,))
    else:
        call.delay()
    run_next(redis)
    job = only_job()
    assert (job.status, job.reason, job.attempt) == ("failed", "permanent", 1)
    assert job.error.startswith(error)


def test_retry_after_is_the_shortest_wait(redis: redis_client.Redis) -> None:
    tasks.come_back.delay()
    run_next(redis)
    assert only_job().available_at - database_now() > timedelta(hours=1, minutes=59)


def test_autoretry_for_keeps_its_meaning(redis: redis_client.Redis) -> None:
    tasks.auto.delay("key")
    for _ in range(2):
        run_next(redis)
        assert only_job().status == "delayed"
        dispatching.promote_due(only_job().available_at)
    run_next(redis)
    assert (only_job().status, only_job().errors) == ("failed", 3)


def test_an_error_that_autoretry_does_not_name_fails_at_once(redis: redis_client.Redis) -> None:
    tasks.auto.delay("value")
    run_next(redis)
    assert (only_job().status, only_job().attempt) == ("failed", 1)


def test_self_retry_is_a_delayed_row_with_its_new_arguments(redis: redis_client.Redis) -> None:
    result = tasks.asks.delay("hello")
    run_next(redis)
    job = only_job()
    assert (job.status, job.args, job.attempts.get().outcome) == ("delayed", ["hello!"], "retry")
    assert timedelta(seconds=55) < job.available_at - database_now() <= timedelta(seconds=60)
    assert redis.llen("default") == 0, "nothing waits in a worker's memory or in Redis"
    dispatching.promote_due(job.available_at)
    run_next(redis)
    assert result.get(timeout=1) == "hello!"
    assert Job.objects.count() == 1


@pytest.mark.parametrize(("fail", "status"), [(False, "completed"), (True, "delayed")])
def test_an_ignored_result_still_ends_the_attempt(redis: redis_client.Redis, fail: bool, status: str) -> None:
    tasks.silent.delay(fail)
    run_next(redis)
    assert only_job().status == status
    assert TaskResult.objects.count() == 0


def test_a_result_that_is_not_json_fails_for_good(redis: redis_client.Redis) -> None:
    tasks.not_json.delay()
    run_next(redis)
    job = only_job()
    assert (job.status, job.reason, job.attempt) == ("failed", "permanent", 1)


def test_a_late_finish_writes_nothing(redis: redis_client.Redis, monkeypatch) -> None:
    tasks.add.delay(1, 2)
    original = tasks.add.run

    def overtaken(x: float, y: float) -> float:
        job = only_job()
        assert moves.crash(Fence(job.id, job.attempt), "the lease ended")
        return original(x, y)

    monkeypatch.setattr(tasks.add, "run", overtaken)
    run_next(redis)
    assert (only_job().status, only_job().crashes) == ("waiting", 1)
    assert TaskResult.objects.count() == 0


def test_a_job_past_its_deadline_is_skipped(redis: redis_client.Redis) -> None:
    tasks.add.delay(1, 2)
    Job.objects.update(deadline_at=database_now())
    run_next(redis)
    assert (only_job().status, only_job().reason) == ("skipped", "expired")


def test_what_a_task_logs_and_prints_is_kept(redis: redis_client.Redis, monkeypatch) -> None:
    root = logging.getLogger()
    before = list(root.handlers)
    logs.capture()
    root.setLevel(logging.INFO)

    def chatty(x: float, y: float) -> float:
        logging.getLogger("shop").warning("adding %s", x)
        logging.getLogger("kombu").warning("not mine")
        return x + y

    monkeypatch.setattr(tasks.add, "run", chatty)
    try:
        tasks.add.delay(1, 2)
        run_next(redis)
    finally:
        root.handlers = before
    assert [(line.logger, line.level, line.content) for line in JobLog.objects.all()] == [
        ("shop", logging.WARNING, "adding 1")
    ]


# --- Messages of other programs ---------------------------------------------------------------------------


def foreign(**headers: Any) -> dict[str, Any]:
    head = {"id": str(uuid.uuid4()), "task": "tests.add", "lang": "py", "retries": 0, **headers}
    return {"headers": head, "args": [1, 2], "kwargs": {}}


def test_a_foreign_message_is_adopted(redis: redis_client.Redis) -> None:
    message = foreign()
    deliver(message)
    job = only_job()
    assert (job.id, job.trigger, job.status) == (message["headers"]["id"], "foreign", "completed")
    assert AsyncResult(job.id).get(timeout=1) == 3
    deliver(message)
    assert only_job().attempt == 1, "a message that comes again starts nothing"


def test_a_foreign_message_with_a_time_to_come_is_a_delayed_row(redis: redis_client.Redis) -> None:
    when = database_now() + timedelta(hours=1)
    deliver(foreign(jadwal_eta=when.isoformat()))
    assert (only_job().status, only_job().available_at) == ("delayed", when)


def test_a_foreign_message_keeps_its_deadline_priority_and_limits(redis: redis_client.Redis) -> None:
    later, expires = database_now() + timedelta(hours=1), database_now() + timedelta(hours=2)
    message = foreign(jadwal_eta=later.isoformat(), expires=expires.isoformat(), timelimit=[20, 10])
    deliver(message, priority=3)
    job = only_job()
    assert (job.deadline_at, job.priority, job.time_limit, job.soft_time_limit) == (expires, 3, 20, 10)


def test_a_foreign_message_that_is_too_late_does_not_run(redis: redis_client.Redis) -> None:
    message = foreign(expires=(database_now() - timedelta(seconds=1)).isoformat())
    deliver(message)
    assert (only_job().status, only_job().reason) == ("skipped", "expired")
    assert AsyncResult(message["headers"]["id"]).state == "REVOKED"


# --- Canvas --------------------------------------------------------------------------------------------------


def test_a_chain_runs_to_its_end(redis: redis_client.Redis) -> None:
    result = chain(tasks.add.s(1, 2), tasks.add.s(3), tasks.add.s(4)).apply_async()
    assert drain(redis) == 3
    assert result.get(timeout=1) == 10


def test_a_chain_stops_at_a_failure(redis: redis_client.Redis) -> None:
    chain(tasks.permanent.si(), tasks.add.si(1, 2)).apply_async()
    assert drain(redis) == 1
    assert only_job().status == "failed"


def test_a_link_runs_once_for_the_winner_only(redis: redis_client.Redis) -> None:
    tasks.add.apply_async((1, 2), link=tasks.add.s(10))
    assert drain(redis) == 2
    assert sorted(float(row.result) for row in TaskResult.objects.all()) == [3, 13]


def test_what_follows_is_made_for_the_winner_only(redis: redis_client.Redis, monkeypatch) -> None:
    chain(tasks.add.s(1, 2), tasks.add.s(3)).apply_async(link=tasks.add.s(5))
    original = tasks.add.run

    def overtaken(x: float, y: float) -> float:
        job = Job.objects.get(status="active")
        assert moves.crash(Fence(job.id, job.attempt), "the lease ended")
        return original(x, y)

    monkeypatch.setattr(tasks.add, "run", overtaken)
    run_next(redis)
    assert Job.objects.count() == 1, "a worker that lost its lease sends nothing on"


def test_a_wait_that_a_task_asked_for_is_told_in_its_words(redis: redis_client.Redis) -> None:
    tasks.come_back.delay()
    run_next(redis)
    assert only_job().error == "RetryAfter: busy"


def test_ids_sort_by_time(redis: redis_client.Redis) -> None:
    ids = [tasks.add.delay(1, n).id for n in range(3)]
    assert ids == sorted(ids)
    assert {uuid.UUID(one).version for one in ids} == {7}


def test_a_group_and_a_chord(redis: redis_client.Redis) -> None:
    result = chord(group(tasks.add.s(n, n) for n in range(3)), total.s()).apply_async()
    assert drain(redis) == 4
    assert result.get(timeout=1) == 6


@current_app.task(name="tests.total")
def total(numbers: list[float]) -> float:
    return sum(numbers)


def test_a_retry_that_gives_up_is_final(redis: redis_client.Redis) -> None:
    tasks.gives_up.delay()
    run_next(redis)
    job = only_job()
    assert (job.status, job.reason, job.attempt) == ("failed", "exhausted", 1)


def test_a_retry_without_an_error_says_none(redis: redis_client.Redis) -> None:
    tasks.asks.delay("again")
    run_next(redis)
    job = only_job()
    assert (job.status, job.error) == ("delayed", "")
    assert "NoneType" not in job.attempts.get().traceback + str(TaskResult.objects.get().traceback)


def test_a_rejected_job_has_a_result_and_counts_in_its_chord(redis: redis_client.Redis) -> None:
    result = chord([tasks.add.s(1, 1), tasks.rejects.si()], total.s()).apply_async()
    assert drain(redis) == 2
    job = Job.objects.get(task="tests.rejects")
    assert (job.status, job.reason, AsyncResult(job.id).state) == ("failed", "rejected", "FAILURE")
    assert result.state == "FAILURE"


def test_the_arguments_of_a_task_that_is_a_class_are_checked(redis: redis_client.Redis) -> None:
    class Halving(Task):  # type: ignore[misc]
        name = "tests.halving"

        def run(self, x: int) -> int:
            return x // 2

    task = current_app.register_task(Halving())
    try:
        good, bad = task.delay(8), task.delay(8, 8)
        assert drain(redis) == 2
    finally:
        current_app.tasks.unregister(task)
    assert good.get(timeout=1) == 4
    assert Job.objects.get(id=bad.id).error.startswith("Permanent: The arguments do not fit the task")


@pytest.mark.parametrize(
    ("said", "kept"), [(5, 5), (-1, 0), (10**30, 9), (True, 1), (None, None), ("7", None), ([1], None)]
)
def test_a_foreign_priority_is_kept_within_bounds(said: object, kept: int | None) -> None:
    assert trace._priority(said) == kept
