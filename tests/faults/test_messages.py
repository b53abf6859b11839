"""Malformed messages: no worker dies of them, and people can see them."""

from __future__ import annotations

import base64
import json
import os
import pickle
from functools import reduce
from operator import getitem
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from django.contrib.auth import get_user_model
from django.test import Client
from django.urls import reverse
from django.utils.html import escape

from jobs.models import Job, Quarantine
from tests.acceptance.line import eventually
from tests.faults.scene import Scene
from tests.faults.test_worker import seconds
from tests.jobs import tasks
from tests.unit.rules.test_messages import BROKEN, body, envelope


class Touch:
    """What a pickle can do to whoever loads it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mknod, (str(self.path),)


def malformed(touched: Path) -> dict[str, bytes]:
    """Return items that are no message, by what is wrong with them. The pickles would make `touched`."""
    pickled = base64.b64encode(pickle.dumps(([Touch(touched)], {}, {}))).decode()
    in_body = envelope(body=pickled, content_type="application/x-python-serialize", content_encoding="binary")
    changed = {
        "pickle": in_body,
        "pickle that says it is JSON": envelope(body=pickled),
        "ten megabytes": envelope(headers__task="tests.add", body=body((["x" * 10_000_000, 1], {}, {}))),
        "unknown task": envelope(headers__task="no.such.task"),
        "body an object": envelope(body={"args": []}),
        "body a number": envelope(body=17),
        "args a text": envelope(body=base64.b64encode(b'["x", {}, {}]').decode()),
        "attempt a text": envelope(headers__task="tests.add", headers__jadwal_attempt="x"),
        "attempt a list": envelope(headers__task="tests.add", headers__jadwal_attempt=[1]),
    }
    bare = {"bare pickle": pickle.dumps(Touch(touched))}
    return BROKEN | bare | {name: json.dumps(item).encode() for name, item in changed.items()}


@pytest.mark.fault(21, "malformed messages")
def test_malformed_messages(scene: Scene, client: Client) -> None:
    touched = scene.folder / "touched"
    worker = scene.line.worker()
    broker = scene.client()
    sound = []
    items = malformed(touched)
    for item in items.values():
        broker.lpush("default", item)
        sound.append(tasks.record.delay(str(scene.notes)).id)
    scene.oracle.wait_until_at_rest(30, scene.tails)
    eventually(lambda: Quarantine.objects.count() >= len(items), 5, lambda: _missing(items) + scene.tails())
    scene.wait(1.5)  # were one put back, it would come again
    scene.figures = scene.oracle.judge() | {"malformed": len(items)}
    assert scene.oracle.begins() == dict.fromkeys(sound, 1)
    first = [job.started_at - job.created_at for job in Job.objects.filter(id__in=sound)]
    scene.figures["recovery_s"] = seconds(max(first))
    assert scene.figures["recovery_s"] <= 5
    assert worker.poll() is None
    assert scene.line.log_of(worker).count(b"ready.") == 1, "it has not started anew"
    assert Quarantine.objects.count() == len(items), "each one once"
    assert broker.llen("default") == broker.hlen("unacked") == 0
    assert not touched.exists(), "a pickle was loaded"
    _is_visible(scene, client, len(items))


PLACES = (
    *("headers", "properties", "body", "content-type", "content-encoding"),
    *(f"headers/{name}" for name in (
        "task", "id", "timelimit", "eta", "expires", "retries", "jadwal_attempt", "argsrepr", "kwargsrepr",
        "origin", "group", "group_index", "root_id", "parent_id", "shadow", "ignore_result", "lang",
        "stamped_headers", "stamps", "compression", "replaced_task_nesting", "jadwal_eta", "jadwal_started",
        "utc", "hostname", "delivery_info", "args", "kwargs", "callbacks", "is_eager",
    )),
    *(f"properties/{name}" for name in (
        "delivery_tag", "body_encoding", "delivery_info", "priority", "correlation_id", "reply_to",
        "delivery_mode",
    )),
    *("properties/delivery_info/exchange", "properties/delivery_info/routing_key"),
    *(f"canvas/{name}" for name in ("callbacks", "errbacks", "chain", "chord")),
)  # fmt: skip
"""Parts of a message that Celery, kombu or the platform read."""

VALUES: tuple[Any, ...] = (
    None, True, 0, -1, 7, 2**31, 2**63, 10**400, 0.5, float("inf"), "", "x", "7", "\x00", "\ud800", "x" * 5_000,
    [], [1], [None, None], ["x", "y"], {}, {"a": 1}, [[]], [10**30, None], [float("inf"), 1],
)  # fmt: skip


@pytest.mark.fault(21, "messages with one wrong part, at random")
def test_messages_with_a_wrong_part(scene: Scene) -> None:
    """Whatever the part: the worker lives, and what comes after it runs."""
    worker = scene.line.worker()
    broker = scene.client()
    pairs = [(place, value) for place in PLACES for value in VALUES]
    chosen = scene.random.sample(pairs, scene.size(200, len(pairs)))
    for place, value in chosen:
        broker.lpush("default", json.dumps(_with(place, value)))
    sound = tasks.record.delay(str(scene.notes)).id
    eventually(lambda: broker.llen("default") == 0 or worker.poll() is not None, 60, scene.tails)
    assert worker.poll() is None, scene.tails()
    scene.oracle.wait_until_at_rest(20, scene.tails)
    scene.figures = scene.oracle.judge() | {"messages": len(chosen), "kept": Quarantine.objects.count()}
    assert scene.oracle.begins() == {sound: 1}
    log = scene.line.log_of(worker).decode()
    kept, refused = Quarantine.objects.count(), log.count("starts nothing")
    assert Job.objects.count() - 1 + kept + refused == len(chosen), "every one is to be seen somewhere"
    assert log.count("ready.") == 1, "it has not started anew"
    errors = [line for line in log.splitlines() if "ERROR/MainP" in line or "CRITICAL" in line]
    assert [line for line in errors if "quarantine" not in line and "unregistered" not in line] == []


def _with(place: str, value: Any) -> dict[str, Any]:
    """A message of another program, with one part that is something else."""
    message = envelope(headers__task="tests.add", headers__id=str(uuid4()))
    canvas: dict[str, Any] = {}
    *way, last = place.split("/")
    part = canvas if way == ["canvas"] else reduce(getitem, way, message)
    part[last] = value
    if place != "body":
        message["body"] = body(([1, 2], {}, canvas))
    return message


def _missing(items: dict[str, bytes]) -> str:
    return f"{Quarantine.objects.count()} of {len(items)}: {list(Quarantine.objects.values('problem'))}\n"


def _is_visible(scene: Scene, client: Client, count: int) -> None:
    """A person sees them in the admin, and is told of them on the command line."""
    client.force_login(get_user_model().objects.create_superuser("root"))
    listed = reverse("admin:jobs_quarantine_changelist")
    pages = [client.get(listed, {"p": str(number)}).content.decode() for number in range(1, count // 50 + 2)]
    for problem in Quarantine.objects.values_list("problem", flat=True):
        assert any(escape(problem[:140]) in page for page in pages), problem
    checks = json.loads(scene.line.manage("doctor", "--json").stdout)["items"]
    [found] = [check for check in checks if check["name"] == "quarantine"]
    assert found["status"] == "warn"
    assert f"{count} message(s)" in found["sentence"]
