"""Backfill (SEMANTICS 21), calendars (13) and blackouts (14) on real rows."""

from __future__ import annotations

import pytest
import redis as redis_client
from django.core.exceptions import ValidationError

from jobs.engine import backfilling, claiming, dispatching, syncing, triggering
from jobs.models import Blackout, Calendar, Job, Schedule
from jobs.rules.states import Outcome, Reason
from tests.jobs import moves
from tests.jobs.builders import NOON, begin, cron, every, minutes, seconds

pytestmark = pytest.mark.django_db(transaction=True)


def finish(row: Job, *, ok: bool) -> None:
    execution = begin(row)
    if ok:
        moves.complete(execution.fence)
    else:
        moves.fail(execution.fence, Reason.EXHAUSTED, outcome=Outcome.ERROR, error="x")


@pytest.mark.semantics(21)
def test_both_ends_are_inclusive_and_what_ran_is_left_alone(redis: redis_client.Redis) -> None:
    schedule = every(60)
    for n in (1, 2):
        claiming.claim_due(NOON + minutes(n))
        finish(Job.objects.get(scheduled_for=NOON + minutes(n)), ok=n == 1)
    found = backfilling.slots(schedule, NOON + minutes(1), NOON + minutes(4))
    assert [(slot.scheduled_for, slot.runs) for slot in found] == [
        (NOON + minutes(1), False),
        (NOON + minutes(2), False),
        (NOON + minutes(3), True),
        (NOON + minutes(4), True),
    ]
    for reprocess, count in (("failed", 3), ("all", 4)):
        again = backfilling.slots(schedule, NOON + minutes(1), NOON + minutes(4), reprocess=reprocess)
        assert sum(slot.runs for slot in again) == count


@pytest.mark.semantics(21)
def test_a_backfill_runs_one_after_the_other_in_order(redis: redis_client.Redis) -> None:
    schedule = every(60)
    found = backfilling.slots(schedule, NOON + minutes(1), NOON + minutes(3))
    ids = backfilling.backfill(schedule, found)
    assert Job.objects.filter(status="delayed", hold="overlap", trigger="backfill").count() == 3
    order = []
    for _ in ids:
        assert dispatching.release_held(Job.objects.latest("available_at").available_at) == 1
        row = Job.objects.get(status="waiting")
        order.append(row.scheduled_for)
        finish(row, ok=True)
    assert order == [NOON + minutes(n) for n in (1, 2, 3)]


@pytest.mark.semantics(21)
def test_a_backfill_may_be_spread(redis: redis_client.Redis) -> None:
    schedule = every(60)
    found = backfilling.slots(schedule, NOON + minutes(1), NOON + minutes(3))
    backfilling.backfill(schedule, found, per_minute=2, side_by_side=True)
    due = list(Job.objects.order_by("available_at").values_list("available_at", flat=True))
    assert [later - due[0] for later in due] == [seconds(0), seconds(30), seconds(60)]


@pytest.mark.semantics(21)
def test_a_range_without_end_is_refused() -> None:
    with pytest.raises(backfilling.TooManyError):
        backfilling.slots(every(1), NOON, NOON + minutes(100_000))


def with_calendar(schedule: Schedule, **fields: object) -> None:
    calendar = Calendar.objects.create(name="c", **fields)
    Schedule.objects.filter(pk=schedule.pk).update(calendar=calendar)
    Schedule.objects.filter(pk=schedule.pk).update(edited_at=NOON)
    syncing.sync_stale(NOON)


@pytest.mark.semantics(13)
def test_a_calendar_excludes_days_and_its_edits_are_followed() -> None:
    schedule = cron("0 13 * * *")
    with_calendar(schedule, exclude_dates=["2026-03-10"])
    assert Schedule.objects.get(pk=schedule.pk).next_run_at == NOON + minutes(60 * 25)
    Calendar.objects.get().save()
    assert not Schedule.objects.get(pk=schedule.pk).stale, "nothing was changed"
    calendar = Calendar.objects.get()
    calendar.exclude_dates = ["2026-03-10", "2026-03-11"]
    calendar.save()
    assert Schedule.objects.get(pk=schedule.pk).stale
    Schedule.objects.update(edited_at=NOON)
    syncing.sync_stale(NOON)
    assert Schedule.objects.get(pk=schedule.pk).next_run_at == NOON + minutes(60 * 49)


@pytest.mark.semantics(13)
def test_a_calendar_that_excludes_everything_is_refused() -> None:
    window = {"days": [1, 2, 3, 4, 5, 6, 7], "start": "00:00", "end": "00:00"}
    with pytest.raises(ValidationError, match="excludes every time"):
        Calendar(name="never", exclude_windows=[window]).full_clean()


def blackout(**fields: object) -> Blackout:
    row = Blackout.objects.create(
        name="b", spans=[[(NOON + minutes(1)).isoformat(), (NOON + minutes(5)).isoformat()]], **fields
    )
    Schedule.objects.filter(stale=True).update(edited_at=NOON)
    syncing.sync_stale(NOON)
    return row


@pytest.mark.semantics(14)
def test_a_blackout_skips_and_says_so() -> None:
    every(60)
    blackout()
    for n in range(1, 6):
        claiming.claim_due(NOON + minutes(n))
    assert list(Job.objects.order_by("scheduled_for").values_list("status", "reason", "skipped_count")) == [
        ("skipped", "blackout", 4),
        ("waiting", "", None),
    ]


@pytest.mark.semantics(14)
def test_a_blackout_may_defer_to_its_end() -> None:
    every(180)
    blackout(mode="defer_to_end")
    claiming.claim_due(NOON + minutes(3))
    row = Job.objects.get()
    assert (row.scheduled_for, row.available_at, row.status) == (
        NOON + minutes(3),
        NOON + minutes(5),
        "delayed",
    )


@pytest.mark.semantics(14)
@pytest.mark.parametrize(("scope", "applies"), [({"queue": "default"}, True), ({"queue": "billing"}, False)])
def test_a_blackout_of_a_queue_is_its_queues(scope: dict[str, str], applies: bool) -> None:
    schedule = every(60)
    blackout(**scope)
    first = Schedule.objects.get(pk=schedule.pk).next_run_at
    assert first == NOON + (minutes(5) if applies else minutes(1))


@pytest.mark.semantics(14)
@pytest.mark.semantics(20)
def test_manual_runs_pass_unless_the_window_is_enforced(redis: redis_client.Redis) -> None:
    schedule = every(60)
    always = [["2020-01-01T00:00:00+00:00", "2090-01-01T00:00:00+00:00"]]
    row = Blackout.objects.create(name="b", spans=always)
    syncing.sync_stale(NOON)
    assert triggering.run_now(Schedule.objects.get(pk=schedule.pk))
    row.enforced = True
    row.save()
    with pytest.raises(triggering.RefusedError, match="blackout"):
        triggering.run_now(Schedule.objects.get(pk=schedule.pk))
