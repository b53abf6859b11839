"""`manage.py calendars` and `blackouts` (SEMANTICS 13, 14)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import redis as redis_client

from jobs.engine import syncing
from jobs.engine.clock import database_now
from jobs.models import Blackout, Calendar, Schedule
from tests.jobs.test_cli_links import previewed
from tests.jobs.test_cli_runner import cli
from tests.jobs.test_cli_schedules import make

pytestmark = pytest.mark.django_db(transaction=True)

HOLIDAYS = """BEGIN:VCALENDAR
BEGIN:VEVENT
DTSTART;VALUE=DATE:20271225
DTEND;VALUE=DATE:20271227
SUMMARY:Christmas
END:VEVENT
BEGIN:VEVENT
DTSTART;VALUE=DATE:20270101
RRULE:FREQ=YEARLY;COUNT=2
END:VEVENT
END:VCALENDAR
"""


def ok(*words: object) -> Any:
    result = cli(*words, "--json")
    assert result.code == 0, result.err
    return result.json


@pytest.mark.semantics(13)
def test_a_calendar_of_business_days() -> None:
    made = ok(
        "calendars", "create", "work", "--open", "mon-fri 09:00-17:00", "--exclude", "2027-01-01",
        "--exclude", "2027-12-24..2027-12-26", "--include", "2027-01-02", "--closed", "12:00-13:00",
        "--tz", "Europe/Berlin",
    )  # fmt: skip
    assert made["exclude_dates"] == ["2027-01-01", "2027-12-24", "2027-12-25", "2027-12-26"]
    assert made["open"] == [{"days": [1, 2, 3, 4, 5], "start": "09:00", "end": "17:00"}]
    assert made["closed"] == [{"days": [1, 2, 3, 4, 5, 6, 7], "start": "12:00", "end": "13:00"}]
    make("nine", "--cron", "0 9 * * *", "--tz", "Europe/Berlin", "--calendar", "work")
    assert [when[:10] for when in previewed("nine", "2026-12-31T12:00", 3)] == [
        "2027-01-02", "2027-01-04", "2027-01-05",
    ]  # fmt: skip
    assert ok("calendars", "show", "work")["schedules"] == ["nine"]
    assert ok("calendars", "list")["items"] == [ok("calendars", "show", "work")]
    assert "mon-fri 09:00-17:00" in cli("calendars", "list").out
    assert "daily 12:00-13:00" in cli("calendars", "show", "work").out


@pytest.mark.semantics(13)
def test_an_edit_reaches_the_schedules_and_counts_a_version() -> None:
    ok("calendars", "create", "off", "--exclude", "2027-01-01")
    make("nine", "--cron", "0 9 * * *", "--calendar", "off")
    syncing.sync_stale(database_now())
    changed = ok("calendars", "update", "off", "--exclude", "2027-01-02")
    assert (changed["version"], changed["exclude_dates"]) == (2, ["2027-01-02"])
    assert Schedule.objects.get().stale
    assert [when[:10] for when in previewed("nine", "2026-12-31T12:00", 2)] == ["2027-01-01", "2027-01-03"]
    assert ok("calendars", "update", "off", "--exclude", "none")["exclude_dates"] == []


@pytest.mark.semantics(13)
def test_import_and_import_again(tmp_path: Path) -> None:
    file = tmp_path / "holidays.ics"
    file.write_text(HOLIDAYS)
    made = ok("calendars", "import", file)
    assert (made["name"], made["exclude_dates"]) == (
        "holidays", ["2027-01-01", "2027-12-25", "2027-12-26", "2028-01-01"],
    )  # fmt: skip
    assert cli("calendars", "import", file).code == 4
    again = ok("calendars", "import", file, "--replace", "--tz", "Asia/Tokyo")
    assert (again["version"], again["tz"]) == (2, "Asia/Tokyo")
    assert ok("calendars", "import", file, "--name", "de")["name"] == "de"
    file.write_text("hello")
    refused = cli("calendars", "import", file, "--name", "x")
    assert (refused.code, "no iCalendar file" in refused.err) == (2, True)
    assert cli("calendars", "import", tmp_path / "none.ics").code == 2


def test_a_calendar_in_use_is_not_deleted() -> None:
    ok("calendars", "create", "off", "--exclude", "2027-01-01")
    make("b", "--every", "1h", "--calendar", "off")
    make("a", "--every", "1h", "--calendar", "off")
    refused = cli("calendars", "delete", "off", "--yes")
    assert (refused.code, "is used by a, b:" in refused.err) == (4, True)
    assert cli("calendars", "delete", "off").code == 2, "nobody said yes"
    cli("schedules", "update", "a", "--calendar", "none")
    cli("schedules", "update", "b", "--calendar", "none")
    assert ok("calendars", "delete", "off", "--yes") == {"name": "off", "deleted": True}
    assert cli("calendars", "delete", "off", "--yes").code == 3
    assert cli("calendars", "show", "off").code == 3
    assert cli("calendars", "update", "off", "--exclude", "2027-01-01").code == 3


@pytest.mark.parametrize(
    ("why", "flags"),
    [
        ("excludes every time of every week", ("--closed", "daily")),
        ("excludes every time of every week", ("--open", "mon 09:00-12:00", "--closed", "mon")),
        ("not a date", ("--exclude", "2027-02-30")),
        ("first comes first", ("--exclude", "2027-02-03..2027-02-01")),
        ("not understood", ("--open", "someday")),
        ("not understood", ("--open", "mon 9-17")),
        ("the hours go", ("--open", "mon 09:00-25:00")),
        ("no time zone named", ("--tz", "Mars")),
    ],
)
def test_a_calendar_that_makes_no_sense(why: str, flags: tuple[str, ...]) -> None:
    result = cli("calendars", "create", "bad", *flags)
    assert (result.code, why in result.err, "\n" in result.err.strip()) == (2, True, False), result.err
    assert not Calendar.objects.exists()
    assert cli("calendars", "update", "bad").code == 2


@pytest.mark.semantics(14)
def test_blackouts(redis: redis_client.Redis) -> None:
    make("hourly", "--cron", "0 * * * *")
    made = ok(
        "blackouts", "create", "peak", "--window", "daily 09:00-12:00", "--schedule", "hourly", "--enforced"
    )
    assert (made["schedule"], made["enforced"], made["mode"]) == ("hourly", True, "skip")
    hours = [when[11:13] for when in previewed("hourly", "2027-01-01T07:30Z", 2)]
    assert hours == ["08", "12"]
    ok("blackouts", "create", "move", "--from", "2027-01-01T12:00", "--to", "2027-01-01T15:30", "--mode",
       "defer_to_end", "--tz", "Europe/Berlin")  # fmt: skip
    stored = Blackout.objects.get(name="move").spans
    assert stored == [["2027-01-01T11:00:00Z", "2027-01-01T14:30:00Z"]]
    names = [item["name"] for item in ok("blackouts", "list")["items"]]
    assert names == ["move", "peak"]
    assert "everything" in cli("blackouts", "list").out
    assert cli("blackouts", "create", "peak", "--window", "mon").code == 4
    assert ok("blackouts", "delete", "peak", "--yes")["deleted"] is True
    assert cli("blackouts", "delete", "peak", "--yes").code == 3


@pytest.mark.parametrize(
    ("code", "flags"),
    [
        (2, ()),
        (2, ("--window", "daily")),
        (2, ("--from", "2027-01-01")),
        (2, ("--from", "2027-01-02", "--to", "2027-01-01")),
        (2, ("--window", "mon", "--queue", "a", "--group", "b")),
        (3, ("--window", "mon", "--schedule", "nobody")),
    ],
)
def test_a_blackout_that_makes_no_sense(code: int, flags: tuple[str, ...]) -> None:
    result = cli("blackouts", "create", "bad", *flags)
    assert (result.code, "\n" in result.err.strip()) == (code, False), result.err
    assert not Blackout.objects.exists()


# --- seen before it is done ---------------------------------------------------------------------------


@pytest.mark.semantics(29)
def test_a_change_of_a_calendar_can_be_seen_first() -> None:
    assert cli("calendars", "create", "work", "--closed", "sat,sun").code == 0
    assert (
        cli(
            "schedules",
            "create",
            "daily",
            "--task",
            "jobs.canary",
            "--cron",
            "0 3 * * *",
            "--calendar",
            "work",
        ).code
        == 0
    )
    shown = cli("calendars", "update", "work", "--closed", "none", "--dry-run", "--json")
    assert shown.code == 8
    (item,) = shown.json["items"]
    assert (item["name"], item["removed"], item["moved"]) == ("daily", 0, 0)
    assert 24 <= item["added"] <= 27, "the Saturdays and Sundays of 90 days"
    assert cli("calendars", "show", "work", "--json").json["version"] == 1, "nothing was changed"
    assert cli("calendars", "update", "work", "--note", "x", "--dry-run", "--json").json == {"items": []}
