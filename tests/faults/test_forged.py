"""Faults of messages that are well made: there are too many of one, or somebody made them up."""

from __future__ import annotations

import json
import uuid
from typing import Any

import pytest

from jobs.models import Attempt, Job
from tests.acceptance.line import eventually
from tests.faults.scene import Scene
from tests.jobs import tasks


def copy_of(message: bytes, queue: str = "default", **headers: Any) -> str:
    """A real message with other headers; what is None is left out."""
    item = json.loads(message)
    item["headers"] = {k: v for k, v in {**item["headers"], **headers}.items() if v is not None or k == "eta"}
    item["properties"]["correlation_id"] = item["headers"]["id"]
    item["properties"]["delivery_tag"] = str(uuid.uuid4())
    item["properties"]["delivery_info"]["routing_key"] = queue
    return json.dumps(item)


@pytest.mark.fault(20, "one message pushed 100 times to 4 workers")
def test_a_hundred_copies_of_a_message(scene: Scene) -> None:
    copies = 100
    job_id = tasks.record.delay(str(scene.notes), 0.5).id
    client = scene.client()
    message = client.lindex("default", 0)
    client.lpush("default", *[copy_of(message) for _ in range(copies - 1)])
    workers = [scene.line.worker(name=f"w{n}", concurrency=1, wait=False) for n in range(4)]
    for worker in workers:
        scene.line.wait_until_ready(worker)
    eventually(lambda: client.llen("default") == 0, 30, scene.tails)
    scene.oracle.wait_until_at_rest(20, scene.tails)

    def refusals() -> list[int]:
        said = f"message for job {job_id} starts nothing: the job is".encode()
        return [scene.line.log_of(worker).count(said) for worker in workers]

    eventually(lambda: sum(refusals()) >= copies - 1, 10, scene.tails)
    scene.figures = scene.oracle.judge() | {"refused": sum(refusals())}
    assert scene.oracle.begins() == {job_id: 1}
    assert sum(refusals()) == copies - 1
    assert sum(map(bool, refusals())) >= 2, "several workers had a hand in it"


@pytest.mark.fault(22, "forged and misdirected messages")
def test_messages_that_may_start_nothing(scene: Scene) -> None:
    client = scene.client()
    template = _a_message(scene)
    done = tasks.record.delay(str(scene.notes)).id
    scene.line.worker("default", "billing", name="victim", concurrency=1)
    scene.wait_for_completed(1, 20)
    eventually(lambda: client.llen("default") == 0, 10)
    begun = sum(scene.oracle.begins().values())
    # They wait, and nobody takes their own messages: those are of a queue without a worker.
    elsewhere = [tasks.record.apply_async((str(scene.notes),), queue="nobody").id for _ in range(4)]
    queued, renamed, early, bare = elsewhere
    Job.objects.filter(id__in=[renamed, early, bare]).update(queue="default")
    nobody = str(uuid.uuid4())
    forged = {
        "no row": (copy_of(template, id=nobody), nobody, "no such job"),
        "another queue": (copy_of(template, id=queued), queued, "the job is tests.record on nobody"),
        "another task": (
            copy_of(template, id=renamed, task="tests.add"), renamed, "the message says tests.add on default",
        ),
        "done": (copy_of(template, id=done), done, "the job is completed, attempt 1"),
        "a wrong attempt": (copy_of(template, id=early, jadwal_attempt=2), early, "is for attempt 2"),
        "an attempt of old": (copy_of(template, id=early, jadwal_attempt=0), early, "is for attempt 0"),
        "no attempt, waiting": (copy_of(template, id=bare, jadwal_attempt=None), bare, "it names no attempt"),
        "no attempt, done": (copy_of(template, id=done, jadwal_attempt=None), done, "it names no attempt"),
    }  # fmt: skip
    order = sorted(forged)
    scene.random.shuffle(order)
    for name in order:
        client.lpush("default", forged[name][0])
    worker = scene.line.processes[-1]
    for name, (_, job_id, why) in forged.items():
        eventually(lambda: _refused(scene, job_id, why), 15, lambda: f"{name}\n{scene.tails()}")  # noqa: B023
    assert sum(scene.oracle.begins().values()) == begun, scene.tails()
    untouched = Job.objects.filter(id__in=elsewhere, status="waiting", attempt=0)
    assert untouched.count() == len(elsewhere)
    assert not Attempt.objects.filter(job_id__in=elsewhere).exists()
    assert worker.poll() is None
    Job.objects.filter(id__in=elsewhere).update(queue="default")
    client.lpush("default", *[copy_of(template, id=job_id) for job_id in elsewhere])
    scene.oracle.wait_until_at_rest(20, scene.tails)
    scene.figures = scene.oracle.judge() | {"refused": len(forged)}
    assert scene.oracle.begins() == dict.fromkeys([done, *elsewhere], 1), "a message that may starts its job"


@pytest.mark.fault(22, "a message without a job, where none are adopted")
def test_a_message_without_a_job(scene: Scene) -> None:
    template, client = _a_message(scene), scene.client()
    scene.line.env["JADWAL_ADOPT_FOREIGN"] = "false"
    worker = scene.line.worker()
    forged = {str(uuid.uuid4()): attempt for attempt in (None, 1)}
    for job_id, attempt in forged.items():
        client.lpush("default", copy_of(template, id=job_id, jadwal_attempt=attempt))
    sound = tasks.record.delay(str(scene.notes)).id
    scene.oracle.wait_until_at_rest(20, scene.tails)
    bare, fenced = forged
    eventually(lambda: _refused(scene, fenced, "no such job"), 15, scene.tails)
    said = f"message {bare} of task tests.record has no job and is refused".encode()
    eventually(lambda: said in scene.line.log_of(worker), 15, scene.tails)
    scene.figures = scene.oracle.judge() | {"refused": len(forged)}
    assert scene.oracle.begins() == {sound: 1}
    assert Job.objects.count() == 1


def _refused(scene: Scene, job_id: str, why: str) -> bool:
    lines = scene.line.log_of(scene.line.processes[-1]).decode(errors="replace").splitlines()
    return any(f"message for job {job_id} starts nothing:" in line and why in line for line in lines)


def _a_message(scene: Scene) -> bytes:
    """A real message of a job that nobody will run."""
    job_id = tasks.record.apply_async((str(scene.notes),), queue="template").id
    message: bytes = scene.client().rpop("template")  # type: ignore[assignment]
    Job.objects.filter(id=job_id).delete()
    return message
