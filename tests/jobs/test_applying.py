"""Making the stored schedules what is declared: the engine's side."""

from __future__ import annotations

import threading
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection, transaction
from django_celery_beat.models import PeriodicTask, PeriodicTasks

from jobs.engine import applying, syncing
from jobs.engine.applying import ApplyError
from jobs.engine.clock import database_now
from jobs.engine.declared import document, stored_limits, stored_state
from jobs.engine.entries import Entry, check
from jobs.models import Schedule
from jobs.rules.declaration import read_declaration
from tests.jobs.builders import every

pytestmark = pytest.mark.django_db(transaction=True)


def entry(name: str = "a", manager: str = "shop", **fields: Any) -> Entry:
    values = {
        "name": name,
        "task": "jobs.canary",
        **({"every": "1h"} if "cron" not in fields else {}),
        **fields,
    }
    return Entry(f"file: {name}", manager, read_declaration(values))


def actions(done: applying.Applied) -> dict[str, str]:
    return {change.name: change.action for change in done.changes}


def test_what_is_equal_is_not_written() -> None:
    entries = [entry("a"), entry("b", cron="0 1 * * *")]
    applying.apply(entries)
    syncing.sync_stale(database_now())
    versions = list(Schedule.objects.order_by("pk").values_list("version", "stale", "edited_at"))
    touched = PeriodicTasks.last_change()
    assert actions(applying.apply(entries)) == {"a": "unchanged", "b": "unchanged"}
    assert list(Schedule.objects.order_by("pk").values_list("version", "stale", "edited_at")) == versions
    assert PeriodicTasks.last_change() == touched


def test_only_what_changes_is_marked() -> None:
    applying.apply([entry("a"), entry("b")])
    syncing.sync_stale(database_now())
    done = applying.apply([entry("a", note="x"), entry("b", queue="billing")])
    assert actions(done) == {"a": "change", "b": "change"}
    assert dict(Schedule.objects.values_list("periodic_task__name", "stale")) == {"a": False, "b": True}


@pytest.mark.semantics(22)
def test_a_change_keeps_the_rhythm_of_an_interval() -> None:
    applying.apply([entry("a")])
    syncing.sync_stale(database_now())
    anchor = Schedule.objects.get().anchor
    applying.apply([entry("a", queue="billing")])
    assert Schedule.objects.get().anchor == anchor


def test_a_paused_schedule_keeps_when_it_last_ran() -> None:
    applying.apply([entry("a", paused=True)])
    PeriodicTask.objects.update(last_run_at=database_now())
    applying.apply([entry("a", paused=True, queue="billing")])
    assert PeriodicTask.objects.get().last_run_at is not None


def test_all_problems_are_reported_and_none_is_stored() -> None:
    every(60, "mine")
    entries = [entry("mine"), entry("b", calendar="none"), entry("c", after={"schedule": "x"})]
    with pytest.raises(ApplyError) as caught:
        applying.apply(entries)
    assert [(item.where, item.conflict) for item in caught.value.problems] == [
        ("file: b", False),
        ("file: mine", True),
    ]
    assert list(PeriodicTask.objects.values_list("name", flat=True)) == ["mine"]


def test_what_the_columns_cannot_hold_is_refused_before_the_database_says_so() -> None:
    with pytest.raises(ApplyError, match="cannot be kept to the microsecond"):
        applying.apply([entry("a", every="36h0.000001s")])
    found = check([entry("a", max_catchup=1_000_000, deadline="100w", task="no.such")])
    assert [problem.sentence[:21] for problem in found] == ["There is no task name"]


def test_prune_spares_what_nobody_confirmed() -> None:
    applying.apply([entry("a"), entry("b"), entry("c")])
    done = applying.apply([entry("a")], prune={"shop"}, sparing=["b"])
    assert actions(done) == {"a": "unchanged", "b": "delete"}
    assert set(PeriodicTask.objects.values_list("name", flat=True)) == {"a", "c"}


def test_an_empty_manager_prunes_nothing() -> None:
    every(60, "by hand")
    assert applying.apply([], prune={""}).changes == ()


def test_two_at_once_come_one_after_the_other() -> None:
    """The second waits for the first, sees what it made, and finds nothing to do."""
    results: list[Any] = []

    def other() -> None:
        try:
            results.append(applying.apply([entry("a")]))
        finally:
            connection.close()

    thread = threading.Thread(target=other)
    with transaction.atomic():
        applying.apply([entry("a")])
        thread.start()
        thread.join(timeout=0.5)
        assert thread.is_alive()
    thread.join(timeout=10)
    assert actions(results[0]) == {"a": "unchanged"}


def test_a_dry_run_inside_a_transaction_of_the_caller_leaves_it_usable() -> None:
    with transaction.atomic():
        done = applying.apply([entry("a")], dry_run=True)
        assert not PeriodicTask.objects.exists()
    assert done.differs


def test_the_document_of_what_is_stored_declares_it() -> None:
    wanted = {
        "name": "a", "task": "jobs.canary", "every": "35m0.000001s", "jitter": "1m30s", "rate": 0.1,
        "after": {"schedule": "b", "mode": "gate", "within": "1h"},
    }  # fmt: skip
    applying.apply([Entry("a", "shop", read_declaration(wanted)), entry("b")])
    row = Schedule.objects.get(periodic_task__name="a")
    assert row.periodic_task.interval.every == 2_100_000_001
    assert document("a", stored_state(row, stored_limits())) == {**wanted, "every": "35m0.000001s"}
    assert row.after_within == timedelta(hours=1)
