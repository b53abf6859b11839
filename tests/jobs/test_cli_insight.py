"""`schedules explain` and `backfill`, and `resume --catch-up`."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest
import redis as redis_client

from jobs.engine import claiming, pausing, syncing
from jobs.engine.clock import database_now
from jobs.models import Job, Schedule
from tests.jobs import moves
from tests.jobs.builders import NOON, begin, cron, every, job, minutes, once
from tests.jobs.test_cli_runner import cli

pytestmark = pytest.mark.django_db(transaction=True)

BACKFILL = ("schedules", "backfill", "minutely", "--from", "2026-03-10T12:01Z", "--to", "2026-03-10T12:05Z")


@pytest.mark.semantics(28)
def test_explain_prints_a_sentence_and_facts(redis: redis_client.Redis) -> None:
    every(60, "minutely")
    claiming.claim_due(NOON + minutes(1))
    told = cli("schedules", "explain", "minutely", "--at", "2026-03-10T12:01", "--json")
    assert (told.code, set(told.json)) == (0, {"schedule", "at", "verdict", "sentence", "facts"})
    assert (told.json["verdict"], told.json["at"]) == ("waiting", "2026-03-10T12:01:00Z")
    text = cli("schedules", "explain", "minutely", "--at", "2026-03-10T12:01").out
    assert text.startswith("waiting ")
    assert "It is waiting on the queue 'default'" in text
    assert cli("schedules", "explain", "minutely", "--json").json["verdict"] == "blocked"
    assert cli("schedules", "explain", "nobody").code == 3
    assert cli("schedules", "explain", "minutely", "--at", "noon").code == 2


@pytest.mark.semantics(28)
def test_explain_reads_a_time_in_the_schedules_zone() -> None:
    cron("30 2 * * *", "nightly", tz="Europe/Berlin")
    told = cli("schedules", "explain", "nightly", "--at", "2027-07-01T02:30", "--json").json
    assert (told["at"], told["facts"]["local"]) == ("2027-07-01T00:30:00Z", "2027-07-01T02:30:00+02:00")
    moved = cli("schedules", "explain", "nightly", "--at", "2027-03-28T02:30", "--json")
    assert "does not exist in Europe/Berlin" in moved.err
    assert moved.json["facts"]["note"] == "dst_gap"


@pytest.mark.semantics(21)
def test_backfill_shows_first_and_needs_a_yes(redis: redis_client.Redis) -> None:
    schedule = every(60, "minutely")
    done = job(schedule_id=schedule.pk, scheduled_for=NOON + minutes(2))
    moves.complete(begin(done).fence)
    shown = cli(*BACKFILL, "--dry-run", "--json")
    assert (shown.code, shown.json["jobs"]) == (0, [])
    assert [item["runs"] for item in shown.json["items"]] == [True, False, True, True, True]
    assert shown.json["items"][1] == {
        "scheduled_for": "2026-03-10T12:02:00Z",
        "existing": {"job": done.id, "status": "completed"},
        "runs": False,
    }
    assert "4 of 5 times would run: 2026-03-10T12:01:00Z to 2026-03-10T12:05:00Z." in shown.err
    asked = cli(*BACKFILL)
    assert (asked.code, "add --yes" in asked.err, "4 of 5" in asked.err) == (2, True, True)
    assert Job.objects.count() == 1
    made = cli(*BACKFILL, "--yes", "--json")
    assert (made.code, len(made.json["jobs"])) == (0, 4)
    rows = Job.objects.filter(trigger="backfill").order_by("scheduled_for")
    assert [row.id for row in rows] == made.json["jobs"]
    assert {row.hold for row in rows} == {"overlap"}
    again = cli(*BACKFILL, "--yes", "--json")
    assert (again.code, again.json["jobs"]) == (0, []), "they are under way"
    assert "None of 5 times would run." in again.err


@pytest.mark.semantics(21)
def test_backfill_can_reprocess_spread_and_run_side_by_side(redis: redis_client.Redis) -> None:
    schedule = every(60, "minutely")
    moves.complete(begin(job(schedule_id=schedule.pk, scheduled_for=NOON + minutes(2))).fence)
    flags = ("--reprocess", "all", "--per-minute", 2, "--side-by-side", "--yes", "--json")
    made = cli(*BACKFILL, *flags)
    assert len(made.json["jobs"]) == 5
    due = sorted(Job.objects.filter(trigger="backfill").values_list("available_at", flat=True))
    assert [round((one - due[0]).total_seconds()) for one in due] == [0, 30, 60, 90, 120]
    assert not Job.objects.filter(hold="overlap").exists()


@pytest.mark.parametrize(
    ("why", "flags"),
    [
        ("--from ISO --to ISO", ()),
        ("--to is before --from", ("--from", "2026-03-10T12:05Z", "--to", "2026-03-10T12:01Z")),
        ("has not come yet", ("--from", "2026-03-10T12:05Z", "--to", "2036-03-10T12:01Z")),
        ("more than 10000 times", ("--from", "2026-03-10T12:05Z", "--to", "2026-04-10T12:01Z")),
        ("--per-minute", ("--from", "2026-03-10", "--to", "2026-03-11", "--per-minute", "0")),
    ],
)
def test_backfill_refuses(why: str, flags: tuple[str, ...]) -> None:
    every(60, "minutely")
    result = cli("schedules", "backfill", "minutely", *flags, "--yes")
    assert (result.code, why in result.err) == (2, True), result.err
    assert not Job.objects.exists()


def test_a_backfill_of_nothing_is_an_empty_document() -> None:
    every(3600, "hourly")
    result = cli(
        "schedules", "backfill", "hourly", "--from", "2026-03-10T12:01", "--to", "2026-03-10T12:05", "--json"
    )
    assert (result.code, result.json) == (0, {"items": [], "jobs": []})


# --- resume --catch-up --------------------------------------------------------------------------------------


def paused_since(hours: float, **policy: object) -> datetime:
    """An hourly schedule that was paused so many hours ago; return when."""
    since = database_now().replace(microsecond=0) - timedelta(hours=hours)
    schedule = every(3600, "hourly", anchor=since - timedelta(minutes=30))
    Schedule.objects.filter(pk=schedule.pk).update(**policy)
    pausing.pause(schedule, note="lunch")
    Schedule.objects.filter(pk=schedule.pk).update(edited_at=since, decided_through=since)
    syncing.sync_stale(since)
    assert Schedule.objects.get().paused_at == since
    return since


@pytest.mark.semantics(18)
@pytest.mark.parametrize(
    ("flags", "policy", "ledger"),
    [
        ((), {}, [("skipped", "paused", 4)]),
        (("--catch-up",), {}, [("skipped", "missed", 3), ("waiting", "", None)]),
        (
            ("--catch-up",),
            {"catch_up": "all", "overlap": "allow_all"},
            [("waiting", "", None)] * 4,
        ),
        (("--catch-up",), {"catch_up": "none"}, [("skipped", "missed", 4)]),
    ],
)
def test_what_passed_while_paused_is_recorded_or_caught_up(
    redis: redis_client.Redis, flags: tuple[str, ...], policy: dict[str, object], ledger: list[object]
) -> None:
    paused_since(4, **policy)
    resumed = cli("schedules", "resume", "hourly", *flags, "--json")
    assert (resumed.code, resumed.json["state"]) == (0, "active")
    syncing.sync_stale(database_now())
    claiming.claim_due(database_now())
    rows = Job.objects.order_by("scheduled_for").values_list("status", "reason", "skipped_count")
    assert list(rows) == ledger
    now = Schedule.objects.get()
    assert (now.paused_at, now.pause_note) == (None, "")
    assert now.resumed_at is not None
    assert now.next_run_at is not None
    assert now.next_run_at > database_now()


@pytest.mark.semantics(18)
def test_a_paused_one_shot_runs_when_it_is_caught_up(redis: redis_client.Redis) -> None:
    now = database_now()
    schedule = once(now - timedelta(minutes=10), "soon", since=now - timedelta(hours=1))
    pausing.pause(schedule)
    Schedule.objects.filter(pk=schedule.pk).update(
        edited_at=now - timedelta(minutes=30), decided_through=now - timedelta(minutes=30), runs=0
    )
    syncing.sync_stale(now - timedelta(minutes=30))
    cli("schedules", "resume", "soon", "--catch-up")
    syncing.sync_stale(database_now())
    assert Job.objects.get().status == "waiting"


def test_catching_up_what_was_not_paused_is_no_error() -> None:
    every(3600, "hourly")
    result = cli("schedules", "resume", "hourly", "--catch-up")
    assert (result.code, "was not paused" in result.err) == (0, True)
