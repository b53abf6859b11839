"""Many jobs in a few statements."""

from __future__ import annotations

from datetime import timedelta

import pytest
import redis as redis_client
from django.db import transaction

from jobs.engine import executing
from jobs.engine.clock import database_now
from jobs.models import Job
from jobs.public import PayloadError, enqueue_many
from tests.jobs import tasks
from tests.jobs.builders import begin, job

pytestmark = pytest.mark.django_db(transaction=True)


def test_each_call_is_a_job_and_the_ids_are_in_order(redis: redis_client.Redis) -> None:
    ids = enqueue_many(tasks.add, [(1, 2), {"x": 3, "y": 4}, [5, 6]])
    rows = Job.objects.in_bulk(ids)
    assert [(rows[i].args, rows[i].kwargs) for i in ids] == [
        ([1, 2], {}),
        ([], {"x": 3, "y": 4}),
        ([5, 6], {}),
    ]
    assert {(row.status, row.trigger, row.queue) for row in rows.values()} == {
        ("waiting", "action", "default")
    }
    assert redis.llen("default") == 3


def test_it_makes_what_delay_makes(redis: redis_client.Redis) -> None:
    by_delay, (in_bulk,) = tasks.silent.delay().id, enqueue_many("tests.silent", [()])
    different = {"id", "headers", "created_at", "available_at", "published_at"}
    one, other = (Job.objects.filter(id=i).values().get() for i in (by_delay, in_bulk))
    assert {k: v for k, v in one.items() if k not in different} == {
        k: v for k, v in other.items() if k not in different
    }
    assert one["headers"]["ignore_result"] is other["headers"]["ignore_result"] is True


def test_more_than_one_statement(redis: redis_client.Redis) -> None:
    ids = enqueue_many(tasks.add, ((n, n) for n in range(2_345)), queue="other", priority=3)
    assert len(set(ids)) == Job.objects.filter(queue="other", priority=3).count() == 2_345
    assert redis.llen("other\x06\x163") == 2_345


def test_all_or_none(redis: redis_client.Redis) -> None:
    with pytest.raises(PayloadError):
        enqueue_many(tasks.add, [*([(1, 2)] * 1_500), (object(), 1)])
    with pytest.raises(TypeError, match="a call is a sequence"):
        enqueue_many(tasks.add, ["text"])
    assert Job.objects.count() == redis.llen("default") == 0


def test_it_is_part_of_the_callers_transaction(redis: redis_client.Redis) -> None:
    with pytest.raises(ZeroDivisionError), transaction.atomic():
        enqueue_many(tasks.add, [(1, 2)])
        assert redis.llen("default") == 0
        raise ZeroDivisionError
    assert Job.objects.count() == redis.llen("default") == 0


def test_a_time_to_come_and_a_deadline(redis: redis_client.Redis) -> None:
    eta = database_now() + timedelta(hours=1)
    enqueue_many(tasks.add, [(1, 2)], eta=eta, expires=eta + timedelta(hours=1))
    row = Job.objects.get()
    assert (row.status, row.available_at, row.deadline_at) == ("delayed", eta, eta + timedelta(hours=1))
    assert redis.llen("default") == 0


def test_within_a_job_they_are_its_children(redis: redis_client.Redis) -> None:
    execution = begin(job())
    token = executing.enter(execution)
    try:
        (child,) = enqueue_many(tasks.add, [(1, 2)])
    finally:
        executing.leave(token)
    headers = Job.objects.get(id=child).headers
    assert headers == {"parent_id": execution.fence.job_id, "root_id": execution.fence.job_id}
