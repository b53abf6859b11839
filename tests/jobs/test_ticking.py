"""What a turn finds to do: the one question that stands before the verbs must not overlook anything."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

import pytest

from jobs.engine import pausing, ticking
from jobs.engine.clock import database_now
from jobs.engine.ticking import Ticker, Work
from jobs.models import Job, Schedule
from jobs.rules.states import Status
from tests.jobs.builders import NOON, every, job, minutes

pytestmark = pytest.mark.django_db(transaction=True)

NOTHING = Work(*[False] * len(Work._fields))


def paused_until(at: datetime) -> None:
    schedule = every(60)
    pausing.pause(schedule, until=at)
    Ticker().tick(NOON)


def delayed(hold: str, at: datetime) -> None:
    job(Status.DELAYED, hold=hold, available_at=at)


def policy(**fields: object) -> None:
    """Change a policy; the edit is compiled, so that only the policy is found."""
    Schedule.objects.filter(pk=every(60).pk).update(**fields)
    Schedule.objects.update(stale=False)


def upstream() -> Schedule:
    return every(60, "upstream")


FOUND: dict[str, tuple[Callable[[], object], set[str]]] = {
    "nothing": (lambda: every(60), set()),
    "a pause that ends now": (lambda: paused_until(NOON), {"resumable"}),
    "a pause that ends later": (lambda: paused_until(NOON + minutes(1)), set()),
    "an edit": (
        lambda: Schedule.objects.filter(pk=every(60).pk).update(jitter=timedelta(seconds=5)),
        {"stale"},
    ),
    "a job that is due": (lambda: delayed("", NOON), {"promotable"}),
    "a job that is due later": (lambda: delayed("", NOON + minutes(1)), set()),
    "held by an overlap": (lambda: delayed("overlap", NOON + minutes(1)), {"held"}),
    "held by a limit": (lambda: delayed("concurrency", NOON), {"held"}),
    "held by a gate": (lambda: delayed("upstream", NOON), {"held"}),
    "one that follows another": (lambda: policy(after=upstream(), after_mode="trigger"), {"followers"}),
    "one that waits for another": (lambda: policy(after=upstream(), after_mode="gate"), set()),
    "one that is paused when it fails": (lambda: policy(pause_after_failures=3), {"watched"}),
}


@pytest.mark.parametrize("what", list(FOUND))
def test_it_finds(what: str) -> None:
    make, found = FOUND[what]
    make()
    assert ticking.look_around(NOON) == NOTHING._replace(**dict.fromkeys(found, True))


def test_a_pause_that_ends_an_edit_and_what_is_due_by_it_are_one_turn() -> None:
    """The end of a pause is an edit, which is compiled, and what it leaves due is claimed."""
    schedule = every(60)
    pausing.pause(schedule, until=database_now())
    Ticker().tick(database_now())
    Schedule.objects.filter(pk=schedule.pk).update(paused_until=database_now())
    turn = Ticker().tick(database_now())
    assert turn.synced == 1
    schedule.refresh_from_db()
    assert (schedule.paused_at, schedule.stale) == (None, False)


def test_what_is_due_is_claimed_before_an_edit_is_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    every(60, "due")
    edited = every(60, "edited")
    Schedule.objects.filter(pk=edited.pk).update(jitter=timedelta(seconds=5))
    decided: list[list[str]] = []
    sync = ticking.syncing.sync_stale

    def watched(now: datetime) -> int:
        decided.append(sorted(Job.objects.values_list("schedule_name", flat=True).distinct()))
        return sync(now)

    monkeypatch.setattr(ticking.syncing, "sync_stale", watched)
    Ticker().tick(NOON + minutes(1))
    assert decided[0] == ["due"]
    assert sorted(Job.objects.values_list("schedule_name", flat=True).distinct()) == ["due", "edited"]
