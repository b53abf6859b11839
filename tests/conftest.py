"""Fixtures that every test may use."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from zoneinfo import ZoneInfo

import pytest
import redis as redis_client
from celery import current_app
from django.conf import settings
from django.core.signals import setting_changed
from django.dispatch import receiver
from django_celery_beat.models import CrontabSchedule
from kombu import pools

from jobs.conf import conf
from jobs.engine.doorbell import doorbell
from jobs.engine.registry import load_tasks
from tests import emptying

emptying.install()


@pytest.fixture(scope="session", autouse=True)
def _tasks() -> None:
    """The tasks of the project are registered, as in a worker, whichever test comes first."""
    load_tasks()


@receiver(setting_changed)
def _settings_are_read_again(setting: str, **_: object) -> None:
    """What a test sets is in force, as after a restart; and so is what was before it."""
    if setting == "JADWAL":
        conf.cache_clear()


@pytest.fixture(autouse=True)
def _zones_are_those_of_now() -> Iterator[None]:
    """A comparison of zone data forgets all zones; a form takes a zone that is, and not equals, one of its choices."""
    yield
    field: Any = CrontabSchedule._meta.get_field("timezone")
    if any(ZoneInfo(str(zone)) is not zone for zone, _ in field.choices[:1]):
        field.choices = [(ZoneInfo(str(zone)), label) for zone, label in field.choices]


def forget_connections() -> None:
    """Let this process connect anew: an earlier test may have left a connection in the middle of an answer."""
    pools.reset()  # all of them: one that is closed and still known would refuse the tests that follow
    current_app._pool = current_app.amqp._producer_pool = None
    doorbell.hang_up()


@pytest.fixture
def redis() -> Iterator[redis_client.Redis]:
    """This test's Redis, empty at the start."""
    client = redis_client.Redis.from_url(settings.REDIS_URL)
    client.flushdb()
    doorbell.unmute()
    doorbell.failures, doorbell.trouble = 0, ""
    forget_connections()
    yield client
    client.flushdb()
    client.close()
