"""`.delay()` is a row in the caller's transaction; Redis is told when it commits."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import uuid4

import pytest
import redis as redis_client
from celery import Task, chain, current_app, group, shared_task
from celery.app.amqp import AMQP
from django.db import transaction

from jobs.engine import dispatching
from jobs.engine.payload import PayloadError, decode
from jobs.models import Job
from tests.jobs import tasks

pytestmark = pytest.mark.django_db(transaction=True)


def messages(client: redis_client.Redis, queue: str = "default") -> list[dict]:
    return [json.loads(item) for item in client.lrange(queue, 0, -1)]


def test_delay_makes_a_row_and_a_small_message(redis: redis_client.Redis) -> None:
    result = tasks.add.delay(1, y=2)
    job = Job.objects.get()
    assert (job.id, job.task, job.args, job.kwargs, job.status) == (
        result.id,
        "tests.add",
        [1],
        {"y": 2},
        "waiting",
    )
    (message,) = messages(redis)
    assert message["headers"]["id"] == job.id
    assert message["headers"]["jadwal_attempt"] == 1
    assert len(json.dumps(message)) < 1_500


def test_the_payload_does_not_enter_redis(redis: redis_client.Redis) -> None:
    tasks.add.delay("x" * 100_000, y={"password": "hunter2"})
    (item,) = redis.lrange("default", 0, -1)
    assert len(item) < 2_000
    assert b"hunter2" not in item


def test_a_rollback_leaves_nothing(redis: redis_client.Redis) -> None:
    with pytest.raises(RuntimeError), transaction.atomic():
        tasks.add.delay(1, 2)
        assert messages(redis) == []
        raise RuntimeError
    assert Job.objects.count() == 0
    assert messages(redis) == []


def test_the_message_goes_out_on_commit(redis: redis_client.Redis) -> None:
    with transaction.atomic():
        tasks.add.delay(1, 2)
        assert messages(redis) == []
    assert len(messages(redis)) == 1


@pytest.mark.parametrize("how", ["countdown", "eta"])
def test_a_time_to_come_is_a_delayed_row_and_no_message(redis: redis_client.Redis, how: str) -> None:
    when = datetime.now(UTC) + timedelta(minutes=5)
    options = {"eta": when} if how == "eta" else {"countdown": 300}
    tasks.add.apply_async((1, 2), **options)
    job = Job.objects.get()
    assert job.status == "delayed"
    assert abs(job.available_at - when) < timedelta(seconds=5)
    assert messages(redis) == []
    assert dispatching.promote_due(job.available_at) == 1
    assert messages(redis)[0]["headers"]["eta"] is None


def test_options_become_columns(redis: redis_client.Redis) -> None:
    expires = datetime.now(UTC) + timedelta(hours=1)
    tasks.add.apply_async(
        (1, 2),
        queue="billing",
        priority=6,
        expires=expires,
        time_limit=9,
        soft_time_limit=8,
        task_id="mine-1",
    )
    job = Job.objects.get()
    assert (job.id, job.queue, job.priority) == ("mine-1", "billing", 6)
    assert (job.time_limit, job.soft_time_limit, job.deadline_at) == (9, 8, expires)
    assert len(redis.lrange("billing\x06\x166", 0, -1)) == 1


@shared_task(name="tests.options", queue="billing", priority=6, time_limit=9, ignore_result=True)
def with_options_of_its_own(x: int) -> None:
    """Says for itself what a call could say."""


class Shadowed(Task):
    """Names each call for people, by its arguments."""

    def shadow_name(self, args: Any, kwargs: Any, options: Any) -> str:
        return f"note {args[0]}"


@shared_task(name="tests.shadowed", base=Shadowed)
def shadowed(x: int) -> None:
    """Has a say in each call."""


def test_a_call_without_options_has_those_of_its_task(redis: redis_client.Redis) -> None:
    result = with_options_of_its_own.delay(1)
    job = Job.objects.get(id=result.id)
    assert (job.queue, job.priority, job.time_limit, job.headers) == (
        "billing",
        6,
        9,
        {"ignore_result": True},
    )
    assert result.ignored
    with pytest.raises(TypeError, match="missing 1 required positional argument"):
        with_options_of_its_own.delay()
    assert Job.objects.get(id=shadowed.delay(7).id).headers == {"shadow": "note 7"}


def test_a_chosen_id_is_enqueued_once(redis: redis_client.Redis) -> None:
    for _ in range(3):
        tasks.add.apply_async((1, 2), task_id="order-17")
    assert Job.objects.count() == 1
    assert len(messages(redis)) == 1


def test_each_domain_app_has_its_queue(redis: redis_client.Redis) -> None:
    for name in ("notifications.anything", "billing.anything", "backups.anything", "other.anything"):
        current_app.send_task(name)
    assert dict(Job.objects.values_list("task", "queue")) == {
        "notifications.anything": "notifications",
        "billing.anything": "billing",
        "backups.anything": "backups",
        "other.anything": "default",
    }


@pytest.fixture
def routes() -> Iterator[Callable[[Any], None]]:
    """Sets other routes, as a project would by its configuration."""
    before = current_app.conf.task_routes

    def route(routes: Any) -> None:
        current_app.conf.update(task_routes=routes)

    yield route
    current_app.conf.update(task_routes=before)


def queue_of_a_call(*args: int) -> str:
    return Job.objects.get(id=tasks.add.delay(*args).id).queue


def test_other_routes_are_in_force_at_once(redis: redis_client.Redis, routes: Callable[[Any], None]) -> None:
    assert queue_of_a_call(1, 2) == "default"
    routes({"tests.*": {"queue": "backups"}})
    assert [queue_of_a_call(1, 2) for _ in range(2)] == ["backups", "backups"]
    routes([{"other.*": "backups"}, {"tests.add": "billing"}])
    assert queue_of_a_call(1, 2) == "billing"


def test_a_route_that_is_a_function_is_asked_every_time(
    redis: redis_client.Redis, routes: Callable[[Any], None]
) -> None:
    def by_first(name: str, args: Any, kwargs: Any, options: Any, task: Any = None, **_: Any) -> Any:
        return {"queue": "billing" if args[0] else "backups"}

    routes([{"other.*": "default"}, by_first])
    assert [queue_of_a_call(first, 0) for first in (1, 0, 1)] == ["billing", "backups", "billing"]


def test_arguments_keep_their_types(redis: redis_client.Redis) -> None:
    given = [datetime(2026, 1, 1, tzinfo=UTC), uuid4(), Decimal("1.10")]
    current_app.send_task("other.program.task", given)
    assert decode(json.dumps(Job.objects.get().args)) == given


@pytest.mark.parametrize("value", [object(), float("nan"), "a\x00b"])
def test_arguments_that_cannot_be_stored_are_refused(redis: redis_client.Redis, value: object) -> None:
    with pytest.raises(PayloadError, match="argument"):
        tasks.add.delay(value, 1)
    assert Job.objects.count() == 0


def test_a_chain_stores_what_follows(redis: redis_client.Redis) -> None:
    chain(tasks.add.s(1, 2), tasks.add.s(3)).apply_async()
    job = Job.objects.get()
    assert [step["task"] for step in job.headers["chain"]] == ["tests.add"]


def test_a_group_is_as_many_jobs(redis: redis_client.Redis) -> None:
    group(tasks.add.s(n, n) for n in range(4)).apply_async()
    assert Job.objects.count() == 4
    assert len({job.headers["group"] for job in Job.objects.all()}) == 1


VARIANTS: dict[str, dict[str, Any]] = {
    "nothing said": {},
    "bound": {"bind": True},
    "result ignored": {"ignore_result": True},
    "result wanted": {"ignore_result": False},
    "limits": {"time_limit": 30, "soft_time_limit": 20},
    "priority": {"priority": 6},
    "queue of its own": {"queue": "compat.own"},
    "routed by its name": {"name": "billing.compared"},
    "expires": {"expires": 3600},
    "shadow": {"shadow_name": lambda *_: "nicer"},
    "arguments not checked": {"typing": False},
    "other serializer": {"serializer": "json"},
}
CALLS: dict[str, tuple[tuple[Any, ...], dict[str, Any], dict[str, Any]]] = {
    "no arguments": ((), {}, {}),
    "arguments": ((1, [2.5]), {"c": Decimal("1.5")}, {}),
    "id": ((), {}, {"task_id": "chosen"}),
    "own priority and limits": ((), {}, {"priority": 3, "time_limit": 9, "soft_time_limit": 5}),
    "result not ignored": ((), {}, {"ignore_result": False}),
    "result ignored": ((), {}, {"ignore_result": True}),
    "own queue": ((), {}, {"queue": "compat.other"}),
    "header": ((), {}, {"headers": {"tenant": "acme"}}),
    "link": ((), {}, {"link": tasks.add.s(1)}),
    "shadow": ((), {}, {"shadow": "nicest"}),
    "later": ((), {}, {"eta": datetime(2040, 1, 1, tzinfo=UTC)}),
    "wrong arguments": ((1, 2, 3, 4), {}, {}),
    "arguments of a wrong type": ("text", {}, {}),
}
OF_THE_MOMENT = ("id", "created_at", "available_at", "published_at", "deadline_at")


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("variant", VARIANTS)
def test_a_plain_call_is_stored_as_celery_would_have_it(
    redis: redis_client.Redis, monkeypatch: pytest.MonkeyPatch, variant: str, call: str
) -> None:
    """The short way, and Celery's own through `send_task` and `as_task_v2`, end in the same row and message."""
    options = {"name": "tests.compared", **VARIANTS[variant]}

    def compared(self: Any = None, a: int = 0, b: int = 0, c: int = 0) -> None:
        """Never runs."""

    task = current_app.task(**options)(compared)
    try:
        short = called(task, call, redis)
        with monkeypatch.context() as patch:
            patch.setattr(type(current_app._get_current_object()), "_is_plain", lambda *_: False)
            long = called(task, call, redis)
    finally:
        current_app.tasks.unregister(task.name)
    assert short == long


def called(task: Any, call: str, redis: redis_client.Redis) -> Any:
    """Return everything that is left of a call but ids and times."""
    args, kwargs, options = CALLS[call]
    try:
        result = task.apply_async(args, kwargs, **options)
    except TypeError as exc:
        assert not Job.objects.exists()
        assert "wrong" in call
        return str(exc)
    job = Job.objects.values().get(id=result.id)
    sent = [
        item
        for queue in ("default", "billing", "compat.own", "compat.other")
        for item in messages(redis, queue)
    ]
    text = json.dumps([sent, job["headers"]]).replace(result.id, "ID")
    Job.objects.all().delete()
    redis.flushdb()
    assert options.get("task_id") in (None, result.id)
    later = job["available_at"].year == 2040
    return (
        {name: value for name, value in job.items() if name not in OF_THE_MOMENT},
        (job["deadline_at"] is None, later),
        text,
        (type(result), result.ignored, result.task_name if hasattr(result, "task_name") else None),
    )


def test_most_calls_go_the_short_way(redis: redis_client.Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: Any, **__: Any) -> None:
        raise AssertionError("Celery has made a message")

    monkeypatch.setattr(AMQP, "as_task_v2", never)
    tasks.add.delay(1, y=2)
    tasks.add.apply_async((1, 2), task_id="chosen", priority=3)
    assert Job.objects.count() == 2
    with pytest.raises(AssertionError, match="has made a message"):
        tasks.add.apply_async((1, 2), headers={"tenant": "acme"})
