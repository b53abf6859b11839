"""`manage.py queues pause|resume|limit|purge`: who may go, and nothing lost by it."""

from __future__ import annotations

from typing import Any

import pytest
import redis as redis_client

from jobs.engine import executing, lifecycle, limiting
from jobs.engine.clock import database_now
from jobs.engine.executing import Execution
from jobs.engine.records import Fence
from jobs.models import Job, Limit
from jobs.rules.states import Status
from tests.jobs.builders import begin, job, minutes, worker
from tests.jobs.test_cli_runner import cli

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.semantics(24)]


@pytest.fixture(autouse=True)
def _redis(redis: redis_client.Redis) -> None:
    """Jobs are published somewhere."""


def listed(name: str = "default") -> dict[str, Any]:
    items = cli("queues", "list", "--json").items
    return next(item for item in items if item["name"] == name)


def starts(row: Job) -> bool:
    tried = executing.begin(
        Fence(row.id, 1),
        task=row.task,
        queue=row.queue,
        worker_id=worker(),
        default_limit=60,
        default_max_attempts=5,
    )
    return isinstance(tried, Execution)


def test_a_paused_queue_starts_nothing_and_loses_nothing() -> None:
    row = job()
    paused = cli("queues", "pause", "default", "--json")
    assert (paused.code, paused.json["paused"]) == (0, True)
    assert not starts(row)
    assert (listed()["paused"], listed()["delayed"]) == (True, 1)
    assert "was paused before" in cli("queues", "pause", "default").err
    resumed = cli("queues", "resume", "default", "--json")
    assert (resumed.code, resumed.json["paused"]) == (0, False)
    assert limiting.release(database_now()) == 1
    assert starts(row)
    assert not Limit.objects.exists()
    assert "was not paused" in cli("queues", "resume", "default").err


def test_limits_are_set_shown_and_taken_back() -> None:
    shown = cli("queues", "limit", "default", "--max-active", 1, "--rate", "2.5", "--json").json
    assert (shown["max_active"], shown["rate"]) == (1, 2.5)
    assert starts(job())
    assert not starts(job())
    assert cli("queues", "limit", "default", "--rate", "none", "--json").json["max_active"] == 1
    assert "1 active" in cli("queues", "list").out
    gone = cli("queues", "limit", "default", "--none", "--json").json
    assert (gone["max_active"], gone["rate"]) == (None, None)
    assert not Limit.objects.exists()


def test_limiting_a_paused_queue_does_not_let_it_go() -> None:
    cli("queues", "limit", "default", "--max-active", 4)
    cli("queues", "pause", "default")
    assert (listed()["paused"], listed()["max_active"]) == (True, 4)
    cli("queues", "limit", "default", "--max-active", 7)
    assert (listed()["paused"], listed()["max_active"]) == (True, 7)
    assert not starts(job())
    cli("queues", "resume", "default")
    assert (listed()["paused"], listed()["max_active"]) == (False, 7)


@pytest.mark.parametrize(
    "flags", [(), ("--none", "--rate", "1"), ("--max-active", "0"), ("--rate", "0"), ("--rate", "nan")]
)
def test_what_makes_no_limit(flags: tuple[str, ...]) -> None:
    assert cli("queues", "limit", "default", *flags).code == 2
    assert not Limit.objects.exists()


def test_purge_counts_asks_and_takes_only_what_waits() -> None:
    running = begin(job())
    later = job(Status.DELAYED, available_at=database_now() + minutes(60))
    other = job(queue="billing")
    waiting = [job() for _ in range(3)]
    held = job()
    lifecycle.defer(held.id, attempt=1, hold="concurrency")
    asked = cli("queues", "purge", "default")
    assert (asked.code, "cancels 4 waiting job(s)" in asked.err, "--yes" in asked.err) == (2, True, True)
    done = cli("queues", "purge", "default", "--yes", "--json")
    assert (done.code, done.json) == (0, {"queue": "default", "cancelled": 4})
    statuses = dict(Job.objects.values_list("id", "status"))
    assert {statuses[row.id] for row in [*waiting, held]} == {"cancelled"}
    assert [statuses[key] for key in (running.started.job_id, later.id, other.id)] == [
        "active", "delayed", "waiting",
    ]  # fmt: skip
    assert cli("queues", "purge", "default", "--json").json["cancelled"] == 0
