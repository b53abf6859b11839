"""What is left beside the row by a job whose task's code did not end it: result, chord, error callbacks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redis as redis_client
from celery import chain, chord, current_app, shared_task
from celery.app.task import Context
from celery.exceptions import ChordError, TaskRevokedError
from celery.result import AsyncResult
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext
from django_celery_results.models import ChordCounter, TaskResult

from jobs.conf import conf
from jobs.engine import cancelling, ending, executing, finishing, losing, recovering
from jobs.engine.clock import database_now
from jobs.engine.executing import Refusal
from jobs.engine.records import Fence
from jobs.models import Job
from jobs.rules.states import Status, Trigger
from tests.jobs import tasks
from tests.jobs.builders import NOON, begin, every, job, seconds, worker

pytestmark = pytest.mark.django_db(transaction=True)

HEADERS = {"ignore_result": False}
_called: list[tuple[str, str]] = []


@pytest.fixture(autouse=True)
def _redis(redis: redis_client.Redis) -> Iterator[None]:
    """Redis is there, and empty."""
    yield
    _called.clear()


@shared_task(name="tests.aftermath.heard")
def heard(request: Any, exc: Exception, traceback: Any) -> None:
    """An error callback of the new style."""
    _called.append((request.id, type(exc).__name__))


@shared_task(name="tests.aftermath.breaks")
def breaks(request: Any, exc: Exception, traceback: Any) -> None:
    """One that breaks the transaction that it is called in."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT no_such_column")


@shared_task(name="tests.aftermath.told")
def told(job_id: str) -> None:
    """An error callback of the old style."""


# --- The ends ----------------------------------------------------------------------------------------------


def cancelled(row: Job) -> None:
    assert cancelling.cancel([row.id]) == (1, 0)


def purged(row: Job) -> None:
    assert cancelling.purge(row.queue, database_now()) >= 1


def refused_at_its_start(row: Job) -> None:
    Job.objects.filter(id=row.id).update(deadline_at=NOON)
    refusal = executing.begin(
        Fence(row.id, row.attempt + 1),
        task=row.task,
        queue=row.queue,
        worker_id=worker(),
        default_limit=60,
        default_max_attempts=1,
    )
    assert isinstance(refusal, Refusal)


def killed_at_its_limit(row: Job) -> None:
    assert losing.timed_out(begin(row, attempt=row.attempt + 1).fence, 60, 1) == Status.FAILED


def poison(row: Job) -> None:
    Job.objects.filter(id=row.id).update(crashes=2)
    assert losing.crashed(begin(row, attempt=row.attempt + 1).fence, "it died") == Status.FAILED


def poison_of_a_dead_worker(row: Job) -> None:
    Job.objects.filter(id=row.id).update(crashes=2)
    begin(row, attempt=row.attempt + 1)
    assert recovering.rescue(database_now() + conf().lease + seconds(1)) == 1


def stopped_while_it_ran(row: Job) -> None:
    assert losing.cancelled(begin(row, attempt=row.attempt + 1).fence, "by hand")


def to_be_stopped_when_its_worker_was_lost(row: Job) -> None:
    fence = begin(row, attempt=row.attempt + 1).fence
    assert cancelling.cancel([row.id]) == (0, 1)
    finishing.record([ending.crashed(fence, "lost")])


def unknown(row: Job) -> None:
    Job.objects.filter(id=row.id).update(task="nobody.has.this")
    fence = Fence(row.id, row.attempt + 1)
    assert losing.fail_unknown(fence, task="nobody.has.this", queue=row.queue, worker_id=worker())


REVOKED = [
    (cancelled, "revoked"),
    (purged, "revoked"),
    (refused_at_its_start, "expired"),
    (stopped_while_it_ran, "terminated"),
    (to_be_stopped_when_its_worker_was_lost, "terminated"),
]
FAILED = [
    (killed_at_its_limit, "TimeLimitExceeded"),
    (poison, "WorkerLostError"),
    (poison_of_a_dead_worker, "WorkerLostError"),
    (unknown, "NotRegistered"),
]
ENDS = [end for end, _ in [*REVOKED, *FAILED]]
End = Callable[[Job], None]


@pytest.mark.parametrize(("end", "why"), REVOKED)
def test_who_waits_for_a_job_that_was_revoked_hears_of_it(end: End, why: str) -> None:
    result = tasks.add.delay(1, 2)
    end(Job.objects.get(id=result.id))
    with pytest.raises(TaskRevokedError, match=why):
        result.get(timeout=1)
    assert result.state == "REVOKED"
    row = TaskResult.objects.get()
    assert row.task_name == Job.objects.get().task


@pytest.mark.parametrize(("end", "error"), FAILED)
def test_who_waits_for_a_job_that_failed_without_its_code_hears_of_it(end: End, error: str) -> None:
    result = tasks.add.delay(1, 2)
    end(Job.objects.get(id=result.id))
    assert (result.state, type(result.result).__name__) == ("FAILURE", error)


@pytest.mark.parametrize("end", ENDS)
def test_a_chord_does_not_wait_for_ever(end: End) -> None:
    result = chord([tasks.add.s(1, 1), tasks.add.s(2, 2)], tasks.add.s(3)).apply_async()
    first, second = Job.objects.order_by("id")
    execution = begin(first)
    request = Context(execution.started.headers, id=first.id)
    finishing.complete(execution, lambda: current_app.backend.mark_as_done(first.id, 2, request))
    end(second)
    assert not ChordCounter.objects.exists()
    assert result.state == "FAILURE"
    assert isinstance(result.result, ChordError)
    assert second.id in str(result.result), "it names the member"


@pytest.mark.parametrize("end", ENDS)
def test_error_callbacks_are_called(end: End) -> None:
    result = tasks.add.apply_async((1, 2), link_error=[told.s(), heard.s()])
    end(Job.objects.get(id=result.id))
    assert [job_id for job_id, _ in _called] == [result.id]
    callback = Job.objects.exclude(id=result.id).get()
    assert (callback.task, callback.args, callback.status) == ("tests.aftermath.told", [result.id], "waiting")


@pytest.mark.parametrize("end", ENDS)
def test_later_steps_of_a_chain_hear_of_it(end: End) -> None:
    result = chain(tasks.add.s(1, 2), tasks.add.s(3), tasks.add.s(4)).apply_async()
    end(Job.objects.get(id=result.parent.parent.id))
    assert result.state == result.parent.state == result.parent.parent.state != "PENDING"
    assert Job.objects.count() == 1


# --- Which jobs --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("end", [cancelled, refused_at_its_start])
def test_nobody_holds_the_result_of_an_occurrence_that_did_not_start(end: End) -> None:
    schedule = every(60, "a")
    row = job(trigger=Trigger.SCHEDULE, schedule_id=schedule.pk)
    end(row)
    assert not TaskResult.objects.exists()


def test_an_occurrence_that_has_run_has_a_result_that_becomes_true() -> None:
    schedule = every(60, "a")
    row = job(trigger=Trigger.SCHEDULE, schedule_id=schedule.pk)
    finishing.record([ending.retried(begin(row).fence, NOON, outcome="error", error="x")])
    TaskResult.objects.create(task_id=row.id, status="RETRY")
    assert cancelling.cancel([row.id]) == (1, 0)
    assert AsyncResult(row.id).state == "REVOKED"


@pytest.mark.parametrize("end", ENDS)
def test_a_result_that_is_to_be_ignored_is(end: End) -> None:
    result = tasks.add.apply_async((1, 2), ignore_result=True, link_error=heard.s())
    end(Job.objects.get(id=result.id))
    assert not TaskResult.objects.exists()
    assert _called


def test_a_cancellation_that_rolls_back_leaves_nothing() -> None:
    result = tasks.add.delay(1, 2)
    with transaction.atomic():
        cancelling.cancel([result.id])
        transaction.set_rollback(True)
    assert not TaskResult.objects.exists()


def test_a_job_that_was_decided_already_keeps_its_result() -> None:
    result = tasks.add.delay(1, 2)
    cancelled(Job.objects.get(id=result.id))
    TaskResult.objects.update(status="SUCCESS", result="3")
    assert cancelling.cancel([result.id]) == (0, 0)
    assert result.get(timeout=1) == 3


def test_many_plain_jobs_are_purged_in_as_many_statements_as_a_few() -> None:
    def statements(jobs: int) -> int:
        for _ in range(jobs):
            job()
        with CaptureQueriesContext(
            connection,
        ) as queries:
            assert cancelling.purge("default", database_now()) == jobs
        return len(queries)

    assert statements(40) == statements(4)
    assert TaskResult.objects.filter(status="REVOKED").count() == 44


# --- What goes wrong ---------------------------------------------------------------------------------------


def test_a_canvas_that_makes_no_sense_keeps_no_job() -> None:
    row = job(headers={"errbacks": [42], "chain": "x"})
    cancelled(row)
    assert AsyncResult(row.id).state == "REVOKED"


def test_an_error_callback_that_breaks_the_transaction_breaks_nothing() -> None:
    result = tasks.add.apply_async((1, 2), link_error=[breaks.s(), told.s(), heard.s()])
    with transaction.atomic():
        cancelling.cancel([result.id])
        assert Job.objects.get(id=result.id).status == "cancelled"
    assert result.state == "REVOKED"
    assert [job_id for job_id, _ in _called] == [result.id]
    assert Job.objects.filter(task="tests.aftermath.told").exists()


# --- Workers that are told by broadcast --------------------------------------------------------------------


def test_a_worker_that_is_told_to_revoke_cancels_the_job() -> None:
    result = tasks.add.apply_async((1, 2), countdown=60)
    current_app.backend.mark_as_revoked(result.id, "revoked")
    assert Job.objects.get(id=result.id).status == "cancelled"
    assert result.state == "REVOKED"


def test_a_worker_that_is_told_to_revoke_leaves_what_runs_elsewhere_alone() -> None:
    row = job()
    begin(row)
    current_app.backend.mark_as_revoked(row.id, "revoked")
    assert not TaskResult.objects.exists()


def test_a_worker_that_is_told_to_revoke_what_is_no_job_yet_says_so() -> None:
    current_app.backend.mark_as_revoked("of-another-program", "revoked")
    assert AsyncResult("of-another-program").state == "REVOKED"
