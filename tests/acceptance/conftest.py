"""Fixtures of the tests with real processes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import redis as redis_client

from tests.acceptance.line import Line


@pytest.fixture
def line(transactional_db: None, redis: redis_client.Redis, tmp_path: Path) -> Iterator[Line]:
    """A line over an empty database and an empty Redis."""
    with Line(tmp_path) as line:
        yield line
