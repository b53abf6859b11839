"""The register of beats: a beat says that it turns, what Redis did not take from it, and goodbye."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from datetime import timedelta

import pytest
import redis as redis_client
from celery import current_app
from django.db import connection
from django.test.utils import CaptureQueriesContext

from jobs.conf import conf
from jobs.engine import beats, pruning, recovering, ticking
from jobs.engine.clock import database_now
from jobs.engine.doorbell import MUTE_SECONDS, doorbell
from jobs.insight import beats as register
from jobs.insight import doctoring
from jobs.insight.broker import Seen
from jobs.models import Beat
from jobs.runtime import beat as runtime
from jobs.runtime.beat import DurableScheduler
from tests.jobs.builders import job, turning_beat

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def scheduler(redis: redis_client.Redis, monkeypatch: pytest.MonkeyPatch) -> Iterator[DurableScheduler]:
    """A beat in this process, that does not wait between its turns."""
    monkeypatch.setattr(runtime, "POLL_SECONDS", 0.0)
    scheduler = DurableScheduler(current_app)
    yield scheduler
    scheduler.close()


def time_passes(monkeypatch: pytest.MonkeyPatch, scheduler: DurableScheduler) -> None:
    """As if a heartbeat interval were over."""
    assert scheduler.pulse.last is not None
    monkeypatch.setattr(scheduler.pulse, "last", scheduler.pulse.last - conf().heartbeat.total_seconds())


def test_a_beat_registers_turns_and_says_goodbye(
    scheduler: DurableScheduler, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not Beat.objects.exists(), "Celery's banner makes one that never turns"
    scheduler.tick()
    row = Beat.objects.get()
    assert (row.host, row.pid, row.name) == (
        socket.gethostname(), os.getpid(), f"{socket.gethostname()}:{os.getpid()}",
    )  # fmt: skip
    assert (row.turns, row.publish_failures, row.last_error, row.stopped_at) == (0, 0, "", None)
    scheduler.tick()
    scheduler.tick()
    time_passes(monkeypatch, scheduler)
    scheduler.tick()
    again = Beat.objects.get()
    assert (again.turns, again.started_at) == (3, row.started_at)
    assert again.heartbeat_at > row.heartbeat_at
    scheduler.close()
    stopped = Beat.objects.get().stopped_at
    assert stopped is not None
    scheduler.close()
    assert Beat.objects.get().stopped_at == stopped, "once"


def test_it_writes_once_in_a_heartbeat_interval(scheduler: DurableScheduler) -> None:
    with CaptureQueriesContext(connection) as first:
        scheduler.tick()
    with CaptureQueriesContext(connection) as second:
        scheduler.tick()
    written = [sum("INSERT INTO jobs_beat" in one["sql"] for one in found) for found in (first, second)]
    assert written == [1, 0]


def test_what_redis_does_not_take_is_reported(
    scheduler: DurableScheduler, redis: redis_client.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    scheduler.tick()
    before = doorbell.failures
    job(available_at=database_now())
    monkeypatch.setattr(recovering, "reconcile", lambda now: _publish_while_full(redis))
    scheduler.ticker.last.clear()
    scheduler.tick()
    assert doorbell.failures == before + 1
    assert doorbell.is_muted()
    time_passes(monkeypatch, scheduler)
    scheduler.tick()
    row = Beat.objects.get()
    assert row.publish_failures == doorbell.failures
    assert row.last_error == "OutOfMemoryError: command not allowed when used memory > 'maxmemory'."
    assert row.last_error_at is not None
    time_passes(monkeypatch, scheduler)
    scheduler.tick()
    assert Beat.objects.get().last_error_at == row.last_error_at, "it is not news any more"
    assert MUTE_SECONDS <= 2, "callers must not wait long for a Redis that is back"


def _publish_while_full(redis: redis_client.Redis) -> int:
    from jobs.engine.dispatching import messages_for, publish
    from jobs.models import Job

    redis.config_set("maxmemory", 1)
    try:
        assert not publish(messages_for(Job.objects.values_list("id", flat=True)))
    finally:
        redis.config_set("maxmemory", 0)
    return 0


def test_a_turn_that_fails_is_reported(scheduler: DurableScheduler, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(now: object) -> int:
        raise ValueError("something is wrong")

    monkeypatch.setattr(ticking, "look_around", fails)
    scheduler.tick()
    time_passes(monkeypatch, scheduler)
    scheduler.tick()
    row = Beat.objects.get()
    assert (row.last_error, row.turns) == ("A turn failed: ValueError: something is wrong", 0)


def test_the_doctor_tells_of_trouble_and_of_a_redis_that_is_full() -> None:
    assert doctoring._publishing(database_now()).status == "ok"
    turning_beat(failures=2, error="OutOfMemoryError: full")
    turning_beat("other")
    found = doctoring._publishing(database_now())
    assert (found.status, found.sentence) == (
        "warn",
        "1 scheduler(s) had trouble lately: OutOfMemoryError: full. "
        "2 publish(es) were not taken since they started.",
    )
    Beat.objects.update(last_error_at=database_now() - register.RECENT)
    assert doctoring._publishing(database_now()).status == "ok", "that is long ago"
    for used, most, status in ((10, 0, "ok"), (89, 100, "ok"), (95, 100, "warn"), (101, 100, "fail")):
        assert doctoring._room(Seen("7", database_now(), "noeviction", used, most)).status == status


def test_documents() -> None:
    alive, lost, gone = (
        turning_beat("alive"),
        turning_beat("lost", failures=1, error="x"),
        turning_beat("gone"),
    )
    Beat.objects.filter(id=lost).update(heartbeat_at=database_now() - conf().lease)
    beats.stop(gone)
    found = {one["host"]: one for one in register.documents(database_now())}
    assert {name: one["status"] for name, one in found.items()} == {"alive": "alive", "lost": "lost"}
    assert (found["lost"]["publish_failures"], found["lost"]["last_error"]) == (1, "x")
    assert [beat.id for beat in register.alive(database_now())] == [alive]


def test_old_rows_are_pruned() -> None:
    old, young = turning_beat("old"), turning_beat("young")
    beats.stop(old)
    week = timedelta(days=7)
    Beat.objects.filter(id=old).update(heartbeat_at=database_now() - week, stopped_at=database_now() - week)
    Beat.objects.filter(id=young).update(heartbeat_at=database_now() - week + timedelta(hours=1))
    pruning.prune(database_now())
    assert [beat.id for beat in Beat.objects.all()] == [young]
