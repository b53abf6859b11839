"""What the overview counts: exact where there is little, bounded and remembered where there is much."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import pytest
from django.core.cache import cache
from django.db import connection
from django.test.utils import CaptureQueriesContext

from jobs.insight import dashboard, throughput
from jobs.models import Job
from jobs.rules.states import Status
from tests.jobs.builders import NOON, begin, job
from tests.jobs.ended import ended

pytestmark = pytest.mark.django_db

NOW = NOON + timedelta(minutes=30)
HOUR = timedelta(hours=1)


@pytest.fixture(autouse=True)
def _forgetful() -> Iterator[None]:
    cache.clear()
    yield
    cache.clear()


def test_each_clock_hour_and_the_whole_day() -> None:
    for status, at in (
        ("completed", NOW - 25 * HOUR),  # too long ago
        ("completed", NOON - 24 * HOUR + timedelta(minutes=45)),  # in the day, before its first whole hour
        ("completed", NOON - 23 * HOUR),
        ("completed", NOON - timedelta(seconds=1)),
        ("completed", NOON),
        ("failed", NOON),
        ("skipped", NOW - 23 * HOUR),
        ("cancelled", NOW),
    ):
        ended(status, at)
    found = throughput.ended(NOW)
    assert len(found.hours) == 24
    assert [(hour.start, hour.completed, hour.failed) for hour in found.hours if hour.completed] == [
        (NOON - 23 * HOUR, 1, 0),
        (NOON - HOUR, 1, 0),
        (NOON, 1, 1),
    ]
    assert found.texts == {"completed": "4", "failed": "1", "skipped": "1", "cancelled": "1"}


def test_a_full_hour_is_counted_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(throughput, "REMEMBERED_FROM", 2)
    gone = [
        ended("completed", NOON - HOUR),
        ended("completed", NOON - HOUR),
        ended("completed", NOON - 2 * HOUR),
    ]
    running = [ended("completed", NOON), ended("completed", NOON)]
    assert throughput.ended(NOW).texts["completed"] == "5"
    Job.objects.filter(id__in=[row.id for row in (*gone, *running)]).delete()
    assert throughput.ended(NOW).texts["completed"] == "2", "of the hour that is over, and had enough of them"


def test_an_hour_that_has_just_ended_is_not_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(throughput, "REMEMBERED_FROM", 1)
    just = NOON + timedelta(seconds=5)
    ended("completed", NOON - timedelta(minutes=1))
    assert throughput.ended(just).texts["completed"] == "1"
    ended("completed", NOON - timedelta(seconds=1))
    assert throughput.ended(just).texts["completed"] == "2"


def test_where_counting_stopped_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(throughput, "HOUR_LIMIT", 2)
    monkeypatch.setattr(throughput, "COUNT_LIMIT", 1)
    for _ in range(3):
        ended("completed", NOON)
    ended("completed", NOON - HOUR)
    ended("skipped", NOON)
    texts = throughput.ended(NOW).texts
    assert (texts["completed"], texts["skipped"], texts["failed"]) == ("3+", "1+", "0")


def test_the_queues(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, count in (("a", 1), ("b", 3), ("c", 1)):
        for number in range(count):
            job(queue=name, available_at=NOW - timedelta(minutes=number))
    job(Status.DELAYED, queue="b", available_at=NOW + HOUR)
    job(Status.DELAYED, queue="b", hold="overlap")
    begin(job(queue="b"))
    with CaptureQueriesContext(connection) as queries:
        rows = dashboard.queues(NOW, ["empty"])
    assert len(queries) == 3
    shown = {row.name: (row.waiting, row.active, row.delayed) for row in rows}
    assert shown["a"] == shown["c"] == (1, 0, 0)
    assert (shown["b"], shown["empty"]) == ((3, 1, 2), (0, 0, 0))
    assert {row.name: row.oldest_waiting for row in rows}["b"] == timedelta(minutes=2)
    assert dashboard.live(rows) == {"active": "1", "waiting": "5", "delayed": "2"}
    monkeypatch.setattr(dashboard, "COUNT_LIMIT", 2)
    rows = dashboard.queues(NOW)
    assert {row.name: row.waiting for row in rows if row.waiting} == {"a": 1, "b": 2, "c": 1}
    assert dashboard.live(rows)["waiting"] == "4+"
