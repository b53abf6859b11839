"""Who may schedule what: the decision itself."""

from __future__ import annotations

import pytest

from jobs.rules.permits import Listed, Offer, TaskFacts, judge, may_be_called, read_listed, read_offer

NOTHING = Listed()


def listed(*words: str) -> Listed:
    found, problems = read_listed(words)
    assert problems == []
    return found


def test_a_task_of_an_app_needs_the_permission_of_that_app() -> None:
    verdict = judge(TaskFacts("billing.report", app="billing"), NOTHING)
    assert (verdict.objection, verdict.permission) == ("", "billing.schedule_tasks")


@pytest.mark.parametrize(
    ("task", "why"),
    [
        (TaskFacts("celery.backend_cleanup", of_celery=True), "a task of Celery itself"),
        (TaskFacts("tools.sweep"), "belongs to no app of this project"),
        (TaskFacts("billing.new", known=False, app="billing"), "no such task is registered here"),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
def test_what_no_app_offers_is_for_nobody_unless_it_is_named(task: TaskFacts, why: str) -> None:
    verdict = judge(task, NOTHING)
    assert why in verdict.objection
    assert "JADWAL_SCHEDULABLE" in verdict.objection
    assert verdict.objection.endswith(".")
    prefix = task.name.partition(".")[0]
    for words in ([task.name], [f"{prefix}.*"]):
        assert judge(task, listed(*words)).objection == ""
    for words in (["celery"], [f"{task.name}x"], [f"{task.name}.*"], ["another.*"]):
        assert judge(task, listed(*words)).objection == verdict.objection


def test_what_the_setting_names_takes_a_permission_all_the_same() -> None:
    assert judge(TaskFacts("tools.sweep"), listed("tools.*")).permission == "jobs.schedule_tasks"
    new = TaskFacts("billing.new", known=False, app="billing")
    assert judge(new, listed("billing.new")).permission == "billing.schedule_tasks"


def test_what_its_author_keeps_back_no_setting_opens() -> None:
    task = TaskFacts("billing.repair", app="billing", offer=Offer.NOBODY)
    assert "offers it to nobody" in judge(task, listed("billing.*", "billing.repair")).objection


def test_what_is_offered_to_anyone_takes_no_permission() -> None:
    assert judge(TaskFacts("jobs.canary", app="jobs", offer=Offer.ANYONE), NOTHING).permission == ""
    outside = TaskFacts("tools.sweep", offer=Offer.ANYONE)
    assert "belongs to no app" in judge(outside, NOTHING).objection, "a package cannot invite itself"


@pytest.mark.parametrize(
    ("value", "offer"),
    [
        (True, Offer.APP),
        (None, Offer.APP),
        ("everybody", Offer.APP),
        (False, Offer.NOBODY),
        ("nobody", Offer.NOBODY),
        ("anyone", Offer.ANYONE),
    ],
)
def test_the_word_of_an_author(value: object, offer: Offer) -> None:
    assert read_offer(value) is offer


@pytest.mark.parametrize("word", ["*", ".*", "a*", "a.*.b", "*.a", "a..*", "a b", "a.", "a.*.*"])
def test_a_word_that_makes_no_sense_names_nothing(word: str) -> None:
    found, problems = read_listed([word, "good.task"])
    assert found == Listed(frozenset({"good.task"}))
    assert (len(problems), repr(word) in problems[0]) == (1, True)


def test_blanks_around_words_mean_nothing() -> None:
    assert read_listed([" a.b ", "", " c.* "]) == (Listed(frozenset({"a.b"}), ("c.",)), [])


def test_another_program_may_not_call_what_is_celerys_own() -> None:
    chunks = TaskFacts("celery.starmap", of_celery=True)
    assert not may_be_called(chunks, NOTHING)
    assert may_be_called(chunks, listed("celery.starmap"))
    assert may_be_called(TaskFacts("tools.sweep"), NOTHING), "a call is not a schedule"
