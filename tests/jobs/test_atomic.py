"""Tasks whose effects in the database and whose end are one commit."""

from __future__ import annotations

import pytest
import redis as redis_client
from celery import chain
from celery.result import AsyncResult
from django.contrib.auth.models import Group
from django.db import connection

from jobs.engine import ending, finishing
from jobs.models import Attempt, Job
from tests.jobs import tasks
from tests.jobs.test_executing import _this_process_is_a_worker, drain, only_job, run_next  # noqa: F401

pytestmark = pytest.mark.django_db(transaction=True)


def test_effect_result_and_end_are_there_together(redis: redis_client.Redis) -> None:
    seen = []

    def spy(execute, sql, params, many, context):
        seen.append((sql.split(None, 1)[0], connection.in_atomic_block))
        return execute(sql, params, many, context)

    result = tasks.together.delay("done")
    with connection.execute_wrapper(spy):
        run_next(redis)
    assert only_job().status == "completed"
    assert AsyncResult(result.id).get(timeout=1) == "done"
    assert Group.objects.filter(name="done").count() == Attempt.objects.count() == 1
    assert {inside for what, inside in seen if what == "INSERT"} == {True}


def test_an_error_takes_the_effect_back(redis: redis_client.Redis) -> None:
    tasks.together.delay("never", fail=True)
    run_next(redis)
    assert (only_job().status, Group.objects.count()) == ("delayed", 0)


def test_who_has_lost_the_lease_leaves_nothing(
    redis: redis_client.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    tasks.together.delay("late")
    monkeypatch.setattr(finishing, "record", _losing(finishing.record))
    run_next(redis)
    assert Group.objects.count() == 0
    assert only_job().status == "active", "whoever won decides"


def _losing(record):
    """As if the job had been decided elsewhere a moment before: no ending of this process counts."""

    def late(ends):
        return record(
            [ending.Ending.of_document({**_plain(end), "attempt": end.attempt + 1}) for end in ends]
        )

    return late


def _plain(end):
    import json

    from jobs.engine import payload

    return json.loads(payload.document(end.as_document()))


def test_what_follows_is_made_once(redis: redis_client.Redis) -> None:
    result = chain(tasks.together.s("first"), tasks.together.s()).apply_async()
    assert drain(redis) == 2
    assert result.parent.get(timeout=1) == "first"
    assert Job.objects.count() == 2
