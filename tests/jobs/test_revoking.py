"""`app.control.revoke` in this process: what it does to the rows, and when workers are told."""

from __future__ import annotations

from typing import Any

import pytest
import redis as redis_client
from celery import current_app, group
from celery.app.control import Control
from django.db import transaction

from jobs.engine import cancelling
from jobs.engine.cancelling import Order
from jobs.models import Job
from tests.jobs import tasks
from tests.jobs.builders import begin

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def told(redis: redis_client.Redis, monkeypatch: pytest.MonkeyPatch) -> list[Order]:
    """What workers are told, instead of telling them."""
    orders: list[Order] = []
    monkeypatch.setattr(cancelling, "broadcast", orders.append)
    return orders


def test_pending_jobs_are_cancelled_and_workers_told(told: list[Order]) -> None:
    waiting, delayed = tasks.add.delay(1, 2), tasks.add.apply_async((1, 2), countdown=60)
    current_app.control.revoke([waiting.id, delayed.id], destination=["w@test"])
    assert {job.status for job in Job.objects.all()} == {"cancelled"}
    assert told == [Order([waiting.id, delayed.id], False, "SIGTERM", ["w@test"])]


def test_a_running_job_is_asked_to_stop_with_terminate_only(told: list[Order]) -> None:
    result = tasks.add.delay(1, 2)
    begin(Job.objects.get())
    result.revoke()
    assert Job.objects.get().cancel_requested_at is None
    result.revoke(terminate=True, signal="SIGUSR1")
    assert Job.objects.get().cancel_requested_at is not None
    assert told[1] == Order([result.id], True, "SIGUSR1")


def test_it_is_part_of_the_callers_transaction(told: list[Order]) -> None:
    result = group(tasks.add.s(n, n) for n in range(3)).apply_async()
    with transaction.atomic():
        result.revoke()
        assert told == []
        transaction.set_rollback(True)
    assert {job.status for job in Job.objects.all()} == {"waiting"}
    assert told == []
    result.revoke()
    assert {job.status for job in Job.objects.all()} == {"cancelled"}
    assert len(told) == 1


def test_who_wants_answers_has_workers_told_at_once(
    told: list[Order], monkeypatch: pytest.MonkeyPatch
) -> None:
    answers: list[dict[str, Any]] = [{"w@test": {"ok": "tasks flagged as revoked"}}]
    monkeypatch.setattr(Control, "broadcast", lambda *args, **kwargs: answers)
    result = tasks.add.delay(1, 2)
    assert current_app.control.revoke(result.id, reply=True) == answers
    assert (Job.objects.get().status, told) == ("cancelled", [])


def test_pending_jobs_with_a_stamp_are_cancelled(monkeypatch: pytest.MonkeyPatch) -> None:
    heard: list[Any] = []
    monkeypatch.setattr(Control, "broadcast", lambda self, command, **kwargs: heard.append(command))

    def stamped(**stamps: Any) -> str:
        sig = tasks.add.s(1, 2)
        sig.stamp(**stamps)
        return str(sig.delay().id)

    ours = {stamped(tenant="acme"), stamped(tenant=["acme", "other"])}
    stamped(tenant="another"), stamped(colour="acme"), tasks.add.delay(1, 2)
    current_app.control.revoke_by_stamped_headers({"tenant": ["acme"]})
    assert set(Job.objects.filter(status="cancelled").values_list("id", flat=True)) == ours
    assert heard == ["revoke_by_stamped_headers"]
