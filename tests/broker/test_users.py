"""What each service may do in Redis: all that it does, shown with real processes, and no more."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import redis as redis_client
from django.conf import settings
from redis.exceptions import AuthenticationError, NoPermissionError

from jobs.models import Job
from tests.acceptance.line import Line, eventually
from tests.broker.users import SERVICES, UsersRedis, password_of
from tests.unit.test_compose import command_of

pytestmark = pytest.mark.broker_users

WORKERS = {queue: f"worker-{queue}" for queue in settings.QUEUES}
CLIENTS = sorted(
    name for name, service in SERVICES.items() if "@" in service.get("environment", {}).get("REDIS_URL", "")
)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[UsersRedis]:
    server = UsersRedis(tmp_path_factory.mktemp("broker")).start()
    yield server
    server.stop()


@pytest.fixture
def broker(server: UsersRedis) -> UsersRedis:
    """An empty Redis that has refused nothing yet."""
    server.operator.flushall()
    server.refused()
    return server


def user_of(broker: UsersRedis, service: str) -> str:
    return str(urlsplit(broker.url(service)).username)


def test_every_service_that_speaks_to_redis_has_a_user_of_its_own(broker: UsersRedis) -> None:
    assert sorted(["web", "beat", "flower", *WORKERS.values()]) == CLIENTS
    assert len({user_of(broker, service) for service in CLIENTS}) == len(CLIENTS)
    for service in CLIENTS:
        assert broker.of(service).ping()


def test_nobody_comes_in_without_a_password(broker: UsersRedis) -> None:
    with pytest.raises(AuthenticationError):
        broker.client().ping()
    for service in CLIENTS:
        with pytest.raises(AuthenticationError):
            broker.client(user_of(broker, service), password_of("REDIS_PASSWORD")).ping()


def test_redis_keeps_its_data_and_shows_no_password(broker: UsersRedis) -> None:
    info = broker.operator.info()
    assert info["aof_enabled"] == 1
    assert info["maxmemory_policy"] == "noeviction"
    processes = subprocess.run(["ps", "axww"], capture_output=True, text=True, check=True).stdout
    assert password_of("REDIS_PASSWORD") not in processes


@pytest.mark.parametrize("service", CLIENTS)
@pytest.mark.parametrize(
    "command",
    [
        "CONFIG GET requirepass", "CONFIG SET maxmemory 1", "FLUSHALL", "FLUSHDB", "KEYS *", "SCAN 0", "SHUTDOWN",
        "ACL LIST", "ACL SETUSER web on nopass +@all", "CLIENT LIST", "CLIENT KILL TYPE normal",
        "MONITOR", "SAVE", "SCRIPT FLUSH", "REPLICAOF NO ONE", "MODULE LIST", "RENAME billing x", "DEL billing",
        "LTRIM billing 1 0", "LREM billing 0 x", "EXPIRE billing 1", "COPY billing mine", "RPOPLPUSH billing billing",
        "SET billing x", "LPUSH anything x", "GET anything", "PSUBSCRIBE *", "SUBSCRIBE elsewhere",
        "PUBLISH elsewhere x", "SWAPDB 0 1", "MIGRATE 127.0.0.1 1 billing 0 1", "FUNCTION LIST",
    ],
)  # fmt: skip
def test_nobody_may(broker: UsersRedis, service: str, command: str) -> None:
    with pytest.raises(NoPermissionError):
        broker.of(service).execute_command(*command.split())


@pytest.mark.parametrize("service", sorted(WORKERS.values()))
def test_a_worker_takes_from_its_own_queue_and_from_no_other(broker: UsersRedis, service: str) -> None:
    worker = broker.of(service)
    for queue in WORKERS:
        for name in (queue, f"{queue}\x06\x163"):
            if WORKERS[queue] == service:
                worker.lpush(name, "mine")
                assert worker.brpop([name], timeout=1) == (name.encode(), b"mine")
                continue
            for take in ("BRPOP", "RPOP", "LPOP", "LRANGE", "LLEN", "LINDEX", "RPUSH", "DEL"):
                arguments = {"BRPOP": [0], "LRANGE": [0, -1], "LINDEX": [0], "RPUSH": ["x"]}.get(take, [])
                with pytest.raises(NoPermissionError):
                    worker.execute_command(take, name, *arguments)
            with pytest.raises(NoPermissionError):
                worker.eval("return redis.call('rpop', KEYS[1])", 1, name)


@pytest.mark.parametrize("service", sorted({"web", "beat", *WORKERS.values()}))
def test_whoever_makes_jobs_may_publish_to_every_queue(broker: UsersRedis, service: str) -> None:
    for queue in WORKERS:
        for name in (queue, f"{queue}\x06\x166"):
            assert broker.of(service).lpush(name, "hello")
            assert broker.operator.rpop(name) == b"hello"


@pytest.mark.parametrize("service", ["web", "beat", "flower"])
def test_who_runs_no_jobs_takes_none(broker: UsersRedis, service: str) -> None:
    for queue in WORKERS:
        assert broker.of(service).llen(queue) == 0
        for take in (("BRPOP", queue, 0), ("RPOP", queue), ("LPOP", queue), ("LTRIM", queue, 1, 0)):
            with pytest.raises(NoPermissionError):
                broker.of(service).execute_command(*take)


def test_flower_makes_no_jobs(broker: UsersRedis) -> None:
    with pytest.raises(NoPermissionError):
        broker.of("flower").lpush("billing", "x")


# --- The whole of it, by the commands of docker-compose.yml --------------------


@pytest.fixture
def line(
    transactional_db: None, redis: redis_client.Redis, broker: UsersRedis, tmp_path: Path
) -> Iterator[Line]:
    with Line(tmp_path) as line:
        yield line


def run(line: Line, broker: UsersRedis, service: str, **env: str) -> subprocess.Popen[bytes]:
    """Start what docker-compose.yml runs, as the user that it is given."""
    before = dict(line.env)
    line.env |= {"REDIS_URL": broker.url(service), **env}
    try:
        return line.spawn(*command_of(SERVICES[service]))
    finally:
        line.env = before


def manage(line: Line, broker: UsersRedis, service: str, *words: str) -> dict[str, Any]:
    """What `docker compose exec <service> python manage.py ... --json` says."""
    before = dict(line.env)
    line.env |= {"REDIS_URL": broker.url(service)}
    try:
        done = line.manage(*words, timeout=90)
    finally:
        line.env = before
    assert done.returncode == 0, f"{words}: {done.stdout}{done.stderr}"
    return json.loads(done.stdout) if "--json" in words else {"text": done.stdout}


def ready(line: Line, process: subprocess.Popen[bytes]) -> None:
    eventually(lambda: b"ready." in line.log_of(process), 60, lambda: line.tail(process))


def check_health(line: Line, broker: UsersRedis, service: str) -> None:
    """Ask as the container's health check does."""
    _, _, _, *words = SERVICES[service]["healthcheck"]["test"]
    manage(line, broker, service, *words)


@pytest.mark.acceptance
def test_every_service_does_its_work_and_nothing_it_needs_is_refused(line: Line, broker: UsersRedis) -> None:
    workers = {queue: run(line, broker, service) for queue, service in WORKERS.items()}
    run(line, broker, "beat")
    for queue, process in workers.items():
        ready(line, process)
        check_health(line, broker, WORKERS[queue])
    manage(line, broker, "web", "canary", "--timeout", "60")
    pings = manage(line, broker, "web", "workers", "ping", "--json")
    assert len(pings["items"]) == len(WORKERS) + 1, "beat answers, too"
    queues = manage(line, broker, "web", "queues", "list", "--json")
    assert all(item["depth"] == 0 for item in queues["items"])
    check_health(line, broker, "beat")
    found = {item["name"]: item for item in manage(line, broker, "web", "doctor", "--json")["items"]}
    assert found["broker"]["status"] == found["redis clock"]["status"] == "ok"
    assert broker.refused() == []


@pytest.mark.acceptance
def test_a_message_that_redis_lost_is_sent_again_by_beat(line: Line, broker: UsersRedis) -> None:
    run(line, broker, "beat")
    schedule = manage(
        line, broker, "web", "schedules", "create", "one", "--task", "jobs.canary", "--queue", "billing",
        "--every", "365d", "--json",
    )  # fmt: skip
    job = manage(line, broker, "web", "schedules", "run", str(schedule["name"]), "--json")["id"]
    eventually(lambda: broker.operator.llen("billing") == 1, 10)
    broker.operator.flushall()
    eventually(lambda: broker.operator.llen("billing") == 1, 30, lambda: line.tail(line.processes[0]))
    worker = run(line, broker, "worker-billing")
    eventually(lambda: Job.objects.get(id=job).status == "completed", 60, lambda: line.tail(worker))
    assert broker.refused() == []


@pytest.mark.acceptance
def test_a_running_job_is_cancelled_from_the_console_and_flower_sees_it(
    line: Line, broker: UsersRedis
) -> None:
    worker = run(line, broker, "worker-default")
    flower = run(
        line, broker, "flower", FLOWER_BASIC_AUTH="a:b", FLOWER_PERSISTENT="False", FLOWER_DB=os.devnull
    )
    manage(
        line, broker, "web", "schedules", "create", "long", "--task", "jobs.canary", "--kwargs",
        '{"sleep": 300}', "--every", "365d",
    )  # fmt: skip
    job = manage(line, broker, "web", "schedules", "run", "long", "--json")["id"]
    eventually(lambda: Job.objects.get(id=job).status == "active", 60, lambda: line.tail(worker))
    manage(line, broker, "web", "jobs", "cancel", str(job), "--json")
    eventually(lambda: Job.objects.get(id=job).status == "cancelled", 30, lambda: line.tail(worker))
    assert b"Visit me at" in line.log_of(flower), line.tail(flower)
    assert broker.refused() == []
