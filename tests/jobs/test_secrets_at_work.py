"""A secret that a task is given is in no table, no log, no file and no message: whatever the task does with it."""

from __future__ import annotations

import base64
import json
import logging
import re
import socket
import threading
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import redis as redis_client
from celery import chain, current_app
from celery.result import AsyncResult
from django.conf import settings
from django.db import connection
from django_celery_results.models import TaskResult

from jobs.engine import attending, dispatching
from jobs.engine.clock import database_now
from jobs.models import Job, JobLog
from jobs.runtime import identity, logs
from tests.acceptance.line import Line, eventually
from tests.jobs import secret_tasks
from tests.jobs.test_cli_runner import cli
from tests.jobs.test_executing import drain, run_next

pytestmark = pytest.mark.django_db(transaction=True)

SECRET = 'p"w/d of the\ttests é'
"""With what JSON, repr and URLs write in their own ways."""
PEM = "-----BEGIN PRIVATE KEY-----\n" + "\n".join(f"line{n}" + "kQ7" * 18 for n in range(4))
TOKEN, KEY = {"$secret": "TOKEN"}, {"$secret": "KEY"}


@pytest.fixture
def worker(redis: redis_client.Redis, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """This process is a worker that has the secrets."""
    monkeypatch.setenv("JADWAL_SECRET_TOKEN", SECRET)
    monkeypatch.setenv("JADWAL_SECRET_KEY", PEM)
    worker_id = identity.new_worker_id()
    attending.register(
        worker_id, name="w@test", host="test", pid=1, queues=["default"], concurrency=1, tasks=[]
    )
    before = logging.getLogger().handlers[:]
    logs.capture()
    yield
    logging.getLogger().handlers[:] = before


def traces(text: str) -> list[str]:
    """The forms of the secrets that a text contains."""
    shapes = {SECRET, SECRET[:9], repr(SECRET)[1:-1], json.dumps(SECRET)[1:-1], *PEM.splitlines()[1:]}
    return sorted(shape for shape in shapes if shape in text or shape.replace("\\", "\\\\") in text)


def in_the_database() -> dict[str, list[str]]:
    """Every table with a trace of a secret in any column of any row."""
    found = {}
    with connection.cursor() as cursor:
        for table in connection.introspection.table_names(cursor):
            cursor.execute(f'SELECT to_jsonb(t)::text FROM "{table}" AS t')
            found[table] = traces("\n".join(text for (row,) in cursor for text in texts(json.loads(row))))
    return {table: shapes for table, shapes in found.items() if shapes}


def texts(value: Any) -> Iterator[str]:
    """Every text in a JSON value, keys included."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        yield from value
        yield from (text for item in value.values() for text in texts(item))
    elif isinstance(value, list):
        yield from (text for item in value for text in texts(item))


def in_redis(client: redis_client.Redis) -> list[str]:
    """Lists whose items show a secret: messages are lists."""
    keys = [key for key in client.scan_iter() if client.type(key) == b"list"]
    return [key for key in keys if traces("\n".join(map(repr, client.lrange(key, 0, -1))))]


def is_clean(client: redis_client.Redis) -> None:
    assert in_the_database() == {}
    assert in_redis(client) == []


def only_job() -> Job:
    return Job.objects.get()


# --- What a task may do with it --------------------


def test_the_oracle_finds_a_secret_in_every_form(redis: redis_client.Redis) -> None:
    Job.objects.create(
        id="x", task="t", queue="q", trigger="action", status="waiting", kwargs={"a": SECRET, "b": [PEM]}
    )
    JobLog.objects.create(
        job_id="x", attempt=1, level=20, logger="", content=repr(SECRET), logged_at=database_now()
    )
    redis.lpush("default", json.dumps({"x": SECRET}))
    assert set(in_the_database()) == {"jobs_job", "jobs_joblog"}
    assert in_redis(redis) == [b"default"]


def test_the_task_is_given_the_value(worker: None, redis: redis_client.Redis, tmp_path: Path) -> None:
    secret_tasks.keep.delay(str(tmp_path / "out"), TOKEN, more={"deep": [KEY]})
    run_next(redis)
    assert only_job().status == "completed", only_job().error
    given = (tmp_path / "out").read_text().split()
    assert given == [secret_tasks.digest(SECRET), secret_tasks.digest({"deep": [PEM]})]
    is_clean(redis)


def test_what_it_logs_is_masked_line_by_line(
    worker: None, redis: redis_client.Redis, capsys: pytest.CaptureFixture[str]
) -> None:
    secret_tasks.logs_it.delay(TOKEN)
    secret_tasks.logs_it.delay(KEY)
    drain(redis)
    lines = list(JobLog.objects.order_by("id").values_list("content", flat=True))
    assert "the value is ********" in lines
    assert "in a list: ['********', {'a': '********'}]" in lines
    assert any(line.startswith("with its traceback\nTraceback") for line in lines)
    assert any("ValueError: ********" in line for line in lines)
    is_clean(redis)


@pytest.mark.parametrize("how", ["plain", "cause", "attribute", "permanent", "group", "note"])
@pytest.mark.parametrize("reference", [TOKEN, KEY], ids=["token", "key"])
def test_what_it_raises_is_masked(
    worker: None, redis: redis_client.Redis, reference: Any, how: str, caplog: pytest.LogCaptureFixture
) -> None:
    secret_tasks.raises_it.delay(reference, how)
    run_next(redis)
    job = only_job()
    assert job.status == "failed"
    assert "raises_it" in job.attempts.get().traceback
    if how in ("plain", "attribute", "permanent"):
        assert "********" in job.error
    assert TaskResult.objects.get().status == "FAILURE"
    is_clean(redis)


def test_what_it_returns_is_stored_with_references(worker: None, redis: redis_client.Redis) -> None:
    result = secret_tasks.returns_it.delay(TOKEN)
    run_next(redis)
    assert result.get(timeout=1) == {"same": TOKEN, "inside": "<********>", "list": [TOKEN]}
    is_clean(redis)


def test_a_retry_keeps_the_reference(worker: None, redis: redis_client.Redis, tmp_path: Path) -> None:
    path = tmp_path / "out"
    secret_tasks.retries_with_it.delay(str(path), TOKEN)
    run_next(redis)
    job = only_job()
    assert (job.status, job.args) == ("delayed", [str(path), TOKEN])
    assert job.error == "ValueError: busy: ********"
    is_clean(redis)
    dispatching.promote_due(job.available_at + timedelta(seconds=1))
    run_next(redis)
    assert only_job().status == "completed"
    assert {line.split()[0] for line in path.read_text().splitlines()} == {secret_tasks.digest(SECRET)}


def test_what_it_calls_gets_the_reference(worker: None, redis: redis_client.Redis, tmp_path: Path) -> None:
    path = tmp_path / "out"
    secret_tasks.passes_it_on.delay(str(path), TOKEN)
    run_next(redis)
    follower = Job.objects.exclude(task="tests.passes_it_on").get()
    assert (follower.args, follower.kwargs) == ([str(path), TOKEN], {"more": "and ********"})
    run_next(redis)
    assert path.read_text().split()[0] == secret_tasks.digest(SECRET)
    is_clean(redis)


def test_the_next_step_of_a_chain_gets_the_reference(
    worker: None, redis: redis_client.Redis, tmp_path: Path
) -> None:
    path = str(tmp_path / "out")
    chain(secret_tasks.returns_it.s(TOKEN), secret_tasks.keep.s(str(path), more=TOKEN)).apply_async()
    drain(redis)
    step = Job.objects.get(task="tests.keep")
    assert step.args[0] == {"same": TOKEN, "inside": "<********>", "list": [TOKEN]}
    assert step.kwargs == {"more": TOKEN}
    is_clean(redis)


def test_a_secret_that_is_not_here_fails_the_job_and_the_task_is_not_entered(
    worker: None, redis: redis_client.Redis, tmp_path: Path
) -> None:
    result = secret_tasks.keep.delay(str(tmp_path / "out"), {"$secret": "ELSEWHERE"})
    run_next(redis)
    job = only_job()
    assert (job.status, job.reason, job.attempts.count()) == ("failed", "permanent", 1)
    assert job.error == (
        "Permanent: There is no secret named ELSEWHERE here: set it in the environment of this worker, "
        "or give it a file with its name."
    )
    assert not (tmp_path / "out").exists()
    assert isinstance(AsyncResult(result.id).result, Exception), "who waits for it is told"


def test_arguments_with_telling_names_are_masked_in_texts(worker: None, redis: redis_client.Redis) -> None:
    secret_tasks.raises_it.delay(token="literal-but-sensitive", how="plain")
    run_next(redis)
    assert only_job().error == "ValueError: no answer for ********"
    shown = cli("jobs", "show", only_job().id, "--json").json
    assert "literal-but-sensitive" not in json.dumps(shown)
    assert shown["kwargs"] == {"token": "********", "how": "plain"}


# --- Real processes --------------------


@pytest.mark.acceptance
def test_nothing_of_it_leaves_a_real_worker(redis: redis_client.Redis, tmp_path: Path) -> None:
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets" / "TOKEN").write_text(SECRET)
    (tmp_path / "secrets" / "KEY").write_text(PEM)
    with Line(tmp_path, JADWAL_SECRETS_DIR=str(tmp_path / "secrets")) as line, _Wire() as wire:
        process = line.spawn(
            "celery", "-A", "scheduler_project", "worker", "-Q", "default", "-c", "2", "-n", "w@%h", "-E",
            "-l", "INFO", "-I", "tests.jobs.secret_tasks",
        )  # fmt: skip
        eventually(lambda: b"ready." in line.log_of(process), 30, lambda: line.tail(process))
        with current_app.connection() as seen:  # events are sent while somebody watches
            current_app.events.Receiver(seen)
            for reference in (TOKEN, KEY):
                secret_tasks.logs_it.delay(reference)
                secret_tasks.returns_it.delay(reference)
                for how in ("plain", "cause", "attribute", "permanent", "group", "note"):
                    secret_tasks.raises_it.delay(reference, how)
            secret_tasks.keep.delay(str(tmp_path / "out"), TOKEN)
            eventually(
                lambda: not Job.objects.exclude(status__in=["completed", "failed"]).exists(),
                60,
                lambda: line.tail(process),
            )
        text = line.log_of(process).decode(errors="replace")
    assert (tmp_path / "out").read_text().split()[0] == secret_tasks.digest(SECRET)
    assert "the value is ********" in text
    assert "from a thread: ********" in text
    assert "printed ********" in text
    assert traces(text) == []
    assert traces(wire.text) == []
    assert all(word in wire.text for word in ("tests.raises_it", "task-failed", "task-succeeded")), (
        "was heard"
    )
    is_clean(redis)


class _Wire:
    """Everything that Redis is told."""

    def __enter__(self) -> _Wire:
        self.client = redis_client.Redis.from_url(settings.REDIS_URL, socket_timeout=None)
        self.heard: list[str] = []
        self.monitor = self.client.monitor().__enter__()
        self.thread = threading.Thread(target=self._listen, daemon=True)
        self.thread.start()
        return self

    def _listen(self) -> None:
        while True:
            try:
                self.heard.append(self.monitor.next_command()["command"])
            except (redis_client.ConnectionError, AttributeError, ValueError, OSError):
                return  # hung up

    @property
    def text(self) -> str:
        """All of it, with the bodies of messages and events, which are sent as base64."""
        bodies = re.findall(r'\\*"body\\*": \\*"([A-Za-z0-9+/=]{8,})\\*"', "\n".join(self.heard))
        return "\n".join([*self.heard, *(base64.b64decode(body).decode() for body in bodies)])

    def __exit__(self, *_: object) -> None:
        self.monitor.connection._sock.shutdown(socket.SHUT_RDWR)
        self.thread.join(5)
        self.client.close()
