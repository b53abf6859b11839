"""A retention that makes no sense is refused; nothing is deleted earlier than somebody meant."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from django.core import checks
from django_celery_results.models import GroupResult

from jobs.conf import DEFAULT_RETENTION_DAYS, conf
from jobs.engine import (
    pruning,
)
from jobs.models import Job, Quarantine
from tests.acceptance.line import database_url
from tests.jobs.builders import NOON
from tests.jobs.ended import DAYS, TICK, days, ended, kept

pytestmark = pytest.mark.django_db


@pytest.fixture
def retention(settings: Any) -> Any:
    """Set the retention of this test, and let go of it afterwards."""

    def set_to(**values: Any) -> None:
        settings.JADWAL = {**settings.JADWAL, "RETENTION_DAYS": values}

    return set_to


def refusals() -> list[str]:
    return [found.msg for found in checks.run_checks() if found.id == "jobs.E001"]


def test_the_defaults_are_those_that_are_promised(retention: Any) -> None:
    retention()
    assert conf().retention == {status: days(n) for status, n in DAYS.items()}
    assert conf().quarantine_kept == days(90)
    assert refusals() == []


@pytest.mark.parametrize("value", [0, -1, "0", "-7", "seven", "7.5", 7.5, "", None, True, 36_501, "1e3"])
def test_a_retention_that_makes_no_sense_is_refused_and_deletes_nothing(retention: Any, value: Any) -> None:
    retention(**dict.fromkeys(DEFAULT_RETENTION_DAYS, value))
    sentences = refusals()
    assert len(sentences) == len(DEFAULT_RETENTION_DAYS)
    for kind, sentence in zip(sorted(DEFAULT_RETENTION_DAYS), sentences, strict=True):
        assert sentence == (
            f"The retention of {kind!r} is {value!r}: it must be a whole number of days, from 1 to 36500."
        )
    rows = {ended(status).id for status in DAYS}
    Quarantine.objects.create(queue="default", body="x", problem="x", received_at=NOON)
    GroupResult.objects.create(group_id="x")
    pruning.prune(NOON + days(36_501))
    assert kept() == rows, "what is kept for how long is not known is kept for good"
    assert Quarantine.objects.exists()
    assert GroupResult.objects.exists()


def test_one_that_makes_no_sense_is_kept_for_good_and_the_others_are_followed(retention: Any) -> None:
    retention(failed="ninety")
    assert len(refusals()) == 1
    failed, _completed = ended("failed"), ended("completed")
    pruning.prune(NOON + days(36_501))
    assert kept() == {failed.id}


def test_a_word_that_is_no_status_is_refused(retention: Any) -> None:
    retention(complete=365, active=1)
    sentences = refusals()
    assert len(sentences) == 2
    assert "'active'" in sentences[0]
    assert "'complete'" in sentences[1]


def test_other_retentions_are_followed(retention: Any) -> None:
    retention(completed="1", quarantine=1)
    ended("completed"), ended("failed")
    Quarantine.objects.create(queue="default", body="x", problem="x", received_at=NOON)
    assert refusals() == []
    assert pruning.prune(NOON + days(1)) == 0
    assert pruning.prune(NOON + days(1) + TICK) == 2
    assert Job.objects.get().status == "failed"


def test_a_shorter_one_is_not_silent(retention: Any) -> None:
    def said() -> list[str]:
        return [
            found.msg
            for found in checks.run_checks(include_deployment_checks=True)
            if found.id == "jobs.W001"
        ]

    retention(failed=90, completed=400)
    assert said() == []
    retention(failed=3)
    assert said() == ["The retention of 'failed' is 3 day(s), shorter than the default of 90."]


@pytest.mark.parametrize("name", ["JADWAL_RETENTION_FAILED_DAYS", "JADWAL_RETENTION_FAIELD_DAYS"])
def test_a_slip_in_the_environment_stops_a_command_with_a_sentence(name: str) -> None:
    done = subprocess.run(
        [sys.executable, "manage.py", "check"],
        cwd=Path(__file__).parents[2],
        env={**os.environ, "DATABASE_URL": database_url(), name: "none"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    assert "(jobs.E001) " in done.stderr
    assert "Traceback" not in done.stderr
