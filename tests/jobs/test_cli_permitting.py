"""Who may schedule which task, on the command line: there is no user, but what is built in stays so."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path

import pytest
import redis as redis_client
from django_celery_beat.models import PeriodicTask

from jobs.engine import backfilling, editing, pausing, syncing, triggering
from jobs.engine.clock import database_now
from jobs.engine.permitting import NotPermittedError
from jobs.engine.ticking import Ticker
from jobs.models import Job, Schedule
from tests.jobs.builders import NOON, every, minutes
from tests.jobs.permits import BUILT_IN, CLEANUP, ELSEWHERE, Allow, allow, by_sql, kept_back, stored
from tests.jobs.test_cli_runner import Result, cli

__all__ = ["allow", "kept_back"]

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def _redis(redis: redis_client.Redis) -> None:
    """Redis is there."""


def refused(why: str, *words: object) -> Result:
    before = stored()
    result = cli("schedules", *words)
    assert result.code == 2, (result.err, result.out)
    assert why in result.err
    assert "\n" not in result.err.strip()
    assert (stored(), Job.objects.count()) == (before, 0)
    return result


def test_the_command_line_schedules_nothing_that_is_built_in(allow: Allow, kept_back: str) -> None:
    refused(BUILT_IN, "create", "x", "--task", CLEANUP, "--every", "1h")
    refused("belongs to no app", "create", "x", "--task", "tests.add", "--every", "1h")
    refused("offers it to nobody", "create", "x", "--task", kept_back, "--every", "1h")
    refused("There is no task named 'jobs.canari'. Did you mean 'jobs.canary'?", "create", "x", "--task",
            "jobs.canari", "--every", "1h")  # fmt: skip
    allow(CLEANUP)
    assert cli("schedules", "create", "x", "--task", CLEANUP, "--every", "1h").code == 0


def test_neither_does_it_change_or_start_one(allow: Allow) -> None:
    every(3600, "mine")
    by_sql(every(3600, "cleanup", enabled=False), CLEANUP)
    refused(BUILT_IN, "update", "mine", "--task", CLEANUP)
    refused(BUILT_IN, "update", "cleanup", "--queue", "billing")
    refused(BUILT_IN, "run", "cleanup")
    refused(BUILT_IN, "resume", "cleanup")
    times = "--from", "2026-03-10T13:00Z", "--to", "2026-03-10T15:00Z"
    refused(BUILT_IN, "backfill", "cleanup", *times, "--yes")
    assert cli("schedules", "update", "cleanup", "--task", "jobs.canary").code == 0, "that is a way out"
    by_sql(Schedule.objects.named("cleanup"), CLEANUP)
    allow("celery.*")
    for words in (("run",), ("resume",), ("backfill", *times, "--yes"), ("update", "--queue", "billing")):
        result = cli("schedules", words[0], "cleanup", *words[1:])
        assert result.code == 0, result.err
    assert set(Job.objects.values_list("task", flat=True)) == {CLEANUP}


def test_what_only_other_workers_have_can_be_named(allow: Allow) -> None:
    refused("no task named", "create", "x", "--task", ELSEWHERE, "--every", "1h")
    allow("warehouse.*")
    flags = "--task", ELSEWHERE, "--every", "1h", "--kwargs", '{"what": "ever"}', "--queue", "warehouse"
    assert cli("schedules", "create", "x", *flags).code == 0
    syncing.sync_stale(database_now())
    Ticker().tick(database_now() + timedelta(hours=1, seconds=1))
    made = Job.objects.get()
    assert (made.task, made.queue, made.status) == (ELSEWHERE, "warehouse", "waiting")


def test_files_that_declare_it(allow: Allow, tmp_path: Path) -> None:
    file = tmp_path / "schedules.json"
    schedules = [
        {"name": "cleanup", "task": CLEANUP, "every": "1h"},
        {"name": "fine", "task": "jobs.canary", "every": "1h"},
        {"name": "typo", "task": "jobs.canari", "every": "1h"},
    ]
    file.write_text(json.dumps({"manager": "shop", "schedules": schedules}))
    for verb in ("apply", "validate"):
        result = cli("schedules", verb, "-f", file)
        assert result.code == 2
        said = result.out + result.err
        assert BUILT_IN in said
        assert "Did you mean 'jobs.canary'?" in said
    assert not PeriodicTask.objects.exists()
    allow(CLEANUP, "jobs.canari")
    assert cli("schedules", "apply", "-f", file).code == 0
    assert PeriodicTask.objects.count() == 3


def test_validate_looks_at_what_is_stored(allow: Allow) -> None:
    by_sql(every(3600, "cleanup"), CLEANUP)
    result = cli("schedules", "validate", "cleanup")
    assert (result.code, BUILT_IN in result.out) == (1, True)
    allow(CLEANUP)
    assert cli("schedules", "validate", "cleanup").code == 0


def test_a_crontab_is_not_taken_over_by_a_built_in_task(allow: Allow, tmp_path: Path) -> None:
    file = tmp_path / "crontab"
    file.write_text("0 1 * * * x\n")
    result = cli("schedules", "import-crontab", file, "--task", CLEANUP)
    assert (result.code, BUILT_IN in result.err) == (2, True)


def test_from_python_it_is_an_error_of_its_own(allow: Allow) -> None:
    schedule = by_sql(every(3600, "cleanup"), CLEANUP)
    for act in (
        lambda: triggering.run_now(schedule),
        lambda: pausing.resume(schedule),
        lambda: backfilling.slots(schedule, NOON, NOON + minutes(120)),
        lambda: backfilling.backfill(schedule, []),
    ):
        with pytest.raises(NotPermittedError, match=r"Nobody may schedule 'celery\.backend_cleanup'"):
            act()
    with pytest.raises(editing.EditError, match="Nobody may schedule"):
        editing.create(editing.Draft(name="x", task=CLEANUP, every=timedelta(hours=1)))
