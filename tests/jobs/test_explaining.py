"""Why a schedule did, did not, will or will not run (SEMANTICS 28), on real rows."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta

import psycopg
import pytest
import redis as redis_client
from django.db import connection
from django_celery_beat.models import PeriodicTask

from jobs.conf import conf
from jobs.engine import claiming, lifecycle, limiting, pausing, syncing
from jobs.engine.clock import database_now
from jobs.insight.explaining import Explanation, explain
from jobs.insight.obstacles import beat_is_running
from jobs.models import Beat, Blackout, Calendar, Job, Schedule, Worker
from jobs.rules.states import Outcome, Reason, Status
from tests.jobs import moves
from tests.jobs.builders import NOON, begin, cron, every, job, minutes, once, seconds, turning_beat, worker

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.semantics(28)]

LATER = NOON + minutes(10)


@pytest.fixture(autouse=True)
def _redis(redis: redis_client.Redis) -> None:
    """Jobs are published somewhere."""


@pytest.fixture
def beat() -> Iterator[None]:
    """A beat that turns, and a connection that listens for edits, as every beat has one."""
    turning_beat()
    params = connection.get_connection_params()
    params.pop("cursor_factory", None)
    params.pop("context", None)
    with psycopg.connect(**params, autocommit=True) as doorbell:
        doorbell.execute("LISTEN jadwal_schedules")
        yield


def fresh(schedule: Schedule) -> Schedule:
    return Schedule.objects.select_related("periodic_task", "after__periodic_task").get(pk=schedule.pk)


def ask(schedule: Schedule, at: datetime | None = None, now: datetime = LATER) -> Explanation:
    return explain(fresh(schedule), now=now, at=at)


def old(schedule: Schedule) -> Schedule:
    """As if it had been made long ago."""
    Schedule.objects.filter(pk=schedule.pk).update(created_at=NOON - timedelta(days=30))
    return schedule


# --- The past -----------------------------------------------------------------------------------------------


def test_it_ran() -> None:
    schedule = every(60, "minutely")
    claiming.claim_due(NOON + minutes(1))
    row = Job.objects.get()
    moves.complete(begin(row).fence)
    Job.objects.filter(id=row.id).update(
        started_at=NOON + seconds(60.5), finished_at=NOON + seconds(63), attempt=2
    )
    told = ask(schedule, NOON + minutes(1))
    assert told.verdict == "ran"
    assert told.sentence == "It ran at attempt 2: started 0.50 s after its time, took 2.50 s, and completed."
    assert told.facts["job"] == row.id
    assert told.document()["at"] == "2026-03-10T12:01:00Z"


def test_it_failed() -> None:
    schedule = every(60)
    claiming.claim_due(NOON + minutes(1))
    execution = begin(Job.objects.get())
    moves.fail(execution.fence, Reason.EXHAUSTED, outcome=Outcome.ERROR, error="OSError: no route.")
    told = ask(schedule, NOON + minutes(1))
    assert told.verdict == "failed"
    assert told.sentence == "It ran and failed (exhausted) after 1 attempt: OSError: no route."


def test_it_is_running_delayed_or_cancelled() -> None:
    schedule = every(60)
    claiming.claim_due(NOON + minutes(1))
    row = Job.objects.get()
    execution = begin(row)
    assert ask(schedule, NOON + minutes(1)).verdict == "running"
    moves.retry_at(execution.fence, NOON + minutes(9), error="OSError: x", outcome=Outcome.ERROR)
    told = ask(schedule, NOON + minutes(1))
    assert (told.verdict, "attempt 2 is due at 2026-03-10T12:09:00Z" in told.sentence) == ("delayed", True)
    assert "after OSError: x" in told.sentence
    lifecycle.cancel_pending([row.id])
    assert ask(schedule, NOON + minutes(1)).sentence.startswith("It was cancelled at ")


def test_overlap_names_the_run_that_was_in_the_way() -> None:
    schedule = every(60)
    claiming.claim_due(NOON + minutes(1))
    first = Job.objects.get()
    claiming.claim_due(NOON + minutes(2))
    told = ask(schedule, NOON + minutes(2))
    assert (told.verdict, told.facts["reason"], told.facts["earlier_run"]) == ("skipped", "overlap", first.id)
    assert f"job {first.id}, for 2026-03-10T12:01:00Z" in told.sentence


def test_every_time_of_a_missed_range_is_explained_by_its_one_row() -> None:
    schedule = every(60)
    claiming.claim_due(NOON + minutes(60))
    assert Job.objects.filter(status=Status.SKIPPED).count() == 1
    told = ask(schedule, NOON + minutes(30), now=NOON + minutes(61))
    assert (told.verdict, told.facts["reason"], told.facts["skipped"]) == ("skipped", "missed", 59)
    assert "one of 59 times from 2026-03-10T12:01:00Z to 2026-03-10T12:59:00Z" in told.sentence
    assert "catch-up policy is latest" in told.sentence
    assert ask(schedule, NOON + minutes(60), now=NOON + minutes(61)).verdict == "waiting"
    assert ask(schedule, NOON + seconds(90), now=NOON + minutes(61)).verdict == "not_a_time"


def test_what_a_calendar_or_a_blackout_took_is_told_apart_from_what_was_missed() -> None:
    weekdays = [{"days": [1, 2, 3, 4, 5], "start": "00:00", "end": "00:00"}]
    schedule = cron("0 * * * *", since=NOON)
    Blackout.objects.create(name="lunch", windows=[{"days": [3], "start": "11:00", "end": "13:00"}])
    calendar = Calendar.objects.create(name="work", include_windows=weekdays)
    Schedule.objects.filter(pk=schedule.pk).update(calendar=calendar)
    Schedule.objects.filter(pk=schedule.pk).update(edited_at=NOON, created_at=NOON)
    syncing.sync_stale(NOON)
    now = NOON + timedelta(days=6)
    claiming.claim_due(now)
    reasons = {
        when: ask(schedule, NOON + when, now=now).facts["reason"]
        for when in (timedelta(hours=2), timedelta(days=1), timedelta(days=4), timedelta(days=5, hours=23))
    }
    assert list(reasons.values()) == ["missed", "blackout", "excluded", "missed"]


def test_paused_times() -> None:
    schedule = old(every(60))
    Schedule.objects.filter(pk=schedule.pk).update(paused_at=NOON + seconds(30))
    pausing.pause(schedule, note="Audit.", actor="ada")
    Schedule.objects.filter(pk=schedule.pk).update(stale=False)
    told = ask(schedule, NOON + minutes(5))
    assert told.verdict == "paused"
    assert told.sentence == (
        "It did not run: it is paused by ada (Audit); the ledger will say so when it goes on."
    )
    pausing.resume(schedule)
    Schedule.objects.filter(pk=schedule.pk).update(edited_at=LATER)
    syncing.sync_stale(LATER)
    told = ask(schedule, NOON + minutes(5))
    assert (told.verdict, told.facts["reason"]) == ("skipped", "paused")


@pytest.mark.parametrize(
    ("reason", "words"),
    [("expired", "by its deadline"), ("dropped", "held back already"), ("upstream", "the wanted end")],
)
def test_the_other_reasons(reason: str, words: str) -> None:
    schedule = every(60)
    job(Status.SKIPPED, schedule_id=schedule.pk, scheduled_for=NOON + minutes(1), reason=reason)
    assert words in ask(schedule, NOON + minutes(1)).sentence


def test_a_backfill_is_told_beside_the_skip() -> None:
    schedule = every(60)
    when = NOON + minutes(1)
    job(Status.SKIPPED, schedule_id=schedule.pk, scheduled_for=when, reason="missed")
    job(schedule_id=schedule.pk, scheduled_for=when, nonce="backfill:1", trigger="backfill")
    told = ask(schedule, when)
    assert told.verdict == "skipped"
    assert told.sentence.endswith("It was run again by a backfill: waiting.")


def test_what_has_no_row() -> None:
    schedule = every(60)
    assert ask(schedule, NOON + minutes(1)).verdict == "before_creation"
    old(schedule)
    told = ask(schedule, NOON + minutes(5))
    assert told.verdict == "undecided"
    assert "no scheduler is running" in told.sentence
    Schedule.objects.filter(pk=schedule.pk).update(decided_through=LATER, next_run_at=LATER + minutes(1))
    assert ask(schedule, NOON + minutes(5)).verdict == "unknown"
    assert ask(schedule, NOON + minutes(5), now=NOON + timedelta(days=8)).verdict == "pruned"
    assert ask(schedule, NOON - minutes(5)).verdict == "not_a_time", "before its start"
    assert "nearest: 2026-03-10T12:05:00Z and 2026-03-10T12:06:00Z" in (
        ask(schedule, NOON + minutes(5) + seconds(20)).sentence
    )


# --- The present --------------------------------------------------------------------------------------------


def test_what_keeps_a_waiting_job_waiting() -> None:
    schedule = every(60)
    claiming.claim_due(NOON + minutes(1))
    at = NOON + minutes(1)
    assert "no worker takes jobs from the queue 'default'" in ask(schedule, at).sentence
    worker()
    assert "its workers are busy" in ask(schedule, at).sentence
    limiting.pause_queue("default")
    assert "the queue 'default' is paused" in ask(schedule, at).sentence


def test_what_holds_a_job_back() -> None:
    schedule = every(60)
    limiting.set_limit(f"schedule:{schedule.pk}", max_active=0)
    claiming.claim_due(NOON + minutes(1))
    lifecycle.defer(Job.objects.get().id, attempt=1, hold="concurrency")
    told = ask(schedule, NOON + minutes(1))
    assert told.sentence == "It is held back: this schedule may have 0 active at once."
    limiting.set_limit(f"schedule:{schedule.pk}")
    assert "goes next" in ask(schedule, NOON + minutes(1)).sentence
    other = every(60)
    Schedule.objects.filter(pk=other.pk).update(overlap="buffer_one")
    Schedule.objects.filter(pk=other.pk).update(edited_at=NOON)
    syncing.sync_stale(NOON)
    claiming.claim_due(NOON + minutes(1))
    claiming.claim_due(NOON + minutes(2))
    assert "until the earlier run has ended" in ask(other, NOON + minutes(2)).sentence


# --- The future ---------------------------------------------------------------------------------------------


def soon(**fields: object) -> Schedule:
    """A schedule that fires every hour from now on."""
    return every(3600, anchor=database_now().replace(microsecond=0), **fields)


def outlook(schedule: Schedule) -> Explanation:
    return ask(schedule, now=database_now())


def test_it_will_run(beat: None) -> None:
    worker()
    schedule = soon()
    told = outlook(schedule)
    when = fresh(schedule).next_run_at
    assert told.verdict == "will_run", told
    assert told.facts["workers"] == 1
    assert when is not None
    assert ask(schedule, when, now=database_now()).verdict == "will_run"
    assert ask(schedule, when + minutes(7), now=database_now()).verdict == "not_a_time"


def test_what_blocks_it() -> None:
    schedule = soon()
    assert "no scheduler is running" in outlook(schedule).sentence
    turning_beat()
    assert beat_is_running(database_now())
    Beat.objects.update(heartbeat_at=database_now() - conf().lease)
    assert not beat_is_running(database_now()), "it is silent"
    Beat.objects.update(heartbeat_at=database_now())
    assert "no worker takes jobs from the queue 'default'" in outlook(schedule).sentence
    worker()
    assert outlook(schedule).verdict == "will_run"
    Worker.objects.update(tasks=["jobs.another"])
    assert "no worker of the queue 'default' has a task named 'jobs.canary'" in outlook(schedule).sentence
    limiting.pause_queue("default")
    syncing.sync_stale(database_now())
    assert "queue 'default' is paused" in outlook(schedule).sentence


def test_a_pause_blocks_only_while_it_lasts(beat: None) -> None:
    worker()
    schedule = soon()
    now = database_now().replace(microsecond=0)
    at = fresh(schedule).next_run_at
    assert at is not None
    pausing.pause(schedule, note="lunch", until=now + minutes(90))
    syncing.sync_stale(database_now())
    told = ask(schedule, at, now=now)
    assert (told.verdict, "it is paused until" in told.sentence) == ("blocked", True)
    assert ask(schedule, at + minutes(60), now=now).verdict == "will_run"


def test_what_a_calendar_will_skip(beat: None) -> None:
    worker()
    schedule = soon()
    at = fresh(schedule).next_run_at
    assert at is not None
    calendar = Calendar.objects.create(name="off", exclude_dates=[at.date().isoformat()])
    Schedule.objects.filter(pk=schedule.pk).update(calendar=calendar)
    syncing.sync_stale(database_now())
    told = ask(schedule, at, now=database_now())
    assert (told.verdict, told.sentence) == ("will_skip", "It will not run: its calendar excludes that time.")


def test_what_will_never_run_again(beat: None) -> None:
    worker()
    schedule = soon()
    start = fresh(schedule).next_run_at
    assert start is not None
    Schedule.objects.filter(pk=schedule.pk).update(max_runs=2)
    syncing.sync_stale(database_now())
    now = database_now()
    assert ask(schedule, start + minutes(60), now=now).verdict == "will_run"
    assert ask(schedule, start + minutes(120), now=now).verdict == "ended", "the third of two"
    Schedule.objects.filter(pk=schedule.pk).update(runs=2)
    assert "started 2 times, and 2 is its most" in outlook(schedule).sentence
    gone = once(NOON + minutes(1))
    claiming.claim_due(NOON + minutes(1))
    syncing.sync_stale(database_now())
    assert outlook(gone).verdict == "ended"
    assert "Once at 2026-03-10 12:01 UTC" in outlook(gone).sentence


def test_a_schedule_that_another_one_starts(beat: None) -> None:
    worker()
    up, down = soon(), soon()
    Schedule.objects.filter(pk=down.pk).update(after=up)
    syncing.sync_stale(database_now())
    told = outlook(down)
    assert told.verdict == "triggered"
    assert told.sentence == f"It runs when {up} has succeeded; it has no times of its own."
    assert ask(down, LATER).verdict == "triggered"


def test_a_broken_schedule_says_what_is_wrong() -> None:
    schedule = every(60, args=["x"])
    PeriodicTask.objects.update(args="{}")
    assert "args must be a JSON list" in outlook(schedule).sentence
    syncing.sync_stale(database_now())
    assert outlook(schedule).verdict == "broken"
    now = database_now()
    nominal = NOON + timedelta(minutes=(now - NOON) // minutes(1) + 5)
    told = ask(schedule, nominal, now=now)
    assert (told.verdict, "args must be a JSON list" in told.sentence) == ("broken", True)
    assert ask(schedule, nominal + timedelta(seconds=20), now=now).verdict == "not_a_time"
