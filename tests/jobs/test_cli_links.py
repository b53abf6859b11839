"""What ties a schedule to something else: calendars, limits, other schedules; and calendar intervals."""

from __future__ import annotations

import pytest
import redis as redis_client

from jobs.engine import depending, syncing
from jobs.engine.clock import database_now
from jobs.models import Calendar, Job, Limit, Schedule
from tests.jobs import moves
from tests.jobs.builders import begin, job
from tests.jobs.test_cli_runner import cli
from tests.jobs.test_cli_schedules import make, refused, show

pytestmark = pytest.mark.django_db(transaction=True)


def update(name: str, *flags: object) -> dict[str, object]:
    result = cli("schedules", "update", name, *flags, "--json")
    assert result.code == 0, result.err
    return dict(result.json)


def previewed(name: str, after: str, count: int) -> list[str]:
    shown = cli("schedules", "preview", name, "--after", after, "-n", count, "--json")
    assert shown.code == 0, shown.err
    return [item["local"] for item in shown.items]


def test_every_link_is_kept_and_shown_and_taken_back() -> None:
    Calendar.objects.create(name="work", exclude_dates=["2027-12-25"])
    make("up", "--every", "1h")
    made = make(
        "all", "--cron", "0 9 * * *", "--calendar", "work", "--roll", "next", "--group", "reports",
        "--concurrency-key", "acme", "--max-active", 3, "--rate", "0.5", "--after", "up", "--after-on", "any",
        "--after-mode", "gate", "--after-within", "6h", "--pause-after-failures", 4, "--manager", "team",
    )  # fmt: skip
    expected = {
        "calendar": "work", "roll": "next", "group": "reports", "concurrency_key": "acme", "max_active": 3,
        "rate": 0.5, "after": "up", "after_on": "any", "after_mode": "gate", "after_within": 21600,
        "pause_after_failures": 4, "manager": "team", "state": "active",
    }  # fmt: skip
    assert {name: made[name] for name in expected} == expected
    assert cli("schedules", "list", "--json").items[0] == show("all")
    assert update("all", "--rate", "none")["max_active"] == 3, "PATCH: the other half stays"
    cleared = update(
        "all", "--calendar", "none", "--group", "none", "--concurrency-key", "none", "--max-active", "none",
        "--after", "none", "--pause-after-failures", "none", "--manager", "none",
    )  # fmt: skip
    gone = ("calendar", "group", "concurrency_key", "max_active", "after", "pause_after_failures", "manager")
    assert {name: cleared[name] for name in gone} == dict.fromkeys(gone)
    assert not Limit.objects.exists()


@pytest.mark.semantics(24)
def test_the_limit_of_a_schedule_goes_with_it() -> None:
    make("busy", "--every", "1h", "--max-active", 2)
    assert Limit.objects.get().name == f"schedule:{Schedule.objects.get().pk}"
    cli("schedules", "delete", "busy", "--yes")
    assert not Limit.objects.exists()


@pytest.mark.parametrize(
    ("why", "flags"),
    [
        ("no calendar named 'x'", ("--calendar", "x")),
        ("no schedule named 'x'", ("--after", "x")),
        ("--max-active '0'", ("--max-active", "0")),
        ("--rate '-1'", ("--rate=-1",)),
        ("--pause-after-failures 'many'", ("--pause-after-failures", "many")),
        ("--after-within 'soon'", ("--after-within", "soon")),
        ("cannot run after itself", ("--after", "nightly")),
        ("'--roll': 'x'", ("--roll", "x")),
    ],
)
def test_what_is_refused_changes_nothing(why: str, flags: tuple[str, ...]) -> None:
    make()
    refused(2, why, "update", "nightly", "--note", "changed", *flags)


@pytest.mark.semantics(23)
def test_a_cycle_is_refused() -> None:
    make("a", "--every", "1h")
    make("b", "--every", "1h", "--after", "a")
    make("c", "--every", "1h", "--after", "b")
    refused(2, "would wait for each other for ever", "update", "a", "--after", "c", "--queue", "billing")


@pytest.mark.semantics(23)
def test_a_schedule_that_another_starts_needs_no_time(redis: redis_client.Redis) -> None:
    make("up", "--every", "1d")
    made = make("down", "--after", "up")
    assert (made["state"], made["description"], made["next_run_at"]) == (
        "active",
        "When up has succeeded",
        None,
    )
    assert made["timing"] == {"kind": "after", "expression": "up", "tz": "UTC"}
    syncing.sync_stale(database_now())
    assert show("down")["state"] == "active"
    row = job(schedule_id=Schedule.objects.get(periodic_task__name="up").pk, nonce="run")
    moves.complete(begin(row).fence)
    assert depending.trigger_due(database_now()) == 1
    assert Job.objects.get(schedule_name="down").trigger == "after"
    freed = update("down", "--after", "none")
    assert (freed["state"], freed["next_run_at"]) == ("finished", None), "it never had a time of its own"
    refused(
        2, "needs a time", "create", "gated", "--task", "jobs.canary", "--after", "up", "--after-mode", "gate"
    )


@pytest.mark.semantics(8)
def test_a_calendar_interval_keeps_the_wall_time() -> None:
    made = make("bi", "--every-calendar", "2w", "--start", "2027-03-15T09:00", "--tz", "Europe/Berlin")
    assert made["timing"] == {"kind": "calendar_interval", "expression": "2w", "tz": "Europe/Berlin"}
    assert made["next_run_at"] == "2027-03-15T08:00:00Z"
    assert made["description"] == "At 09:00 every 2 weeks from 2027-03-15, Europe/Berlin"
    assert previewed("bi", "2027-03-01", 3) == [
        "2027-03-15T09:00:00+01:00", "2027-03-29T09:00:00+02:00", "2027-04-12T09:00:00+02:00",
    ]  # fmt: skip
    syncing.sync_stale(database_now())
    assert show("bi")["next_run_at"] == "2027-03-15T08:00:00Z"


@pytest.mark.semantics(4)
def test_month_steps_count_from_the_anchor() -> None:
    make("rent", "--every-calendar", "1mo", "--start", "2027-01-31T09:00Z")
    days = [when[:10] for when in previewed("rent", "2027-01-01", 4)]
    assert days == ["2027-01-31", "2027-02-28", "2027-03-31", "2027-04-30"]
    assert update("rent", "--month-end", "skip")["month_end"] == "skip"
    assert [when[:10] for when in previewed("rent", "2027-01-01", 2)] == ["2027-01-31", "2027-03-31"]


@pytest.mark.semantics(8)
def test_a_calendar_interval_can_be_changed_and_left() -> None:
    make("bi", "--every", "1h")
    made = update("bi", "--every-calendar", "3d", "--start", "2027-01-01T10:00", "--tz", "Asia/Tokyo")
    assert (made["timing"]["expression"], made["start"]) == ("3d", "2027-01-01T01:00:00Z")
    moved = update("bi", "--tz", "Europe/Berlin")
    assert (moved["timing"]["tz"], moved["start"]) == ("Europe/Berlin", "2027-01-01T09:00:00Z"), (
        "same wall time"
    )
    later = update("bi", "--start", "2027-02-01T07:30")
    assert (later["start"], later["next_run_at"]) == ("2027-02-01T06:30:00Z", "2027-02-01T06:30:00Z")
    assert update("bi", "--queue", "billing")["timing"]["expression"] == "3d"
    refused(2, "it has none", "update", "bi", "--start", "none")
    assert update("bi", "--cron", "0 3 * * *")["timing"]["expression"] == "0 3 * * *"
    assert Schedule.objects.get().calendar_every is None


@pytest.mark.parametrize(
    ("why", "flags"),
    [
        ("counts from --start", ("--every-calendar", "1mo")),
        ("not understood", ("--every-calendar", "1h", "--start", "2027-01-01")),
        ("not understood", ("--every-calendar", "0d", "--start", "2027-01-01")),
        ("not several", ("--every-calendar", "1d", "--every", "1h")),
        (
            "--day-match is for --cron",
            ("--every-calendar", "1d", "--start", "2027-01-01", "--day-match", "and"),
        ),
    ],
)
def test_a_calendar_interval_that_makes_no_sense(why: str, flags: tuple[str, ...]) -> None:
    refused(2, why, "create", "bad", "--task", "jobs.canary", *flags)


def test_an_edit_of_the_calendar_interval_by_sql_is_noticed() -> None:
    make("bi", "--every-calendar", "2w", "--start", "2027-03-15T09:00")
    syncing.sync_stale(database_now())
    Schedule.objects.update(calendar_every=1)
    assert Schedule.objects.get().stale


@pytest.mark.semantics(23)
def test_a_schedule_that_only_another_one_starts_has_no_next_run() -> None:
    for name in ("first", "second"):
        assert cli("schedules", "create", name, "--task", "jobs.canary", "--cron", "0 3 * * *").code == 0
    updated = cli("schedules", "update", "second", "--after", "first", "--json")
    assert updated.json["next_run_at"] is None, "before any beat has seen the edit, too"


@pytest.mark.semantics(9)
def test_a_one_shot_keeps_its_wall_time_and_its_zone() -> None:
    made = cli(
        "schedules", "create", "launch", "--task", "jobs.canary", "--at", "2031-07-01T09:00", "--tz", "Asia/Kolkata",
        "--json",
    )  # fmt: skip
    assert made.json["timing"] == {
        "kind": "once",
        "expression": "2031-07-01T03:30:00Z",
        "tz": "Asia/Kolkata",
        "local": "2031-07-01T09:00:00",
    }
    moved = cli(
        "schedules", "update", "launch", "--at", "2031-07-01T09:00", "--tz", "Europe/Berlin", "--json"
    )
    assert (moved.json["timing"]["tz"], moved.json["timing"]["expression"]) == (
        "Europe/Berlin",
        "2031-07-01T07:00:00Z",
    )
