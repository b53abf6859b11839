"""`app.control`: revoking and inspecting."""

from __future__ import annotations

import pytest
from celery import current_app, group
from celery.exceptions import TaskRevokedError
from django.db import transaction

from jobs.models import Job
from tests.compatibility import tasks
from tests.compatibility.stage import Stage

pytestmark = pytest.mark.acceptance

control = current_app.control


# --- Revoking ----------------------------------------------------------------------------------------------


def test_a_pending_task_is_revoked(stage: Stage) -> None:
    """As in Celery: it does not run, and its result is REVOKED.

    Celery's workers only remember the id, and forget it with a restart. Here the job is cancelled at once,
    whether or not a worker listens.
    """
    result = tasks.take_note.apply_async(queue="compat.nobody")
    result.revoke()
    job = stage.ended(result, 3)
    assert (job.status, job.reason, result.state) == ("cancelled", "cancelled", "REVOKED")
    with pytest.raises(TaskRevokedError):
        stage.get(result, 3)


def test_a_task_with_a_countdown_is_revoked(stage: Stage) -> None:
    """As in Celery, but at once and not at its time."""
    result = tasks.take_note.apply_async(countdown=3600)
    control.revoke(result.id)
    assert stage.ended(result, 3).status == "cancelled"
    assert result.state == "REVOKED"


def test_a_running_task_is_not_stopped_without_terminate(stage: Stage) -> None:
    """As in Celery."""
    result = tasks.sleep.delay(1)
    stage.until(lambda: stage.notes(result.id, "began"))
    result.revoke()
    assert stage.get(result) == "slept"


@pytest.mark.parametrize("signal", ["SIGTERM", "SIGKILL"])
def test_a_running_task_is_terminated(stage: Stage, signal: str) -> None:
    """As in Celery: its process gets a signal, the result is REVOKED, `task_revoked` is sent. It never runs again."""
    result = tasks.sleep.delay(60)
    stage.until(lambda: stage.notes(result.id, "began"))
    result.revoke(terminate=True, signal=signal)
    job = stage.ended(result)
    assert (job.status, [attempt.outcome for attempt in job.attempts.all()]) == ("cancelled", ["cancelled"])
    stage.until(lambda: result.state == "REVOKED", 3)
    [noted] = stage.until(lambda: stage.notes(result.id, "task_revoked"))
    assert (noted["terminated"], noted["expired"]) == ("True", "False")
    assert "ended" not in stage.events(result.id)


def test_a_group_is_revoked(stage: Stage) -> None:
    """As in Celery: `GroupResult.revoke` revokes every member."""
    result = group(tasks.take_note.si().set(countdown=3600) for _ in range(3)).apply_async()
    result.revoke()
    for child in result.children:
        assert stage.ended(child, 3).status == "cancelled"


def test_revoking_in_a_transaction(stage: Stage) -> None:
    """Not in Celery: revoking is part of the caller's transaction, like calling."""
    result = tasks.take_note.apply_async(countdown=3600)
    with transaction.atomic():
        result.revoke()
        transaction.set_rollback(True)
    assert Job.objects.get(id=result.id).status == "delayed"
    result.revoke()
    assert stage.ended(result, 3).status == "cancelled"


def test_revoking_by_a_stamped_header(stage: Stage) -> None:
    """As in Celery: tasks with that stamp do not start."""
    sig = tasks.take_note.si()
    sig.stamp(tenant="revoked-tenant")
    control.revoke_by_stamped_headers({"tenant": ["revoked-tenant"]})
    result = sig.delay()
    assert stage.ended(result).status == "cancelled"
    assert "ran" not in stage.events(result.id)


# --- Inspecting --------------------------------------------------------------------------------------------


def test_inspect(stage: Stage) -> None:
    """As in Celery: ping, registered, active, stats. What waits is not in a worker: see `queues list`."""
    [(node, reply)] = control.inspect(timeout=2).ping().items()
    assert reply == {"ok": "pong"}
    assert control.ping(timeout=2) == [{node: {"ok": "pong"}}]
    inspect = control.inspect([node], timeout=2)
    assert {"compat.add", "jobs.canary"} <= set(inspect.registered()[node])
    result = tasks.sleep.delay(3)
    stage.until(lambda: stage.notes(result.id, "began"))
    [active] = [one for one in inspect.active()[node] if one["id"] == result.id]
    assert (active["name"], active["hostname"]) == ("compat.sleep", node)
    assert inspect.query_task(result.id)[node][result.id][0] == "active"
    assert inspect.scheduled() == {node: []}
    assert inspect.active_queues()[node][0]["name"] == "default"
    assert inspect.stats()[node]["pool"]["max-concurrency"] == 3
    result.revoke(terminate=True)
    stage.ended(result)


def test_arguments_in_inspect_are_a_short_text(stage: Stage) -> None:
    """Differs: messages carry no arguments, so `args` is empty. `jobs show ID` has them."""
    result = tasks.sleep.delay(3)
    stage.until(lambda: stage.notes(result.id, "began"))
    [(_, running)] = control.inspect(timeout=2).active().items()
    [active] = [one for one in running if one["id"] == result.id]
    assert active["args"] == []
    result.revoke(terminate=True)
    stage.ended(result)


def test_reserved_is_empty(stage: Stage) -> None:
    """Differs: workers do not prefetch. A job that waits, waits in its queue, where every worker can take it."""
    results = [tasks.sleep.delay(2) for _ in range(5)]
    stage.until(lambda: sum(bool(stage.notes(one.id, "began")) for one in results) == 3)
    [(_, reserved)] = control.inspect(timeout=2).reserved().items()
    running = {one.id for one in results if stage.notes(one.id, "began")}
    assert {one["id"] for one in reserved} <= running
    for one in results:
        one.revoke(terminate=True)
        stage.ended(one)


def test_settings_of_a_running_worker(stage: Stage) -> None:
    """As in Celery: rate limits, time limits, and the size of the pool can be changed from outside."""
    assert list(control.rate_limit("compat.quiet", "100/s", reply=True, timeout=2)[0].values())[0]["ok"]
    assert list(control.time_limit("compat.quiet", hard=60, soft=30, reply=True, timeout=2)[0].values())[0][
        "ok"
    ]
    assert list(control.pool_grow(1, reply=True, timeout=2)[0].values())[0]["ok"]
    assert list(control.pool_shrink(1, reply=True, timeout=2)[0].values())[0]["ok"]
