"""Chains, groups, chords, links and error callbacks (Celery's "Canvas").

What is the same for all of them: each step is a job, made in the transaction that ends the step before it.
Stock Celery sends a step's message before it stores the result of the step before; a worker that dies in
between has sent a step twice, or has lost one.
"""

from __future__ import annotations

import pytest
from celery import chain, chord, group
from celery.exceptions import ChordError
from celery.result import AsyncResult, GroupResult
from django.db import transaction

from jobs.models import Job
from tests.compatibility import tasks
from tests.compatibility.stage import Stage

pytestmark = pytest.mark.acceptance


# --- Chains ------------------------------------------------------------------------------------------------


def test_a_chain_hands_each_result_to_the_next(stage: Stage) -> None:
    """As in Celery: the result is the last step's, `.parent` leads back, and `.si()` takes no result."""
    result = chain(tasks.add.s(1, 2), tasks.add.s(10), tasks.echo.si("alone")).apply_async()
    assert stage.get(result)["args"] == ["alone"]
    assert result.parent.get(timeout=1) == 13
    assert result.parent.parent.get(timeout=1) == 3
    assert result.parent.parent.parent is None
    first, last = Job.objects.get(id=result.parent.parent.id), Job.objects.get(id=result.id)
    assert last.headers["parent_id"] == result.parent.id
    assert last.headers["root_id"] == first.id


def test_a_step_of_a_chain_becomes_a_job_when_the_one_before_has_ended(stage: Stage) -> None:
    """Before that the step has an id and no row; its result is PENDING, as in Celery."""
    result = chain(tasks.sleep.s(1), tasks.take_note.s()).apply_async()
    stage.until(lambda: stage.notes(result.parent.id, "began"))
    assert not Job.objects.filter(id=result.id).exists()
    assert result.state == "PENDING"
    stage.ended(result)
    assert stage.notes(result.id, "ran")[0]["args"] == ["slept"]


def test_a_chain_ends_at_a_failure(stage: Stage) -> None:
    """As in Celery: later steps never run, and their results are FAILURE with the same error.

    Here they have no jobs either: the dead letter is the step that failed, and replaying it goes on with
    the chain from there.
    """
    result = chain(tasks.add.s(1, 2), tasks.fail.si("in the middle"), tasks.add.s(1)).apply_async()
    failed = stage.ended(result.parent)
    assert (failed.status, failed.error) == ("failed", "ValueError: in the middle")
    with pytest.raises(ValueError, match="in the middle"):
        stage.get(result)
    assert (result.parent.parent.state, result.parent.state, result.state) == (
        "SUCCESS",
        "FAILURE",
        "FAILURE",
    )
    assert not Job.objects.filter(id=result.id).exists()


def test_a_failed_step_that_is_replayed_goes_on_with_its_chain(stage: Stage) -> None:
    """Not in Celery: a dead letter of a chain can be run again, and takes its chain with it."""
    from jobs.engine import dispatching, lifecycle

    result = chain(tasks.fail.si("for now"), tasks.echo.s("after")).apply_async()
    failed = stage.ended(result.parent)
    Job.objects.filter(id=failed.id).update(task="compat.add", args=[1, 2])
    with transaction.atomic():
        lifecycle.replay([failed.id])
        dispatching.publish_waiting([failed.id])
    stage.until(lambda: Job.objects.filter(id=result.id, status="completed").exists())
    assert stage.get(AsyncResult(result.id))["args"] == [3, "after"]


def test_a_step_that_is_retried_keeps_its_chain(stage: Stage) -> None:
    """As in Celery: the chain goes on from the attempt that succeeds, once."""
    result = chain(tasks.third_time.s("a"), tasks.echo.s()).apply_async()
    assert stage.get(result)["args"] == ["a!! after 2"]
    assert Job.objects.filter(headers__parent_id=result.parent.id).count() == 1


def test_the_operators_of_canvas(stage: Stage) -> None:
    """As in Celery: `|` makes chains, partials take the result first, `clone` and `set` change options."""
    partial = tasks.add.s(10)
    result = (tasks.add.s(1, 1) | partial.clone() | partial.clone(kwargs={}).set(priority=3)).delay()
    assert stage.get(result) == 22
    assert Job.objects.get(id=result.id).priority == 3


def test_error_callbacks_of_a_chain(stage: Stage) -> None:
    """As in Celery: `on_error` belongs to every step, so the one that fails calls it, with its own id."""
    result = chain(tasks.add.s(1, 2), tasks.fail.si(), tasks.add.s(1)).on_error(tasks.on_error.s()).delay()
    failed = result.parent.id
    stage.until(lambda: stage.notes(failed, "error callback"))
    assert [one["style"] for one in stage.notes(failed, "error callback")] == ["old"]
    assert stage.notes(result.id) == []


# --- Links -------------------------------------------------------------------------------------------------


def test_links_run_after_success_with_the_result(stage: Stage) -> None:
    """As in Celery: each link gets the result and is a child of the task (Celery makes a group of several)."""
    result = tasks.add.apply_async((1, 2), link=[tasks.add.s(10), tasks.echo.s(), tasks.echo.si("alone")])
    stage.ended(result)
    children = stage.until(lambda: AsyncResult(result.id).children)
    values = [stage.get(child) for child in children]
    assert values[0] == 13
    assert [value["args"] for value in values[1:]] == [[3], ["alone"]]
    assert {value["parent_id"] for value in values[1:]} == {result.id}


def test_links_do_not_run_after_a_failure(stage: Stage) -> None:
    """As in Celery."""
    result = tasks.fail.apply_async(link=tasks.take_note.si())
    stage.ended(result)
    assert not Job.objects.filter(headers__parent_id=result.id).exists()


def test_an_error_callback_of_the_old_style_is_a_job(stage: Stage) -> None:
    """As in Celery: it gets the failed task's id. The job is made in the commit that ends the last attempt."""
    result = tasks.fail.apply_async(link_error=tasks.on_error.s())
    stage.until(lambda: stage.notes(result.id, "error callback"))
    callback = Job.objects.get(headers__parent_id=result.id)
    assert (callback.task, callback.args) == ("compat.on_error", [result.id])


def test_an_error_callback_of_the_new_style_is_called_where_the_task_failed(stage: Stage) -> None:
    """As in Celery: it gets request, exception and traceback, within the worker process; it is no job."""
    result = tasks.fail.apply_async(("broken",), link_error=tasks.on_error_new.s())
    stage.ended(result)
    [noted] = stage.notes(result.id, "error callback")
    assert (noted["style"], noted["error"]) == ("new", "ValueError('broken')")
    assert not Job.objects.filter(headers__parent_id=result.id).exists()


def test_an_error_callback_that_fails_does_not_change_what_failed(stage: Stage) -> None:
    """As in Celery: its error is logged. Here it may even break its transaction."""
    result = tasks.fail.apply_async(("broken",), link_error=tasks.on_error_bad.s())
    job = stage.ended(result)
    assert (job.status, job.error) == ("failed", "ValueError: broken")
    assert result.state == "FAILURE"


def test_error_callbacks_wait_for_the_last_attempt(stage: Stage) -> None:
    """As in Celery: a retry is not a failure."""
    result = tasks.gives_up.apply_async((True,), link_error=tasks.on_error_new.s())
    job = stage.ended(result, 5)
    assert (job.attempt, len(stage.notes(result.id, "error callback"))) == (2, 1)


def test_an_error_callback_of_a_task_that_is_killed_at_its_limit(stage: Stage) -> None:
    """As in Celery: a hard time limit is a failure like any other."""
    result = tasks.hard.apply_async(link_error=tasks.on_error_new.s())
    assert stage.ended(result).status == "failed"
    stage.until(lambda: stage.notes(result.id, "error callback"), 3)


# --- Groups ------------------------------------------------------------------------------------------------


def test_a_group_runs_side_by_side(stage: Stage) -> None:
    """As in Celery: results come in the order of the group."""
    result = group(tasks.add.s(n, n) for n in range(5)).apply_async()
    assert isinstance(result, GroupResult)
    assert stage.get(result) == [0, 2, 4, 6, 8]
    assert (result.ready(), result.successful(), result.failed(), result.completed_count()) == (
        True, True, False, 5,
    )  # fmt: skip
    assert result.join(timeout=1) == [0, 2, 4, 6, 8]
    assert {Job.objects.get(id=child.id).headers["group"] for child in result.children} == {result.id}


def test_a_group_with_a_failure(stage: Stage) -> None:
    """As in Celery: `get` raises the error, `propagate=False` returns it, the others are not disturbed."""
    result = group(tasks.add.s(1, 2), tasks.fail.si("one of two")).apply_async()
    with pytest.raises(ValueError, match="one of two"):
        stage.get(result)
    stage.until(result.ready)
    good, bad = result.get(propagate=False, timeout=1)
    assert (good, str(bad)) == (3, "one of two")
    assert (result.successful(), result.failed(), result.waiting()) == (False, True, False)


def test_a_group_can_be_saved_and_found_again(stage: Stage) -> None:
    """As in Celery: by django-celery-results' table of groups."""
    result = group(tasks.add.s(1, 1), tasks.add.s(2, 2)).apply_async()
    result.save()
    found = GroupResult.restore(result.id)
    assert found == result
    assert stage.get(found) == [2, 4]
    found.delete()
    assert GroupResult.restore(result.id) is None


def test_links_of_a_group_belong_to_its_members(stage: Stage) -> None:
    """As in Celery: an error callback of a group is that of each of its tasks."""
    sig = group(tasks.fail.si("a"), tasks.fail.si("b"))
    sig.link_error(tasks.on_error_new.s())
    result = sig.apply_async()
    for child in result.children:
        stage.until(lambda child=child: stage.notes(child.id, "error callback"))


def error_of(stage: Stage, result: AsyncResult) -> str:
    """Wait until the body of a chord has failed, and return why."""
    stage.until(lambda: result.state == "FAILURE", 5)
    assert isinstance(result.result, ChordError)
    return str(result.result)


# --- Chords ------------------------------------------------------------------------------------------------


def test_a_chord_runs_its_body_once_with_all_results(stage: Stage) -> None:
    """As in Celery: the body gets the results in order.

    The count is a row (django-celery-results), taken down in the commit that ends each member. So a member
    that runs twice after a crash counts once; with Celery it may count twice.
    """
    result = chord((tasks.add.s(n, n) for n in range(6)), tasks.echo.s()).apply_async()
    assert stage.get(result)["args"] == [[0, 2, 4, 6, 8, 10]]
    assert Job.objects.filter(id=result.id).count() == 1


def test_a_chord_of_one_and_a_chord_in_a_chain(stage: Stage) -> None:
    """As in Celery: a chord is a step like any other."""
    one = chord([tasks.add.s(1, 1)], tasks.total.s()).apply_async()
    step = (
        tasks.add.s(1, 1) | chord([tasks.add.s(1), tasks.add.s(2)], tasks.total.s()) | tasks.add.s(100)
    ).delay()
    assert (stage.get(one), stage.get(step)) == (2, 107)


def test_a_group_in_a_chain_is_upgraded_to_a_chord(stage: Stage) -> None:
    """As in Celery."""
    sig = group(tasks.add.s(1, 1), tasks.add.s(2, 2)) | tasks.total.s()
    assert isinstance(sig, chord)
    assert stage.get(sig.delay()) == 6
    longer = chain(
        tasks.add.s(1, 0), group(tasks.add.s(10), tasks.add.s(20)), tasks.total.s(), tasks.add.s(1)
    )
    assert stage.get(longer.delay()) == 33


def test_a_chain_that_ends_in_a_group(stage: Stage) -> None:
    """As in Celery: the result is a group's."""
    result = chain(tasks.add.s(1, 1), group(tasks.add.s(1), tasks.add.s(2))).delay()
    assert stage.get(result) == [3, 4]


def test_chains_in_chords(stage: Stage) -> None:
    """As in Celery: a chain counts when its last step has ended."""
    header = [chain(tasks.add.s(n, 1), tasks.add.s(10), tasks.add.s(100)) for n in range(3)]
    assert stage.get(chord(header, tasks.echo.s()).delay())["args"] == [[111, 112, 113]]


def test_chords_in_chords_and_groups_in_chords(stage: Stage) -> None:
    """As in Celery: the inner body's result is the member's; a group in a header is taken apart."""
    inner = chord([tasks.add.s(1, 1), tasks.add.s(2, 2)], tasks.total.s())
    nested = chord([inner, tasks.add.s(10, 10)], tasks.total.s())
    assert stage.get(nested.delay()) == 26
    flat = chord([group(tasks.add.s(1, 1), tasks.add.s(2, 2)), tasks.add.s(3, 3)], tasks.echo.s())
    assert sorted(stage.get(flat.delay())["args"][0]) == [2, 4, 6]


def test_a_chord_whose_body_is_a_group_or_a_chain(stage: Stage) -> None:
    """As in Celery."""
    header = [tasks.add.s(1, 1), tasks.add.s(2, 2)]
    assert stage.get(chord(header, chain(tasks.total.s(), tasks.add.s(100))).delay()) == 106
    result = chord(header, group(tasks.total.s(), tasks.echo.s())).delay()
    total, echo = stage.get(result)
    assert (total, echo["args"]) == (6, [[2, 4]])


def test_a_chord_with_a_member_that_fails(stage: Stage) -> None:
    """As in Celery: the body does not run; its result is FAILURE with a ChordError, and errbacks are called.

    `get` raises the member's own error, or the ChordError if both are there when it looks.
    """
    body = tasks.total.s().on_error(tasks.on_error_new.s())
    result = chord([tasks.add.s(1, 1), tasks.fail.si("a member")], body).delay()
    with pytest.raises((ValueError, ChordError), match="a member"):
        stage.get(result)
    assert "raised ValueError('a member')" in error_of(stage, result)
    stage.until(lambda: stage.notes(result.id, "error callback"))
    assert not Job.objects.filter(id=result.id).exists()


def test_a_chord_with_a_member_that_is_retried(stage: Stage) -> None:
    """As in Celery: only its end counts."""
    result = chord([tasks.third_time.s("a"), tasks.add.s(1, 1)], tasks.echo.s()).delay()
    assert stage.get(result)["args"] == [["a!! after 2", 2]]


def test_a_chord_with_a_member_that_is_killed_at_its_limit(stage: Stage) -> None:
    """As in Celery: the chord does not wait for ever."""
    result = chord([tasks.add.s(1, 1), tasks.hard.si()], tasks.total.s()).delay()
    assert "TimeLimitExceeded" in error_of(stage, result)


def test_a_chord_with_a_member_that_is_cancelled(stage: Stage) -> None:
    """As in Celery, where revoking a member fails the chord: it does not wait for ever."""
    header = group(tasks.add.s(1, 1), tasks.take_note.si().set(countdown=3600))
    result = chord(header, tasks.total.s()).delay()
    stage.until(lambda: result.parent.children[0].ready())
    result.parent.children[1].revoke()
    assert "TaskRevokedError" in error_of(stage, result)


def test_a_chord_with_a_member_that_expires(stage: Stage) -> None:
    """As in Celery, where a member that expires is revoked and fails the chord."""
    header = [tasks.add.s(1, 1), tasks.take_note.si().set(countdown=1, expires=0.5)]
    assert "TaskRevokedError" in error_of(stage, chord(header, tasks.total.s()).delay())


def test_an_empty_group_and_an_empty_chord(stage: Stage) -> None:
    """As in Celery: an empty group does nothing, a chord without members runs its body with []."""
    assert group([]).apply_async().get(timeout=1) == []
    assert stage.get(chord([], tasks.echo.s()).delay())["args"] == [[]]


# --- map, starmap, chunks ----------------------------------------------------------------------------------


def test_map_starmap_and_chunks(stage: Stage) -> None:
    """As in Celery: each is one job that calls the task in a loop; chunks are a group of those."""
    assert stage.get(tasks.total.map([[1, 2], [3]]).delay()) == [3, 3]
    assert stage.get(tasks.add.starmap([(1, 2), (3, 4)]).delay()) == [3, 7]
    assert stage.get(tasks.add.chunks([(n, n) for n in range(5)], 2).group().delay()) == [[0, 2], [4, 6], [8]]


# --- Stamps ------------------------------------------------------------------------------------------------


def test_stamped_headers_reach_every_step(stage: Stage) -> None:
    """As in Celery: a stamp is a header of every task of a canvas, kept with the job."""
    sig = chain(tasks.add.s(1, 1), tasks.echo.s())
    sig.stamp(tenant="acme")
    seen = stage.get(sig.delay())
    assert seen["stamped_headers"] == ["tenant"]
    assert seen["stamps"] == {"tenant": "acme"}


# --- Transactions ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["chain", "group", "chord"])
def test_a_canvas_in_a_transaction_that_rolls_back_leaves_nothing(stage: Stage, kind: str) -> None:
    """Not in Celery, where the messages are out: here every row of the canvas is part of the transaction."""
    from django_celery_results.models import ChordCounter

    sig = {
        "chain": chain(tasks.add.s(1, 2), tasks.add.s(3)),
        "group": group(tasks.add.s(1, 2), tasks.add.s(3, 4)),
        "chord": chord([tasks.add.s(1, 2), tasks.add.s(3, 4)], tasks.total.s()),
    }[kind]

    def counts() -> tuple[int, int]:
        return Job.objects.count(), ChordCounter.objects.count()

    before = counts()
    with transaction.atomic():
        sig.apply_async()
        assert counts() > before
        transaction.set_rollback(True)
    assert counts() == before
    with transaction.atomic():
        result = sig.apply_async()
    assert stage.get(result) in (6, [3, 7], 10)
