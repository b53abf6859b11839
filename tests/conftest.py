"""Fixtures that every test may use."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import redis as redis_client
from django.conf import settings

from jobs.engine.dispatching import doorbell
from jobs.engine.registry import load_tasks


@pytest.fixture(scope="session", autouse=True)
def _tasks() -> None:
    """The tasks of the project are registered, as in a worker, whichever test comes first."""
    load_tasks()


@pytest.fixture
def redis() -> Iterator[redis_client.Redis]:
    """This test's Redis, empty at the start."""
    client = redis_client.Redis.from_url(settings.REDIS_URL)
    client.flushdb()
    doorbell.unmute()
    yield client
    client.flushdb()
    client.close()
