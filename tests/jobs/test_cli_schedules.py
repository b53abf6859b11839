"""`manage.py schedules`."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import redis as redis_client
from django_celery_beat.models import PeriodicTask

from jobs.engine import syncing
from jobs.engine.clock import database_now
from jobs.engine.ticking import Ticker
from jobs.models import Job, Schedule
from tests.jobs.builders import NOON, cron, every, job, once
from tests.jobs.test_cli_runner import Result, cli

pytestmark = pytest.mark.django_db(transaction=True)


def make(name: str = "nightly", *flags: object) -> dict[str, Any]:
    """Create a schedule by the command line and return its document."""
    flags = flags or ("--cron", "0 3 * * *")
    result = cli("schedules", "create", name, "--task", "jobs.canary", *flags, "--json")
    assert result.code == 0, result.err
    return dict(result.json)


def show(name: str = "nightly") -> dict[str, Any]:
    return dict(cli("schedules", "show", name, "--json").json)


def refused(code: int, why: str, *words: object) -> Result:
    before = snapshot()
    result = cli("schedules", *words)
    assert result.code == code, (result.err, result.out)
    assert why in result.err
    assert result.out == ""
    assert "\n" not in result.err.strip()
    assert snapshot() == before
    return result


def snapshot() -> list[Any]:
    return [*PeriodicTask.objects.order_by("pk").values(), *Schedule.objects.order_by("pk").values()]


# --- create -----------------------------------------------------------------------------------------------


def test_create_takes_every_flag() -> None:
    made = make(
        "all", "--cron", "30 2 L * *", "--tz", "Europe/Berlin", "--queue", "billing", "--priority", 3,
        "--args", '["hi"]', "--kwargs", '{"sleep": 0}', "--overlap", "buffer_one", "--catch-up", "all",
        "--jitter", "30s", "--dst", "temporal", "--month-end", "clamp", "--max-attempts", 2,
        "--timeout", "60s",
        "--deadline", "PT5M", "--max-runs", 9, "--start", "2027-01-01T00:00", "--end", "2028-01-01T00:00Z",
        "--description", "what for", "--note", "a note", "--catchup-window", "2h", "--max-catchup", 7,
        "--backoff-base", "1m", "--backoff-factor", "1.5", "--backoff-cap", "1h", "--on-complete", "keep",
    )  # fmt: skip
    expected = {
        "name": "all", "task": "jobs.canary", "queue": "billing", "priority": 3, "args": ["hi"],
        "kwargs": {"sleep": 0}, "overlap": "buffer_one", "catch_up": "all", "jitter": 30, "dst_gap": "skip",
        "dst_fold": "both", "month_end": "clamp", "max_attempts": 2, "timeout": 60, "deadline": 300,
        "max_runs": 9,
        "start": "2026-12-31T23:00:00Z", "end": "2028-01-01T00:00:00Z", "about": "what for", "note": "a note",
        "catchup_window": 7200, "max_catchup": 7, "backoff_base": 60, "backoff_factor": 1.5,
        "backoff_cap": 3600,
        "on_complete": "keep", "enabled": True, "paused": False, "state": "active", "runs": 0,
        "problem": None,
        "timing": {"kind": "cron", "expression": "30 2 L * *", "tz": "Europe/Berlin"},
        "next_run_at": "2027-01-31T01:30:00Z", "last_run_at": None,
    }  # fmt: skip
    assert {key: made[key] for key in expected} == expected
    assert "last day of the month, Europe/Berlin" in made["description"]
    assert show("all") == made


def test_what_is_shown_before_a_beat_has_seen_it_is_what_beat_makes_of_it() -> None:
    made = make("often", "--every", "10m")
    assert made["timing"] == {"kind": "interval", "expression": "10m", "tz": "UTC"}
    assert made["next_run_at"] is not None
    syncing.sync_stale(database_now())
    assert show("often") == {**made, "version": 1}


@pytest.mark.semantics(9)
def test_create_in_and_at() -> None:
    made = make("soon", "--in", "2h")
    at = datetime.fromisoformat(made["next_run_at"])
    assert timedelta(minutes=119) < at - datetime.now(UTC) < timedelta(minutes=121)
    made = make("later", "--at", "2027-07-01T10:00", "--tz", "Europe/Berlin")
    assert made["timing"] == {
        "kind": "once",
        "expression": "2027-07-01T08:00:00Z",
        "tz": "Europe/Berlin",
        "local": "2027-07-01T10:00:00",
    }
    assert PeriodicTask.objects.get(name="later").one_off


@pytest.mark.semantics(7)
def test_a_one_shot_in_the_gap_is_moved_with_a_note_or_refused() -> None:
    words = ("--task", "jobs.canary", "--at", "2027-03-28T02:30", "--tz", "Europe/Berlin")
    result = cli("schedules", "create", "gap", *words, "--json")
    assert result.json["next_run_at"] == "2027-03-28T01:00:00Z"
    assert "does not exist in Europe/Berlin" in result.err
    refused(2, "does not exist", "create", "gap2", *words, "--dst", "aws")


def test_create_paused_with_a_note() -> None:
    made = make("held", "--every", "1h", "--paused", "--note", "not yet")
    assert (made["state"], made["paused"], made["enabled"]) == ("paused", True, False)
    assert (made["pause_note"], made["next_run_at"]) == ("not yet", None)
    Ticker().tick(database_now() + timedelta(hours=3))
    assert not Job.objects.exclude(status="skipped").exists()


@pytest.mark.parametrize(
    ("why", "flags"),
    [
        (
            "no task named 'jobs.canari'. Did you mean 'jobs.canary'?",
            ("--task", "jobs.canari", "--every", "1h"),
        ),
        ("needs a task", ("--every", "1h")),
        ("needs a time", ("--task", "jobs.canary")),
        ("not several: --cron or --every", ("--task", "jobs.canary", "--every", "1h", "--cron", "* * * * *")),
        ("arguments do not fit", ("--task", "jobs.canary", "--every", "1h", "--kwargs", '{"x": 1}')),
        ("arguments do not fit", ("--task", "jobs.canary", "--every", "1h", "--args", "[1,2,3,4]")),
        ("must be a JSON list", ("--task", "jobs.canary", "--every", "1h", "--args", "{}")),
        ("never fires", ("--task", "jobs.canary", "--cron", "0 0 30 2 *")),
        ("step of 0", ("--task", "jobs.canary", "--cron", "*/0 * * * *")),
        ("five", ("--task", "jobs.canary", "--cron", "0 3 * *")),
        ("--day-match", ("--task", "jobs.canary", "--cron", "0 0 1 * 1")),
        ("no time zone named 'Mars'", ("--task", "jobs.canary", "--every", "1h", "--tz", "Mars")),
        ("has passed", ("--task", "jobs.canary", "--at", "2020-01-01")),
        ("not a length of time", ("--task", "jobs.canary", "--every", "soon")),
        ("longer than zero", ("--task", "jobs.canary", "--every", "0")),
        ("'--overlap': 'x'", ("--task", "jobs.canary", "--every", "1h", "--overlap", "x")),
        ("--max-attempts '0'", ("--task", "jobs.canary", "--every", "1h", "--max-attempts", "0")),
        ("--priority '12'", ("--task", "jobs.canary", "--every", "1h", "--priority", "12")),
        (
            "before --start",
            ("--task", "jobs.canary", "--every", "1h", "--start", "2028-01-01", "--end", "2027-01-01"),
        ),
        ("never fire", ("--task", "jobs.canary", "--every", "1h", "--end", "2020-01-01")),
        ("no calendar named", ("--task", "jobs.canary", "--every", "1h", "--calendar", "holidays")),
        ("--day-match is for --cron", ("--task", "jobs.canary", "--every", "1h", "--day-match", "and")),
    ],
)
def test_create_refuses_with_one_sentence_and_changes_nothing(why: str, flags: tuple[str, ...]) -> None:
    refused(2, why, "create", "bad", *flags)


def test_a_name_that_is_taken_is_a_conflict() -> None:
    make()
    refused(4, "already", "create", "nightly", "--task", "jobs.canary", "--every", "1h")


@pytest.mark.parametrize("name", ["", " x", "a\nb", "x" * 201])
def test_names_that_are_refused(name: str) -> None:
    refused(2, "name", "create", name, "--task", "jobs.canary", "--every", "1h")


# --- update -----------------------------------------------------------------------------------------------


@pytest.mark.semantics(22)
def test_update_changes_what_is_named_and_nothing_else() -> None:
    flags = ("--cron", "0 0 1 * mon", "--day-match", "vixie", "--dst", "temporal", "--tz", "Asia/Tokyo")
    made = make(
        "keep", *flags, "--queue", "billing", "--jitter", "1m", "--note", "n", "--kwargs", '{"note": "x"}'
    )
    assert cli("schedules", "update", "keep", "--cron", "0 5 2 * tue").code == 0
    now = show("keep")
    differs = {key for key in made if made[key] != now[key]}
    assert differs == {"timing", "description", "next_run_at"}
    assert (now["day_match"], now["dst_gap"], now["timing"]["tz"]) == ("vixie", "skip", "Asia/Tokyo")
    assert cli("schedules", "update", "keep", "--tz", "UTC").code == 0
    assert show("keep")["timing"] == {"kind": "cron", "expression": "0 5 2 * tue", "tz": "UTC"}
    assert cli("schedules", "update", "keep", "--every", "2h").code == 0
    assert {**show("keep")}["timing"] == {"kind": "interval", "expression": "2h", "tz": "UTC"}
    assert (show("keep")["queue"], show("keep")["kwargs"]) == ("billing", {"note": "x"})


def test_update_takes_settings_back() -> None:
    make(
        "keep",
        "--every",
        "1h",
        "--queue",
        "billing",
        "--max-runs",
        3,
        "--deadline",
        "5m",
        "--start",
        "2027-01-01",
    )
    words = (
        "--queue",
        "none",
        "--max-runs",
        "none",
        "--deadline",
        "none",
        "--start",
        "none",
        "--priority",
        "none",
    )
    assert cli("schedules", "update", "keep", *words).code == 0
    now = show("keep")
    assert (now["queue"], now["max_runs"], now["deadline"], now["start"]) == ("default", None, None, None)


def test_update_does_not_forget_when_a_paused_schedule_last_ran() -> None:
    schedule = every(60, "paused", enabled=False)
    PeriodicTask.objects.filter(pk=schedule.pk).update(last_run_at=NOON)
    assert cli("schedules", "update", "paused", "--queue", "billing").code == 0
    assert show("paused")["last_run_at"] == "2026-03-10T12:00:00Z"


@pytest.mark.parametrize(
    ("why", "flags"),
    [
        ("Nothing to change", ()),
        ("do not fit", ("--kwargs", '{"x": 1}', "--queue", "billing")),
        ("no task named", ("--task", "no.such", "--every", "5m")),
        ("never fires", ("--cron", "0 0 31 4 *", "--note", "changed?")),
        ("has passed", ("--at", "2020-01-01T00:00")),
        ("choose how they combine", ("--cron", "0 0 1 * 1")),
        ("before --start", ("--start", "2028-01-01", "--end", "2027-01-01")),
    ],
)
def test_update_refuses_and_changes_nothing(why: str, flags: tuple[str, ...]) -> None:
    make()
    refused(2, why, "update", "nightly", *flags)


def test_zone_and_clock_changes_are_for_crontabs() -> None:
    make("often", "--every", "1h")
    refused(2, "this schedule has none", "update", "often", "--tz", "Asia/Tokyo")
    assert cli("schedules", "update", "often", "--start", "2027-01-01T00:00", "--tz", "Asia/Tokyo").code == 0
    assert show("often")["start"] == "2026-12-31T15:00:00Z"


@pytest.mark.semantics(9)
def test_a_one_shot_that_has_fired_is_armed_again_by_another_time(redis: redis_client.Redis) -> None:
    once(NOON, "one")
    assert Ticker().tick(NOON).claimed == 1
    Ticker().tick(database_now())
    assert (show("one")["state"], show("one")["enabled"], show("one")["runs"]) == ("finished", False, 1)
    result = cli("schedules", "update", "one", "--in", "1h", "--json")
    assert (result.json["state"], result.json["enabled"]) == ("active", True)
    assert "armed again" in result.err
    Ticker().tick(database_now() + timedelta(hours=2))
    assert Job.objects.filter(schedule_name="one").count() == 2


# --- show, list, delete -----------------------------------------------------------------------------------


def test_a_schedule_that_is_not_there_is_not_found() -> None:
    for words in (
        ["show"],
        ["update", "--every", "1h"],
        ["delete", "--yes"],
        ["preview"],
        ["run"],
        ["pause"],
    ):
        verb, *flags = words
        refused(3, "no schedule named 'nope'", verb, "nope", *flags)


def test_list_is_sorted_and_filtered() -> None:
    for name, flags in (
        ("b", ("--every", "1h")),
        ("a", ("--cron", "0 3 * * *", "--queue", "billing", "--paused")),
    ):
        make(name, *flags)
    assert [item["name"] for item in cli("schedules", "list", "--json").items] == ["a", "b"]
    assert [item["name"] for item in cli("schedules", "list", "--queue", "billing", "--json").items] == ["a"]
    assert [item["name"] for item in cli("schedules", "list", "--state", "active", "--json").items] == ["b"]
    assert "At 03:00 every day, UTC" in cli("schedules", "list").out


def test_a_broken_row_is_listed_with_its_problem() -> None:
    PeriodicTask.objects.bulk_create([PeriodicTask(name="broken", task="jobs.canary", args="{not json")])
    document = show("broken")
    assert (document["state"], document["timing"], document["next_run_at"]) == ("broken", None, None)
    assert "no crontab" in document["problem"]
    assert "broken" in cli("schedules", "list").out
    result = cli("schedules", "run", "broken")
    assert (result.code, Job.objects.count()) == (1, 0)


def test_delete_needs_yes_where_nobody_can_be_asked() -> None:
    make()
    refused(2, "--yes", "delete", "nightly")
    assert cli("schedules", "delete", "nightly", "--yes", "--json").json == {
        "name": "nightly",
        "deleted": True,
    }
    assert not Schedule.objects.exists()


# --- preview ----------------------------------------------------------------------------------------------


@pytest.mark.semantics(7)
def test_preview_of_an_expression() -> None:
    words = ("--cron", "30 2 * * *", "--tz", "America/New_York", "--after", "2027-03-13T12:00", "-n", 2)
    assert cli("schedules", "preview", *words, "--json").json == {
        "items": [
            {
                "scheduled_for": "2027-03-14T07:00:00Z",
                "local": "2027-03-14T03:00:00-04:00",
                "runs_at": "2027-03-14T07:00:00Z",
                "note": "dst_gap",
            },
            {
                "scheduled_for": "2027-03-15T06:30:00Z",
                "local": "2027-03-15T02:30:00-04:00",
                "runs_at": "2027-03-15T06:30:00Z",
                "note": None,
            },
        ]
    }


def times(*words: object) -> list[str]:
    return [item["scheduled_for"] for item in cli("schedules", "preview", *words, "--json").items]


def test_preview_options() -> None:
    aws = ("--cron", "30 2 * * *", "--tz", "America/New_York", "--after", "2027-03-13T12:00", "--dst", "aws")
    assert times(*aws, "-n", 1) == ["2027-03-15T06:30:00Z"]
    either = (
        "--cron",
        "0 0 1 * 1",
        "--after",
        "2027-01-31",
        "--to",
        "2027-02-08T00:00",
        "--day-match",
        "vixie",
    )
    assert times(*either) == ["2027-02-01T00:00:00Z", "2027-02-08T00:00:00Z"]
    both = (*either[:-1], "and")
    assert times(*both) == ["2027-02-01T00:00:00Z"]
    assert times("--every", "90m", "--after", "2027-01-01", "-n", 2) == [
        "2027-01-01T01:30:00Z",
        "2027-01-01T03:00:00Z",
    ]
    assert times("--cron", "0 0 29 2 *", "--after", "2027-01-01", "-n", 1) == ["2028-02-29T00:00:00Z"]
    assert times("--cron", "0 0 1 1 *", "--after", "2027-01-02", "--to", "2027-06-01") == []


def test_preview_of_a_schedule_is_what_beat_does() -> None:
    schedule = cron("0 * * * *", "hourly")
    Schedule.objects.filter(pk=schedule.pk).update(
        jitter=timedelta(minutes=5), overlap="allow_all", catch_up="all"
    )
    Schedule.objects.filter(pk=schedule.pk).update(edited_at=NOON)
    foretold = cli("schedules", "preview", "hourly", "--after", "2026-03-10T12:00Z", "-n", 3, "--json").items
    Ticker().tick(NOON + timedelta(hours=3, minutes=30))
    born = Job.objects.order_by("scheduled_for").values_list("scheduled_for", "available_at")
    assert [
        (datetime.fromisoformat(item["scheduled_for"]), datetime.fromisoformat(item["runs_at"]))
        for item in foretold
    ] == list(born)
    assert any(item["runs_at"] != item["scheduled_for"] for item in foretold)


def test_preview_of_a_paused_schedule_says_so_and_shows_it_in_another_zone() -> None:
    make("held", "--cron", "0 3 * * *", "--paused")
    result = cli("schedules", "preview", "held", "--tz", "Asia/Tokyo", "-n", 1, "--json")
    assert result.items[0]["local"].endswith("T12:00:00+09:00")
    assert "held is paused" in result.err


@pytest.mark.parametrize(
    ("why", "words"),
    [
        ("Say what to preview", ()),
        ("Say what to preview", ("--cron", "* * * * *", "--every", "1h")),
        ("'-n'", ("--cron", "* * * * *", "-n", "0")),
        ("--to is before --after", ("--cron", "* * * * *", "--after", "2027-02-01", "--to", "2027-01-01")),
        ("'Nowhere' is unknown", ("--cron", "* * * * *", "--tz", "Nowhere")),
        ("not a time", ("--cron", "* * * * *", "--after", "yesterday")),
    ],
)
def test_preview_refuses(why: str, words: tuple[str, ...]) -> None:
    refused(2, why, "preview", *words)


# --- run, pause, resume -----------------------------------------------------------------------------------


@pytest.mark.semantics(20)
def test_run_prints_the_id_of_a_job_with_the_schedules_options(redis: redis_client.Redis) -> None:
    make("held", "--every", "1h", "--paused", "--queue", "billing", "--priority", 3, "--max-attempts", 2)
    printed = cli("schedules", "run", "held", "--json").json
    made = Job.objects.get()
    assert printed == {"id": made.id}
    assert (made.trigger, made.queue, made.priority, made.max_attempts) == ("manual", "billing", 3, 2)
    assert made.scheduled_for is None
    assert cli("schedules", "run", "held").out.strip() in set(Job.objects.values_list("id", flat=True))


def test_run_beside_another_can_be_refused(redis: redis_client.Redis) -> None:
    schedule = every(3600, "busy")
    job(schedule_id=schedule.pk, schedule_name="busy")
    refused(4, "running already", "run", "busy", "--overlap", "skip")
    assert cli("schedules", "run", "busy").code == 0


def test_run_and_wait_gives_up_in_time(redis: redis_client.Redis) -> None:
    make("idle", "--every", "1h")
    result = cli("schedules", "run", "idle", "--wait", "--timeout", "0.2s", "--json")
    assert (result.code, result.json["status"]) == (6, "waiting")
    assert "still waiting" in result.err


@pytest.mark.semantics(18)
def test_pause_and_resume() -> None:
    make()
    paused = cli("schedules", "pause", "nightly", "--note", "lunch", "--until", "2h", "--json").json
    assert (paused["state"], paused["paused"], paused["pause_note"]) == ("paused", True, "lunch")
    until = datetime.fromisoformat(paused["paused_until"])
    assert timedelta(minutes=119) < until - datetime.now(UTC) <= timedelta(minutes=120)
    resumed = cli("schedules", "resume", "nightly", "--json").json
    assert (resumed["state"], resumed["pause_note"], resumed["paused_until"]) == ("active", None, None)
    assert resumed["next_run_at"] is not None


def test_pausing_twice_is_no_error_and_forgets_nothing() -> None:
    make()
    cli("schedules", "pause", "nightly", "--note", "lunch", "--until", "2h")
    again = cli("schedules", "pause", "nightly", "--json")
    assert (again.code, again.json["pause_note"]) == (0, "lunch")
    assert "was paused before" in again.err
    noted = cli("schedules", "pause", "nightly", "--note", "longer lunch", "--json").json
    assert (noted["pause_note"], noted["paused_until"]) == ("longer lunch", again.json["paused_until"])
    cli("schedules", "resume", "nightly")
    result = cli("schedules", "resume", "nightly")
    assert (result.code, "was not paused" in result.err) == (0, True)


def test_a_pause_that_is_over_before_it_begins_is_refused() -> None:
    make()
    refused(2, "has passed", "pause", "nightly", "--until", "2020-01-01T00:00Z")


def test_documents_are_plain_json() -> None:
    make("all", "--every", "1h30m", "--jitter", "0.5")
    document = show("all")
    assert (document["jitter"], document["catchup_window"]) == (0.5, 86400)
    assert json.loads(json.dumps(document)) == document
