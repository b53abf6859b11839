"""Faults of workers."""

from __future__ import annotations

import pytest

from tests.acceptance.line import eventually, kill_group
from tests.faults.scene import LEASE, SWEEP, Scene
from tests.jobs import tasks


@pytest.mark.fault(7, "the whole worker group killed in mid-job")
def test_a_killed_worker_group(scene: Scene) -> None:
    scene.line.beat()
    first = scene.line.worker(name="first")
    tasks.record.delay(str(scene.notes), 3)
    eventually(scene.oracle.begins, 10, scene.tails)
    kill_group(first)
    scene.line.worker(name="second")
    scene.oracle.wait_until_at_rest(LEASE + SWEEP + 10, scene.tails)
    scene.figures = scene.oracle.judge()
    assert scene.figures["crashes"] == 1
