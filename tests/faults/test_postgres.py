"""Faults of PostgreSQL: it goes away in mid-job, or between jobs, and comes back."""

from __future__ import annotations

import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from celery.result import AsyncResult
from pytest_django.plugin import DjangoDbBlocker

from jobs.engine.clock import database_now
from jobs.models import Attempt, Job
from tests.acceptance.line import eventually
from tests.faults import processes
from tests.faults.conftest import staged
from tests.faults.postgres import OutageScene, OwnPostgres
from tests.faults.scene import GRACE, LEASE, SWEEP
from tests.faults.test_worker import SLACK
from tests.jobs import tasks

LONG_LEASE = 30
"""Seconds: a database that is away for a moment is back before this."""


@pytest.fixture(scope="module")
def postgres(
    django_db_blocker: DjangoDbBlocker, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[OwnPostgres]:
    """A server for this module, with a migrated database to copy."""
    with django_db_blocker.unblock(), OwnPostgres(tmp_path_factory.mktemp("postgres")) as server:
        server.migrate()
        yield server


@pytest.fixture
def scene(
    request: pytest.FixtureRequest,
    django_db_blocker: DjangoDbBlocker,
    postgres: OwnPostgres,
    tmp_path: Path,
) -> Iterator[OutageScene]:
    """A scene whose database may be stopped."""
    with django_db_blocker.unblock(), staged(request, partial(OutageScene, postgres, tmp_path)) as scene:
        yield scene


def runs_into_the_outage(scene: OutageScene) -> str:
    """Let a job begin, the database go away, and the job end; return the job when its outcome is on disk."""
    job_id = str(tasks.record.delay(str(scene.notes), 1.5).id)
    eventually(scene.oracle.begins, 10, scene.tails)
    scene.stop_database()
    eventually(lambda: scene.oracle.notes("end"), 10, scene.tails)
    eventually(scene.spooled, 10, scene.tails)
    return job_id


def completed_as_it_was_kept(scene: OutageScene, job_id: str) -> None:
    """Judge that the outcome on disk became the job's, and that nothing ran twice."""
    scene.oracle.wait_until_at_rest(LONG_LEASE, scene.tails)
    eventually(lambda: not scene.spooled(), 10, scene.tails)
    scene.figures |= scene.oracle.judge()
    job = Job.objects.get(id=job_id)
    assert (job.status, job.attempt, job.errors, job.crashes) == ("completed", 1, 0, 0)
    assert scene.oracle.begins() == {job_id: 1}
    assert AsyncResult(job_id).get() == job_id


@pytest.mark.fault(18, "PostgreSQL stopped at once in mid-job, back before the lease")
def test_back_before_the_lease(scene: OutageScene) -> None:
    scene.environment(JADWAL_LEASE_SECONDS=LONG_LEASE)
    scene.line.beat()
    worker = scene.line.worker()
    job_id = runs_into_the_outage(scene)
    scene.start_database()
    back = time.monotonic()
    completed_as_it_was_kept(scene, job_id)
    scene.figures["recovery_s"] = round(time.monotonic() - back, 2)
    assert worker.poll() is None


@pytest.mark.fault(18, "PostgreSQL stopped at once in mid-job, and the worker killed when the job has ended")
def test_a_kept_outcome_survives_its_worker(scene: OutageScene) -> None:
    scene.environment(JADWAL_LEASE_SECONDS=LONG_LEASE)
    scene.line.beat()
    worker = scene.line.worker(name="first")
    job_id = runs_into_the_outage(scene)
    processes.kill(worker)
    scene.start_database()
    scene.line.worker(name="second")
    completed_as_it_was_kept(scene, job_id)


@pytest.mark.fault(18, "PostgreSQL stopped at once in mid-job, back after the lease")
def test_back_after_the_lease(scene: OutageScene) -> None:
    """One job ends while the database is away, one after that; neither is stuck."""
    scene.line.beat()
    worker = scene.line.worker()
    ended = tasks.slow_once.delay(str(scene.notes), 2).id
    running = tasks.slow_once.delay(str(scene.notes), LEASE + 5).id
    eventually(lambda: len(scene.oracle.begins()) == 2, 10, scene.tails)
    scene.stop_database()
    scene.wait(LEASE + 1)
    assert [note.job_id for note in scene.oracle.notes("end")] == [ended]
    scene.start_database()
    scene.oracle.wait_until_at_rest(LEASE + SWEEP + 15, scene.tails)
    eventually(lambda: not scene.spooled(), 10, scene.tails)
    scene.figures = scene.oracle.judge() | {"rerun": Attempt.objects.filter(outcome="crash").count()}
    done = Job.objects.filter(id__in=[ended, running], status="completed", errors=0)
    assert done.count() == 2
    assert worker.poll() is None


@pytest.mark.fault(18, "SIGTERM while PostgreSQL is away, with an outcome on disk")
def test_a_graceful_stop_without_a_database(scene: OutageScene) -> None:
    scene.environment(JADWAL_LEASE_SECONDS=LONG_LEASE)
    scene.line.beat()
    worker = scene.line.worker(name="first")
    job_id = runs_into_the_outage(scene)
    asked = time.monotonic()
    scene.stop_gracefully(worker)
    took = time.monotonic() - asked
    assert scene.spooled(), "it is still there"
    scene.start_database()
    scene.line.worker(name="second")
    completed_as_it_was_kept(scene, job_id)
    scene.figures["exit_s"] = round(took, 2)
    assert took <= GRACE + 2 + SLACK


@pytest.mark.fault(19, "PostgreSQL restarted between jobs")
def test_restarted_between_jobs(scene: OutageScene) -> None:
    """The first next job succeeds at no charge, and beat goes on by itself."""
    scene.line.beat()
    worker = scene.line.worker()
    schedules = scene.schedules(1)
    since = database_now()
    for _ in range(scene.size(2, 5)):
        _succeeds(scene)
        scene.stop_database()
        scene.start_database()
        _succeeds(scene)
    scene.wait(2)
    through = scene.disable(schedules)
    scene.oracle.wait_until_at_rest(LEASE + SWEEP + 15, scene.tails)
    scene.figures = scene.oracle.judge()
    scene.figures["occurrences"] = scene.oracle.every_occurrence_once(schedules, since=since, through=through)
    assert worker.poll() is None


def _succeeds(scene: OutageScene) -> None:
    """Run a job, which must succeed in its first attempt."""
    job_id = str(tasks.record.delay(str(scene.notes)).id)
    eventually(lambda: Job.objects.get(id=job_id).status == "completed", 15, scene.tails)
    job = Job.objects.get(id=job_id)
    assert (job.attempt, job.errors, job.crashes) == (1, 0, 0)
