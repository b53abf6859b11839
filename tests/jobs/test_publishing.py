"""What a call owes to the broker: a message is sent and not waited for, and trouble is found out later."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import redis as redis_client
from django.db import connection, transaction
from hypothesis import given
from hypothesis import strategies as st

from jobs.engine import recovering
from jobs.engine.clock import database_now
from jobs.engine.dispatching import Message, messages_for, publish
from jobs.engine.doorbell import doorbell
from jobs.models import Job
from tests.acceptance.line import eventually
from tests.jobs import tasks
from tests.jobs.builders import minutes

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def full(redis: redis_client.Redis) -> Iterator[redis_client.Redis]:
    """A Redis that takes no more."""
    tasks.add.delay(0, 0)  # so that there is a connection
    redis.config_set("maxmemory", 1)
    yield redis
    redis.config_set("maxmemory", 0)


def waiting(client: redis_client.Redis) -> int:
    return int(client.llen("default"))


def test_what_the_broker_says_against_a_message_is_found_out_by_the_next(full: redis_client.Redis) -> None:
    before = doorbell.failures
    tasks.add.delay(1, 1)
    assert doorbell.failures == before
    tasks.add.delay(2, 2)
    assert (doorbell.failures, doorbell.is_muted()) == (before + 1, True)
    assert "maxmemory" in doorbell.trouble
    assert Job.objects.filter(status="waiting").count() == 3, "no caller has lost anything"
    full.config_set("maxmemory", 0)
    doorbell.unmute()
    assert recovering.reconcile(database_now() + minutes(5)) == 2
    assert waiting(full) == 3


def test_who_waits_is_told_at_once(full: redis_client.Redis) -> None:
    before = doorbell.failures
    job = Job.objects.get()
    assert not publish(messages_for([job.id]))
    assert doorbell.failures == before + 1


def test_a_connection_that_the_broker_has_closed_loses_nothing(redis: redis_client.Redis) -> None:
    before = doorbell.failures
    for number in range(1, 4):
        tasks.add.delay(number, number)
        assert waiting(redis) == number
        hang_up_on_others(redis)
    assert doorbell.failures == before


def hang_up_on_others(client: redis_client.Redis) -> None:
    """Close what else is connected to this test's database; the server has those of other tests too."""
    mine, own = str(client.get_connection_kwargs()["db"]), str(client.client_id())
    others = [
        one["id"] for one in client.client_list(_type="normal") if one["db"] == mine and one["id"] != own
    ]
    assert others
    for one in others:
        client.client_kill_filter(_id=one)


def test_threads_have_connections_of_their_own(redis: redis_client.Redis) -> None:
    def call(number: int) -> None:
        for _ in range(25):
            tasks.add.delay(number, number)
        connection.close()

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(call, range(4)))
    eventually(lambda: waiting(redis) == 100, 5)
    found = redis.lrange("default", 0, -1)
    assert len(set(found)) == 100
    assert 1 <= len(doorbell.line().idle) <= 4


NAMES = st.sampled_from(["shop.tasks.pay", "100% %s %(id)s", 'quo"te\\', "\u20ac\U0001f600", ""])
LIMITS = st.sampled_from([None, 1, 1.0, True, 2.5])


@given(
    job_id=st.text(),
    attempt=st.integers(1, 3),
    task=NAMES,
    queue=NAMES,
    priority=st.none() | st.integers(0, 9),
    retries=st.integers(0, 2),
    time_limit=LIMITS,
    soft_time_limit=LIMITS,
    argsrepr=st.text(),
    kwargsrepr=st.text(),
    headers=st.sampled_from([{}, {"group": "g"}, {"ignore_result": True}]),
)
def test_an_envelope_is_the_same_whether_its_text_was_kept_or_not(**said: Any) -> None:
    message = Message(**said)
    whole = message._text().encode()
    assert message.envelope() == whole == message.envelope()


def test_a_call_in_a_transaction_sends_when_that_commits(redis: redis_client.Redis) -> None:
    with transaction.atomic():
        tasks.add.delay(1, 1)
        tasks.add.delay(2, 2)
        assert waiting(redis) == 0
    eventually(lambda: waiting(redis) == 2, 5)
