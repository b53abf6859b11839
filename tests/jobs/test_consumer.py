"""A worker and a broker that is away for hours: it does not give up, and is back within seconds."""

from __future__ import annotations

import itertools

import pytest
from celery import current_app
from celery.utils.imports import symbol_by_name
from kombu.connection import Connection
from kombu.utils import functional

from jobs.runtime.consumer import RETRY_MOST, DurableConsumer


def test_workers_use_it() -> None:
    assert symbol_by_name(current_app.conf.worker_consumer) is DurableConsumer


def test_it_asks_every_few_seconds_for_as_long_as_it_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    attempts: list[float] = []
    slept: list[float] = []
    monkeypatch.setattr(functional, "sleep", slept.append)

    def establish(self: Connection) -> object:
        attempts.append(sum(slept))
        if len(attempts) < 1_000:
            raise ConnectionRefusedError("not yet")
        return object()

    monkeypatch.setattr(Connection, "_establish_connection", establish)
    monkeypatch.setattr(Connection, "_default_channel", object(), raising=False)
    consumer = DurableConsumer.__new__(DurableConsumer)
    consumer.app, consumer.first_connection_attempt = current_app, False
    broker = Connection("redis://127.0.0.1:1/0")
    assert consumer.ensure_connected(broker) is broker
    assert len(attempts) == 1_000
    pauses = [later - sooner for sooner, later in itertools.pairwise(attempts)]
    assert max(pauses) <= RETRY_MOST <= 5
    assert attempts[-1] > 3_600, "it has been away for more than an hour"
