"""A scene for each fault: its own Redis, its seed and its size; and the verdicts of the run."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TypeVar

import pytest

from tests.faults.reporting import Verdict
from tests.faults.scene import Scene

S = TypeVar("S", bound=Scene)


LONG = (15, 4, 14, 13, 5, 16)
"""The faults whose full form takes a minute or more: they come first, so that none is left alone at the end."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Every test of this folder starts real processes."""
    for item in items:
        if Path(item.path).parent == Path(__file__).parent and item.get_closest_marker("fault"):
            item.add_marker(pytest.mark.acceptance)
    if os.environ.get("JADWAL_FAULTS") == "full":
        items.sort(key=_place)


def _place(item: pytest.Item) -> int:
    marker = item.get_closest_marker("fault")
    return LONG.index(marker.args[0]) if marker and marker.args[0] in LONG else len(LONG)


@pytest.fixture
def scene(request: pytest.FixtureRequest, transactional_db: None, tmp_path: Path) -> Iterator[Scene]:
    """What a test of a fault works with; when it is over, its verdict is written down."""
    with staged(request, partial(Scene, tmp_path)) as scene:
        yield scene


@contextmanager
def staged(request: pytest.FixtureRequest, kind: Callable[..., S]) -> Iterator[S]:
    """Make a scene of `kind`, with a seed and a size, for the test of `request`; write down its verdict."""
    marker = request.node.get_closest_marker("fault")
    assert marker is not None, "a scene is for the test of a fault"
    number, fault = marker.args
    seed = int(os.environ.get("JADWAL_FAULT_SEED") or random.SystemRandom().randrange(1_000_000))
    began = time.monotonic()
    with kind(seed, full=os.environ.get("JADWAL_FAULTS") == "full") as scene:
        yield scene
        passed = not getattr(request.node, "failed", True)
    seconds = time.monotonic() - began
    verdict = Verdict(number, fault, passed, round(seconds, 1), seed, scene.figures)
    print(verdict.as_json())
    if report := os.environ.get("JADWAL_FAULTS_REPORT"):
        with Path(report).open("a") as out:
            out.write(verdict.as_json() + "\n")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    """Let the fixture know how the test itself ended."""
    report = yield
    if report.when == "call":
        item.failed = report.failed  # type: ignore[attr-defined]
    return report  # type: ignore[return-value]
