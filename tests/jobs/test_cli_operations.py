"""`manage.py queues`, `workers`, `beat_tick` and `canary`; and the canary's way through real processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from datetime import datetime, timedelta
from urllib.parse import urlsplit, urlunsplit

import pytest
import redis as redis_client
from django.conf import settings
from django.db import connection

from jobs.conf import conf
from jobs.engine import attending
from jobs.engine.clock import database_now
from jobs.models import Job, Schedule, Worker
from jobs.rules.states import Status
from tests.jobs.builders import NOON, begin, every, job, worker
from tests.jobs.test_cli_jobs import failed
from tests.jobs.test_cli_runner import NOWHERE, PROJECT, cli, shell

pytestmark = pytest.mark.django_db(transaction=True)


def test_queues(redis: redis_client.Redis) -> None:
    worker()
    now = database_now()
    job(available_at=now - timedelta(seconds=90))
    job(Status.DELAYED, available_at=now + timedelta(days=1))
    begin(job())
    failed(queue="elsewhere")
    redis.lpush("default", "x", "y")
    redis.lpush("default\x06\x163", "urgent")
    items = {item["name"]: item for item in cli("queues", "list", "--json").items}
    assert [*items][: len(settings.QUEUES)] == list(settings.QUEUES)
    default = items["default"]
    assert 90 <= default.pop("oldest_waiting_seconds") < 120
    assert default.pop("workers") >= 1
    assert default == {
        "name": "default", "depth": 3, "waiting": 1, "delayed": 1, "active": 1, "failed": 0, "paused": False,
        "max_active": None, "rate": None,
    }  # fmt: skip
    assert (items["elsewhere"]["failed"], items["elsewhere"]["oldest_waiting_seconds"]) == (1, None)


def test_without_a_broker_the_depth_is_unknown_and_the_rest_is_shown() -> None:
    result = shell("queues", "list", "--json", DATABASE_URL=database_url(), REDIS_URL=NOWHERE["REDIS_URL"])
    assert result.code == 0
    assert {item["depth"] for item in result.items} == {None}
    assert "the broker does not answer" in result.err


@pytest.mark.parametrize("words", [("workers", "ping"), ("canary", "--timeout", "5")])
def test_what_needs_the_broker_exits_5_without_it(words: tuple[str, ...]) -> None:
    result = shell(*words, DATABASE_URL=database_url(), REDIS_URL=NOWHERE["REDIS_URL"])
    assert (result.code, result.out, result.err.count("\n")) == (5, "", 1)
    assert not Schedule.objects.exists()


def test_workers() -> None:
    alive, lost, stopped = worker("a@x"), worker("b@x"), worker("c@x")
    Worker.objects.filter(id=lost).update(heartbeat_at=database_now() - conf().lease - timedelta(seconds=1))
    attending.stop(stopped)
    begin(job(), worker_id=alive)
    items = cli("workers", "list", "--json").items
    assert [(item["name"], item["status"], item["active"]) for item in items] == [
        ("a@x", "alive", 1),
        ("b@x", "lost", 0),
    ]
    assert items[0]["queues"] == ["default"]
    assert len(cli("workers", "list", "--all", "--json").items) == 3


def test_no_worker_answers_a_ping(redis: redis_client.Redis) -> None:
    result = cli("workers", "ping", "--timeout", "0.2s")
    assert (result.code, "No worker answered" in result.err) == (5, True)


def test_beat_tick_does_one_turn_as_of_a_time_and_its_jobs_are_of_that_time(
    redis: redis_client.Redis,
) -> None:
    every(60, "minutely")
    result = cli("beat_tick", "--now", "2026-03-10T12:00:30Z", "--json").json
    assert (result["now"], result["claimed"]) == ("2026-03-10T12:00:30Z", 0)
    assert result["next_at"] == "2026-03-10T12:01:00Z"
    result = cli("beat_tick", "--now", "2026-03-10T12:01:05", "--once", "--json").json
    assert (result["claimed"], result["next_at"]) == (1, "2026-03-10T12:02:00Z")
    born = Job.objects.get()
    assert born.scheduled_for == NOON + timedelta(minutes=1)
    assert born.created_at == born.published_at == NOON + timedelta(minutes=1, seconds=5)
    assert redis.llen("default") == 1
    assert cli("beat_tick", "--now", "2026-03-10T12:01:05").out.startswith("now=2026-03-10T12:01:05Z")
    assert cli("beat_tick", "--now", "noon").code == 2
    assert Job.objects.count() == 1


def test_a_canary_that_nobody_hears_is_lost_in_time_and_leaves_nothing(redis: redis_client.Redis) -> None:
    result = cli("canary", "--queue", "default", "--timeout", "0.3", "--json")
    assert (result.code, result.items[0]["status"]) == (6, "scheduled")
    assert "No beat" in result.err
    assert not Schedule.objects.exists()


def database_url() -> str:
    """The address of this test's database."""
    parts = urlsplit(os.environ["DATABASE_URL"])
    return urlunsplit(parts._replace(path=f"/{connection.settings_dict['NAME']}"))


@pytest.fixture
def line(redis: redis_client.Redis) -> Iterator[None]:
    """A real beat, and a real worker for two of the queues, on this test's servers."""
    environment = {**os.environ, "DATABASE_URL": database_url(), "REDIS_URL": settings.REDIS_URL}
    celery = [sys.executable, "-m", "celery", "-A", "scheduler_project"]
    processes = [
        subprocess.Popen(
            [*celery, *arguments],
            cwd=PROJECT,
            env=environment,
            start_new_session=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        for arguments in (
            ["worker", "-Q", "default,billing", "-c", "1", "-l", "INFO"],
            ["beat", "--pidfile="],
        )
    ]
    yield
    for process in processes:
        os.killpg(process.pid, signal.SIGTERM)
    for process in processes:
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


@pytest.mark.acceptance
def test_through_beat_redis_and_worker(line: None) -> None:
    good = cli("canary", "--queue", "default", "--queue", "billing", "--timeout", "60", "--json")
    assert (good.code, [item["status"] for item in good.items]) == (0, ["completed", "completed"]), good.err
    assert all(item["seconds"] < 30 for item in good.items)
    assert not Schedule.objects.exists()

    lonely = cli("canary", "--queue", "nobody", "--timeout", "3", "--json")
    assert (lonely.code, lonely.items[0]["status"]) == (6, "waiting")
    assert "No worker takes jobs from queue nobody" in lonely.err
    assert Job.objects.get(queue="nobody").status == Status.CANCELLED

    cli(
        "schedules",
        "create",
        "told",
        "--task",
        "jobs.canary",
        "--every",
        "1d",
        "--kwargs",
        '{"note": "hello"}',
    )
    ran = cli("schedules", "run", "told", "--wait", "--timeout", "30s", "--json")
    assert (ran.code, ran.json["result"]["note"]) == (0, "hello")
    assert "canary hello: attempt 1" in cli("jobs", "logs", ran.json["id"]).out

    flags = ("--task", "jobs.canary", "--every", "1d", "--max-attempts", "1")
    cli("schedules", "create", "sad", *flags, "--kwargs", '{"fail": "boom"}')
    ran = cli("schedules", "run", "sad", "--wait", "--timeout", "30s", "--json")
    assert (ran.code, ran.json["status"], ran.json["error"]) == (1, "failed", "CanaryError: boom")
    assert cli("dlq", "list", "--group-by", "exception", "--json").items[0]["exception"] == "CanaryError"

    pinged = cli("workers", "ping", "--timeout", "5s", "--json")
    assert (pinged.code, pinged.items[0]["ok"]) == (0, True)
    assert datetime.fromisoformat(cli("workers", "list", "--json").items[0]["heartbeat_at"])
