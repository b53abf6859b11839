"""One beat and one worker for the whole folder: starting them takes longer than all the tests."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import redis as redis_client
from django.conf import settings
from django.db import connection

from tests.compatibility.stage import Stage
from tests.emptying import empty_tables


@pytest.fixture(scope="package")
def transactional_db(django_db_setup: None, django_db_blocker: Any) -> Iterator[None]:
    """The test database for the whole folder; emptied at the end, not after each test.

    It takes the place of pytest-django's fixture, whose name says that the tests need a database.
    """
    with django_db_blocker.unblock():
        yield
        empty_tables()
        connection.close()


@pytest.fixture(scope="package")
def stage(transactional_db: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """The processes over an empty database and an empty Redis.

    The tests share them, so a test looks only at the jobs that it made itself.
    """
    client = redis_client.Redis.from_url(settings.REDIS_URL)
    client.flushdb()
    stage = Stage(tmp_path_factory.mktemp("stage"), client)
    try:
        stage.line.beat()
        stage.worker()
        stage.ready()
        yield stage
    finally:
        stage.line.close()
        client.flushdb()
        client.close()
