"""Calling tasks: the options of `apply_async`, and what `AsyncResult` says."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from celery import current_app, signals, states
from celery.exceptions import TaskRevokedError, TimeoutError
from celery.result import AsyncResult, EagerResult
from django.db import transaction
from django_celery_results.models import TaskResult
from kombu.exceptions import EncodeError

from jobs.engine.payload import PayloadError
from jobs.models import Job
from tests.compatibility import tasks
from tests.compatibility.stage import Stage

pytestmark = pytest.mark.acceptance


# --- When --------------------------------------------------------------------------------------------------


def test_countdown_and_eta(stage: Stage) -> None:
    """As in Celery: not before that time. Here it is a row until then, and no worker holds it in memory.

    So the visibility timeout of Redis has no say, and a restart of the worker loses nothing.
    """
    began = time.time()
    later = [
        tasks.take_note.apply_async(countdown=1.5),
        tasks.take_note.apply_async(eta=datetime.now(UTC) + timedelta(seconds=1.5)),
    ]
    for result in later:
        assert Job.objects.get(id=result.id).status == "delayed"
        assert stage.redis.llen("default") == 0
    for result in later:
        stage.ended(result)
        [ran] = stage.notes(result.id, "ran")
        assert 1.4 < ran["at"] - began < 6


def test_an_eta_that_has_passed_and_one_without_a_zone(stage: Stage) -> None:
    """As in Celery: a time that has passed is now; one without a zone is in the app's zone, UTC."""
    past = tasks.add.apply_async((1, 2), eta=datetime.now(UTC) - timedelta(hours=1))
    assert stage.get(past) == 3
    naive = tasks.add.apply_async((1, 2), eta=datetime(2035, 1, 1, 12))
    assert Job.objects.get(id=naive.id).available_at == datetime(2035, 1, 1, 12, tzinfo=UTC)
    naive.revoke()


@pytest.mark.parametrize("expires", [0.5, "a datetime"])
def test_expires(stage: Stage, expires: object) -> None:
    """As in Celery: a task that has not started by then never does, and its result is REVOKED.

    Here the job is `skipped` with the reason `expired`: it is in the history, not just in a log.
    """
    at = datetime.now(UTC) + timedelta(seconds=0.5) if expires == "a datetime" else expires
    result = tasks.take_note.apply_async(countdown=1, expires=at)
    job = stage.ended(result)
    assert (job.status, job.reason, stage.events(result.id)) == ("skipped", "expired", [])
    with pytest.raises(TaskRevokedError, match="expired"):
        stage.get(result, 3)
    assert result.state == "REVOKED"


def test_expires_in_time(stage: Stage) -> None:
    """As in Celery: it is about the start. A task that runs when it expires goes on."""
    assert stage.get(tasks.sleep.apply_async((1,), expires=0.9)) == "slept"


# --- Where -------------------------------------------------------------------------------------------------


def test_queue_and_priority(stage: Stage) -> None:
    """As in Celery: the queue by option; priority by Redis lists, 0 first, in the steps 0, 3, 6 and 9."""
    ids = [
        tasks.add.apply_async((1, 2), queue="compat.urgent", priority=priority).id for priority in (9, 0, 5)
    ]
    assert [Job.objects.get(id=one).queue for one in ids] == ["compat.urgent"] * 3
    keys = ["compat.urgent", *(f"compat.urgent\x06\x16{step}" for step in (3, 6, 9))]
    assert [stage.redis.llen(key) for key in keys] == [1, 1, 0, 1]
    with stage.worker_of("compat.urgent"):
        for one in ids:
            stage.ended(one)
    started = Job.objects.filter(id__in=ids).order_by("started_at").values_list("priority", flat=True)
    assert list(started) == [0, 5, 9]


# --- Who ---------------------------------------------------------------------------------------------------


def test_task_id(stage: Stage) -> None:
    """As in Celery: the caller may choose it. Here the second call with the same id makes no second job."""
    one = tasks.add.apply_async((1, 2), task_id="chosen-by-the-caller")
    assert (one.id, stage.get(one)) == ("chosen-by-the-caller", 3)
    two = tasks.add.apply_async((50, 50), task_id="chosen-by-the-caller")
    assert stage.get(two) == 3
    assert Job.objects.filter(id="chosen-by-the-caller").count() == 1


def test_shadow_and_headers(stage: Stage) -> None:
    """As in Celery: `shadow` names the task for people, headers travel with it. Both are kept with the job."""
    seen = stage.get(tasks.echo.apply_async(shadow="a nicer name", headers={"tenant": "acme"}))
    assert (seen["shadow"], seen["task"]) == ("a nicer name", "compat.echo")
    assert seen["headers"]["tenant"] == "acme"


@contextmanager
def listening(signal: Any, receiver: Callable[..., None]) -> Iterator[None]:
    signal.connect(receiver, weak=False)
    try:
        yield
    finally:
        signal.disconnect(receiver)


@pytest.mark.parametrize("options", [{}, {"countdown": 0.1}], ids=["plain", "with an option"])
def test_who_listens_to_publishing(stage: Stage, options: dict[str, Any]) -> None:
    """As in Celery: told before and after it, and what a receiver adds to the headers travels with the task.

    So do tracers: their spans go on in the worker.
    """
    told: list[tuple[str, str, str]] = []

    def before(sender: str, headers: dict[str, Any], body: Any, routing_key: str, **_: Any) -> None:
        headers["traceparent"] = "00-ab-cd-01"
        assert body[0] == (1,)
        told.append(("before", sender, routing_key))

    def after(sender: str, headers: dict[str, Any], routing_key: str, **_: Any) -> None:
        assert Job.objects.filter(id=headers["id"]).exists()
        told.append(("after", sender, routing_key))

    with listening(signals.before_task_publish, before), listening(signals.after_task_publish, after):
        result = tasks.echo.apply_async((1,), **options)
    assert told == [("before", tasks.echo.name, "default"), ("after", tasks.echo.name, "default")]
    assert stage.get(result)["headers"]["traceparent"] == "00-ab-cd-01"


@pytest.fixture
def sent_events() -> Iterator[None]:
    current_app.conf.update(task_send_sent_event=True)
    yield
    current_app.conf.update(task_send_sent_event=False)


@pytest.mark.usefixtures("sent_events")
def test_consoles_are_told_of_calls(stage: Stage) -> None:
    """As in Celery, with `task_send_sent_event`; of a call in a transaction when it commits, and never of secrets."""
    heard: list[dict[str, Any]] = []
    with current_app.connection() as broker:
        receiver = current_app.events.Receiver(broker, handlers={"task-sent": heard.append})
        with receiver.consumer_context() as (connection, *_):
            with suppress(OSError):
                connection.drain_events(timeout=0.5)  # to subscribe
            with pytest.raises(ZeroDivisionError), transaction.atomic():
                tasks.echo.delay("undone")
                raise ZeroDivisionError
            with transaction.atomic():
                result = tasks.echo.delay(1, password="hush")
            while not heard:
                connection.drain_events(timeout=5)
    [event] = heard
    assert (event["uuid"], event["name"], event["queue"]) == (result.id, tasks.echo.name, "default")
    assert (event["args"], event["kwargs"]) == ("[1]", "{'password': '********'}")


def test_what_a_bound_task_sees_of_its_call(stage: Stage) -> None:
    """As in Celery: the fields of `self.request`. `origin` is the platform, whoever made the call."""
    result = tasks.echo.apply_async((1,), {"b": 2})
    seen = stage.get(result)
    assert (seen["args"], seen["kwargs"], seen["id"], seen["root_id"]) == (
        [1],
        {"b": 2},
        result.id,
        result.id,
    )
    assert (seen["correlation_id"], seen["parent_id"], seen["retries"]) == (result.id, None, 0)
    assert (seen["routing_key"], seen["called_directly"], seen["is_eager"]) == ("default", False, False)
    assert (seen["eta"], seen["expires"], seen["group"]) == (None, None, None)
    assert seen["hostname"].startswith("default@")
    assert seen["origin"] == "jadwal"


def test_time_limits_of_a_call(stage: Stage) -> None:
    """As in Celery: they come before the task's own. A call without any has the default ones."""
    seen = stage.get(tasks.echo.apply_async(time_limit=20, soft_time_limit=10))
    assert seen["timelimit"] == [20, 10]
    result = tasks.sleep.apply_async((30,), time_limit=1, task_id="killed-soon")
    Job.objects.filter(id=result.id).update(max_attempts=1)
    assert stage.ended(result).error.startswith("TimeLimitExceeded")
    job = Job.objects.get(id=tasks.add.delay(1, 2).id)
    assert (job.time_limit, job.soft_time_limit) == (3600, 3540)


# --- What ------------------------------------------------------------------------------------------


def test_arguments_are_json_with_dates_uuids_and_decimals(stage: Stage) -> None:
    """As in Celery with JSON: those come back as they were; tuples come back as lists."""
    from datetime import date
    from decimal import Decimal
    from uuid import UUID

    values = [date(2026, 1, 2), Decimal("1.50"), UUID(int=7), {"nested": [1.5, None, True]}, "é\u2028"]
    result = tasks.take_note.apply_async(args=tuple(values))
    stage.ended(result)
    assert stage.notes(result.id, "ran")[0]["args"] == ["2026-01-02", "1.50", str(UUID(int=7)), *values[3:]]


def test_another_serializer_is_not_taken(stage: Stage) -> None:
    """Differs: JSON is the only one. `serializer="pickle"` is not an error, but what JSON cannot hold is."""
    assert stage.get(tasks.add.apply_async((1, 2), serializer="pickle")) == 3
    with pytest.raises((PayloadError, EncodeError)):
        tasks.add.apply_async((object(), 2), serializer="pickle")
    with pytest.raises(PayloadError, match="NUL"):
        tasks.add.delay("a\x00b", 2)


def test_arguments_that_do_not_fit(stage: Stage) -> None:
    """As in Celery: the call raises TypeError, and there is no task."""
    before = Job.objects.count()
    with pytest.raises(TypeError):
        tasks.add.delay(1, 2, 3)
    assert Job.objects.count() == before


# --- Results -----------------------------------------------------------------------------------------------


def test_states_and_results(stage: Stage) -> None:
    """As in Celery: PENDING, SUCCESS, FAILURE; `get` raises; `propagate=False` returns the error.

    An id that nobody used is PENDING, as in Celery. `date_done`, `args` and the worker are extended results.
    """
    good, bad = tasks.add.delay(1, 2), tasks.fail.delay("broken")
    assert stage.get(good) == 3
    assert (good.state, good.result, good.successful(), good.failed(), good.ready()) == (
        "SUCCESS", 3, True, False, True,
    )  # fmt: skip
    assert (good.args, good.worker.partition("@")[0]) == ("[1, 2]", "default")
    assert good.date_done is not None
    with pytest.raises(ValueError, match="broken"):
        stage.get(bad)
    assert (bad.state, str(bad.get(propagate=False)), bad.failed()) == ("FAILURE", "broken", True)
    assert "raise ValueError(text)" in bad.traceback
    assert AsyncResult("nobody-used-this").state == states.PENDING
    with pytest.raises(TimeoutError):
        AsyncResult("nobody-used-this").get(timeout=0.1, interval=0.05)


def test_children_and_forget(stage: Stage) -> None:
    """As in Celery: a task that calls others has them as children. `forget` deletes the result.

    The job stays, until its retention ends.
    """
    result = tasks.spawns.delay()
    child = stage.get(result)
    assert [one.id for one in AsyncResult(result.id).children] == [child]
    assert [value for _, value in AsyncResult(result.id).collect()] == [child, 3]
    assert Job.objects.get(id=child).headers["parent_id"] == result.id
    AsyncResult(result.id).forget()
    assert AsyncResult(result.id).state == "PENDING"
    assert Job.objects.get(id=result.id).status == "completed"


def test_ignore_result(stage: Stage) -> None:
    """As in Celery: of a task or of a call; nothing is stored, and the state stays PENDING.

    The job itself says how it ended, so what was invisible there can be seen here.
    """
    for result in (tasks.quiet.delay(), tasks.add.apply_async((1, 2), ignore_result=True)):
        assert stage.ended(result).status == "completed"
        assert not TaskResult.objects.filter(task_id=result.id).exists()
        assert AsyncResult(result.id).state == "PENDING"


def test_a_call_in_a_transaction_goes_out_with_the_commit(stage: Stage) -> None:
    """Differs: with Celery `delay` sends at once, even if the transaction rolls back (`delay_on_commit` does not).

    `delay_on_commit` works here too.
    """
    with transaction.atomic():
        result = tasks.add.delay(1, 2)
        transaction.set_rollback(True)
    assert not Job.objects.filter(id=result.id).exists()
    with transaction.atomic():
        result = tasks.add.delay(1, 2)
        assert stage.redis.llen("default") == 0
    assert stage.get(result) == 3


# --- In this process -----------------------------------------------------------------------------------


def test_apply_runs_here_and_makes_no_job() -> None:
    """As in Celery: an EagerResult, no worker, no row. Retries happen at once, as `self.retry` asks."""
    result = tasks.add.apply((1, 2))
    assert isinstance(result, EagerResult)
    assert (result.get(), result.state) == (3, "SUCCESS")
    bad = tasks.fail.apply(("here",))
    assert (bad.state, str(bad.result)) == ("FAILURE", "here")
    assert tasks.third_time.apply(("a",)).get() == "a!! after 2"
    assert tasks.add(1, 2) == 3


@pytest.fixture
def eager() -> Iterator[None]:
    current_app.conf.task_always_eager = True
    yield
    current_app.conf.task_always_eager = False


def test_task_always_eager(stage: Stage, eager: None) -> None:
    """As in Celery: `delay` runs the task here; no job is made, so nothing of the platform is in play."""
    before = Job.objects.count()
    result = (tasks.add.s(1, 2) | tasks.add.s(3)).delay()
    assert isinstance(result, EagerResult)
    assert result.get() == 6
    assert Job.objects.count() == before
