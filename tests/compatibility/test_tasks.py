"""What a task may do and be: retries, classes, states, limits, signals."""

from __future__ import annotations

import pytest
from celery.exceptions import MaxRetriesExceededError, TimeLimitExceeded
from celery.result import AsyncResult
from django_celery_results.models import TaskResult

from jobs.models import Job
from tests.compatibility import tasks
from tests.compatibility.stage import Stage

pytestmark = pytest.mark.acceptance


REPLACEMENTS = [("task", 3), ("chain", 13), ("group", [3, 7]), ("chord", 10)]


def outcomes(job: Job) -> list[str]:
    return [attempt.outcome for attempt in job.attempts.order_by("number")]


# --- Retries -----------------------------------------------------------------------------------------------


def test_self_retry(stage: Stage) -> None:
    """As in Celery: the same id, new arguments, `request.retries` counts. Each try is an attempt of one job."""
    result = tasks.third_time.delay("a")
    assert stage.get(result) == "a!! after 2"
    assert [one["word"] for one in stage.notes(result.id, "try")] == ["a", "a!"]
    job = stage.ended(result)
    assert (job.attempt, outcomes(job)) == (3, ["retry", "retry", "completed"])
    assert {attempt.error for attempt in job.attempts.all()} == {""}
    assert Job.objects.filter(id=result.id).count() == 1


@pytest.mark.parametrize("named", [True, False])
def test_self_retry_gives_up_after_max_retries(stage: Stage, named: bool) -> None:
    """As in Celery: the given exception, or MaxRetriesExceededError. The platform does not try on its own."""
    result = tasks.gives_up.delay(named)
    with pytest.raises(KeyError if named else MaxRetriesExceededError):
        stage.get(result, 5)
    job = stage.ended(result)
    assert (job.status, job.attempt) == ("failed", 2)


def test_autoretry_for(stage: Stage) -> None:
    """As in Celery: which errors, how often, after how long."""
    result = tasks.auto.delay("once")
    assert stage.get(result) == 1
    result = tasks.auto.delay("always")
    with pytest.raises(OSError, match="always"):
        stage.get(result)
    assert [one["retries"] for one in stage.notes(result.id, "try")] == [0, 1, 2]


@pytest.mark.parametrize(("kind", "error"), [("missing", FileNotFoundError), ("value", ValueError)])
def test_what_autoretry_does_not_name_is_final(stage: Stage, kind: str, error: type[Exception]) -> None:
    """As in Celery: `dont_autoretry_for`, and errors that `autoretry_for` does not name, fail at once."""
    result = tasks.auto.delay(kind)
    with pytest.raises(error):
        stage.get(result)
    assert len(stage.notes(result.id, "try")) == 1


def test_a_task_that_says_nothing_is_tried_again(stage: Stage) -> None:
    """Differs: in Celery an error is final unless the task says otherwise. Here a job has five attempts.

    `max_attempts=1` of the task, or JADWAL_MAX_ATTEMPTS=1 for all, is Celery's way.
    """
    result = tasks.fail_as_usual.delay()
    stage.until(lambda: Job.objects.get(id=result.id).errors == 1)
    job = Job.objects.get(id=result.id)
    assert (job.status, result.state) == ("delayed", "RETRY")
    result.revoke()
    once = tasks.fail.delay()
    assert (stage.ended(once).status, stage.ended(once).attempt) == ("failed", 1)


def test_throws(stage: Stage) -> None:
    """As in Celery: an expected error, logged at INFO. Here it is final as well: no other attempt is made."""
    result = tasks.throws.delay()
    with pytest.raises(KeyError):
        stage.get(result)
    assert stage.ended(result).attempt == 1


# --- Other ends --------------------------------------------------------------------------------------------


def test_ignore(stage: Stage) -> None:
    """As in Celery: no result; a state that the task has set itself stays. The job is `completed`."""
    plain, custom = tasks.ignore.delay(), tasks.ignore.delay("PUBLISHED")
    for result in (plain, custom):
        job = stage.ended(result)
        assert (job.status, outcomes(job)) == ("completed", ["ignored"])
    assert (plain.state, custom.state, custom.info) == ("PENDING", "PUBLISHED", {"done": 7})


def test_reject(stage: Stage) -> None:
    """As in Celery: the result is FAILURE with the Reject. Here the job is a dead letter."""
    result = tasks.reject.delay(False)
    job = stage.ended(result)
    assert (job.status, job.reason, job.error) == ("failed", "rejected", "not today")
    stage.until(lambda: result.state == "FAILURE", 3)
    assert "not today" in str(result.result)


def test_reject_and_requeue(stage: Stage) -> None:
    """Differs for the better: with `acks_late` alone Celery requeues; here always, and no attempt is charged."""
    result = tasks.reject.delay(True)
    assert stage.get(result) == "taken after 1"
    job = stage.ended(result)
    assert (job.errors, outcomes(job)) == (0, ["interrupted", "completed"])


@pytest.mark.parametrize(("kind", "value"), REPLACEMENTS)
def test_self_replace(stage: Stage, kind: str, value: object) -> None:
    """As in Celery: the task's id leads to the result of what took its place."""
    assert stage.get(tasks.becomes.delay(kind), 3) == value


@pytest.mark.parametrize(("kind", "value"), REPLACEMENTS)
def test_self_replace_in_a_chain_and_in_a_chord(stage: Stage, kind: str, value: object) -> None:
    """As in Celery: what follows gets the result of what took the task's place."""
    chain = (tasks.becomes.si(kind) | tasks.echo.s()).delay()
    assert stage.get(chain, 3)["args"] == [value]


def test_update_state(stage: Stage) -> None:
    """As in Celery: a state of one's own with data, seen from outside while the task runs."""
    result = tasks.progress.delay(1)
    stage.until(lambda: stage.notes(result.id, "began"))
    assert (result.state, result.info) == ("PROGRESS", {"done": 1, "of": 2})
    assert stage.get(result) == "done"


def test_track_started(stage: Stage) -> None:
    """As in Celery: STARTED while it runs. Here the job is `active` with or without it."""
    result = tasks.tracked.delay(1)
    stage.until(lambda: stage.notes(result.id, "began"))
    assert result.state == "STARTED"
    assert Job.objects.get(id=result.id).status == "active"
    stage.ended(result)


# --- Limits ------------------------------------------------------------------------------------------------


def test_a_soft_time_limit_can_be_caught(stage: Stage) -> None:
    """As in Celery: the task may clean up and return."""
    assert stage.get(tasks.soft.delay()) == "cleaned up"


def test_a_hard_time_limit(stage: Stage) -> None:
    """As in Celery: the process is killed, and the result is TimeLimitExceeded.

    Here it is an attempt that failed: with attempts left it would run again.
    """
    result = tasks.hard.delay()
    with pytest.raises(TimeLimitExceeded):
        stage.get(result)
    assert outcomes(stage.ended(result)) == ["timeout"]


def test_the_hooks_and_signals_of_a_task_that_is_killed_at_its_limit(stage: Stage) -> None:
    """As in Celery 5.7: `on_failure`, `after_return` and `task_failure` fire in the worker's main process."""
    result = tasks.noting_hard.delay()
    stage.ended(result)
    stage.until(lambda: {"on_failure", "after_return", "task_failure"} <= set(stage.events(result.id)), 3)


def test_rate_limit(stage: Stage) -> None:
    """As in Celery: for each worker, by a token bucket in its memory.

    `queues limit` and a schedule's `rate` are limits for all workers together.
    """
    ids = [tasks.rated.delay().id for _ in range(5)]
    for one in ids:
        stage.ended(one)
    at = sorted(stage.notes(one, "ran")[0]["at"] for one in ids)
    assert 1.5 < at[-1] - at[0] < 8


# --- Classes -----------------------------------------------------------------------------------------------


def test_a_custom_base_class(stage: Stage) -> None:
    """As in Celery: `base=` with a class that derives from `celery.Task`; hooks are called in their order."""
    result = tasks.noting.delay("return")
    assert stage.get(result) == "return"
    stage.until(lambda: "task_postrun" in stage.events(result.id))
    assert stage.events(result.id) == [
        "task_prerun", "before_start", "on_success", "task_success", "after_return", "task_postrun",
    ]  # fmt: skip
    assert stage.get(tasks.noting.delay("connection")).startswith("connection of ")


def test_the_hooks_of_a_task_that_is_retried(stage: Stage) -> None:
    """As in Celery: `on_retry` for the attempt that asked for another, `on_success` for the last."""
    result = tasks.noting.delay("retry")
    assert stage.get(result) == "return"
    stage.until(lambda: "after_return" in stage.events(result.id))
    hooks = [one for one in stage.events(result.id) if not one.startswith("task_")]
    assert hooks == ["before_start", "on_retry", "before_start", "on_success", "after_return"]


def test_the_hooks_of_a_task_that_fails(stage: Stage) -> None:
    """As in Celery: the hook gets the error and its traceback."""
    result = tasks.noting.delay("fail")
    stage.ended(result)
    stage.until(lambda: "after_return" in stage.events(result.id))
    hooks = [one for one in stage.events(result.id) if not one.startswith("task_")]
    assert hooks == ["before_start", "on_failure", "after_return"]
    [failure] = stage.notes(result.id, "on_failure")
    assert (failure["error"], "raise ValueError" in failure["traceback"]) == ("ValueError('no')", True)


def test_a_base_class_with_a_call_of_its_own(stage: Stage) -> None:
    """As in Celery: `__call__` surrounds every run."""
    result = tasks.calling.delay(2)
    assert stage.get(result) == "<4>"
    assert "called" in stage.events(result.id)


def test_a_task_class_that_is_registered(stage: Stage) -> None:
    """As in Celery: `app.register_task` takes an instance of a class with `run`."""
    assert stage.get(tasks.Doubling.named().delay(4), 3) == 8


# --- Signals -----------------------------------------------------------------------------------------------


def test_signals(stage: Stage) -> None:
    """As in Celery: task_prerun, task_postrun, task_success, task_failure and task_retry, where the task runs."""
    good, bad, again = tasks.add.delay(1, 2), tasks.fail.delay(), tasks.third_time.delay("a")
    for result in (good, bad, again):
        stage.ended(result)
        stage.until(lambda result=result: stage.events(result.id)[-1:] == ["task_postrun"])
    assert stage.events(good.id) == ["task_prerun", "task_success", "task_postrun"]
    assert stage.events(bad.id) == ["task_prerun", "task_failure", "task_postrun"]
    once = ["task_prerun", "try", "task_retry", "task_postrun"]
    assert stage.events(again.id) == [*once, *once, "task_prerun", "task_success", "task_postrun"]


def test_a_result_names_the_worker_and_the_schedule(stage: Stage) -> None:
    """As with django-celery-results and `result_extended`: task name, arguments, worker."""
    result = tasks.add.delay(1, 2)
    stage.ended(result)
    row = TaskResult.objects.get(task_id=result.id)
    assert (row.task_name, row.task_args, row.worker.partition("@")[0]) == (
        "compat.add",
        '"[1, 2]"',
        "default",
    )
    assert AsyncResult(result.id).date_done is not None
