"""`manage.py schedules export`, `apply`, `validate` and `diff`."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from django_celery_beat.models import PeriodicTask, SolarSchedule

from jobs.engine import pausing, syncing
from jobs.engine.clock import database_now
from jobs.models import Calendar, Job, Limit, Schedule
from tests.jobs.builders import NOON, cron, every, once
from tests.jobs.test_cli_runner import NOWHERE, Result, cli, shell

pytestmark = pytest.mark.django_db(transaction=True)

NIGHTLY = {"name": "nightly report", "task": "jobs.canary", "cron": "0 1 * * *", "tz": "Europe/Berlin"}
FULL = {
    **NIGHTLY,
    "queue": "billing", "priority": 3, "kwargs": {"sleep": 0, "note": "1e3"}, "headers": {"x": "y"},
    "overlap": "buffer_one", "catch_up": "all", "catchup_window": "2h", "max_catchup": 7, "jitter": "30s",
    "deadline": "5m", "max_attempts": 2, "backoff_base": "1m", "backoff_factor": 1.5, "backoff_cap": "1h",
    "timeout": "10m", "dst": "temporal", "month_end": "clamp", "start": "2027-01-01T00:00",
    "end": "2028-01-01T00:00Z", "max_runs": 9, "on_complete": "keep", "group": "g", "concurrency_key": "k",
    "max_active": 2, "rate": 0.5, "pause_after_failures": 4, "paused": True, "description": "what for",
    "note": "a note",
}  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path


def write(
    folder: Path, *schedules: dict[str, Any], manager: str | None = "shop", file: str = "a.yaml"
) -> Path:
    document = {**({"manager": manager} if manager else {}), "schedules": list(schedules)}
    path = folder / file
    path.write_text(json.dumps(document) if file.endswith("json") else yaml.safe_dump(document))
    return path


def apply(path: Path, *words: object, code: int = 0) -> Any:
    result = cli("schedules", "apply", "-f", path, *words, "--json")
    assert result.code == code, (result.err, result.out)
    return result.json


def snapshot() -> list[Any]:
    return [*PeriodicTask.objects.order_by("pk").values(), *Schedule.objects.order_by("pk").values()]


def refused(path: Path, why: str, *words: object, code: int = 2) -> Result:
    before = snapshot()
    result = cli("schedules", "apply", "-f", path, *words)
    assert result.code == code, (result.err, result.out)
    assert why in result.err, result.err
    assert result.out == ""
    assert snapshot() == before
    return result


def counts(document: Any) -> tuple[int, int, int, int]:
    return tuple(document[key] for key in ("created", "changed", "deleted", "unchanged"))  # type: ignore[return-value]


# --- apply ------------------------------------------------------------------------------------------------


def test_apply_creates_changes_and_leaves_alone(folder: Path) -> None:
    path = write(folder, NIGHTLY)
    made = apply(path)
    assert counts(made) == (1, 0, 0, 0)
    assert made["items"][0]["changes"]["tz"] == [None, "Europe/Berlin"]
    assert Schedule.objects.named("nightly report").manager == "shop"
    syncing.sync_stale(database_now())
    before = snapshot()
    assert counts(apply(path)) == (0, 0, 0, 1)
    text = cli("schedules", "apply", "-f", path)
    assert text.out.strip() == "0 created, 0 changed, 0 deleted, 1 unchanged"
    assert snapshot() == before
    changed = apply(write(folder, {**NIGHTLY, "queue": "billing", "jitter": "30s"}))
    assert changed["items"] == [
        {
            "name": "nightly report",
            "action": "change",
            "changes": {"queue": [None, "billing"], "jitter": ["0s", "30s"]},
        }
    ]
    assert Schedule.objects.named("nightly report").stale
    back = apply(write(folder, NIGHTLY))
    assert back["items"][0]["changes"] == {"queue": ["billing", None], "jitter": ["30s", "0s"]}


def test_every_setting_is_stored_and_applied_twice_is_no_change(folder: Path) -> None:
    path = write(folder, FULL, file="a.json")
    apply(path)
    shown = cli("schedules", "show", "nightly report", "--json").json
    expected = {
        "queue": "billing", "priority": 3, "args": [], "kwargs": {"sleep": 0, "note": "1e3"}, "overlap": "buffer_one",
        "catch_up": "all", "catchup_window": 7200, "max_catchup": 7, "jitter": 30, "deadline": 300,
        "max_attempts": 2, "backoff_base": 60, "backoff_factor": 1.5, "backoff_cap": 3600, "timeout": 600,
        "dst_gap": "skip", "dst_fold": "both", "month_end": "clamp", "start": "2026-12-31T23:00:00Z",
        "end": "2028-01-01T00:00:00Z", "max_runs": 9, "on_complete": "keep", "paused": True,
        "about": "what for", "note": "a note",
    }  # fmt: skip
    assert {key: shown[key] for key in expected} == expected
    row = PeriodicTask.objects.get()
    assert json.loads(row.headers) == {"x": "y"}
    assert (row.one_off, row.enabled) == (False, False)
    limit = Limit.objects.get()
    assert (limit.max_active, limit.max_per_second) == (2, 0.5)
    syncing.sync_stale(database_now())
    before = snapshot()
    assert counts(apply(path)) == (0, 0, 0, 1)
    (folder / "b.yaml").write_text(cli("schedules", "export").out)
    assert counts(apply(folder / "b.yaml")) == (0, 0, 0, 1)
    assert snapshot() == before
    bare = {**NIGHTLY, "paused": False}
    assert apply(write(folder, bare))["items"][0]["changes"].keys() >= {
        "rate",
        "start",
        "paused",
        "headers",
    }
    assert not Limit.objects.exists()
    assert cli("schedules", "export", "--json").items == [{"manager": "shop", "schedules": [NIGHTLY]}]


@pytest.mark.parametrize(
    "timing",
    [
        {"every": "90m"},
        {"every": 0.25},
        {"at": "2031-01-01T10:00", "tz": "Asia/Tokyo"},
        {"cron": "@daily"},
        {"cron": "30 2 L * *"},
        {"cron": "0 0 1 * 1", "day_match": "and"},
        {"cron": "0 0 1 * 1", "day_match": "vixie"},
        {"cron": "0 9 * * 5#3", "dst_fold": "second"},
        {"cron": "0 9 * * *", "one_off": True},
        {"solar": {"event": "sunset", "latitude": 52.5, "longitude": 13.4}},
        {"every_calendar": "1mo", "start": "2027-01-31T09:00", "tz": "Europe/Berlin"},
        {"every_calendar": "2w", "start": "2027-01-31T09:00", "month_end": "skip", "dst": "aws"},
    ],
)
def test_every_kind_of_time_survives_a_round_trip(folder: Path, timing: dict[str, Any]) -> None:
    apply(write(folder, {"name": "s", "task": "jobs.canary", **timing}))
    syncing.sync_stale(database_now())
    assert Schedule.objects.get().problem == ""
    before = snapshot()
    exported = folder / "exported.yaml"
    exported.write_text(cli("schedules", "export").out)
    assert counts(apply(exported)) == (0, 0, 0, 1)
    exported = folder / "exported.json"
    exported.write_text(cli("schedules", "export", "--format", "json").out)
    assert counts(apply(exported)) == (0, 0, 0, 1)
    assert snapshot() == before


def test_one_kind_of_time_becomes_another(folder: Path) -> None:
    times: list[dict[str, Any]] = [
        {"cron": "30 2 L * *", "tz": "Asia/Tokyo", "dst": "aws", "month_end": "clamp"},
        {"every": "1h"},
        {"every_calendar": "1mo", "start": "2027-01-31T09:00"},
        {"at": "2031-01-01T10:00Z"},
        {"solar": {"event": "sunset", "latitude": 52.5, "longitude": 13.4}},
        {"cron": "0 1 * * *"},
    ]
    for time in times:
        apply(write(folder, {"name": "s", "task": "jobs.canary", **time}))
        syncing.sync_stale(database_now())
        stored = Schedule.objects.get()
        assert (stored.problem, stored.cron_day_of_month) == ("", "L" if "dst" in time else "")
        assert counts(apply(folder / "a.yaml")) == (0, 0, 0, 1)
    assert (stored.dst_gap, stored.month_end, stored.calendar_every) == ("next_valid", "skip", None)


def test_a_folder_with_several_documents(folder: Path) -> None:
    two = "manager: shop\nschedules:\n  - {name: b, task: jobs.canary, every: 1h}\n---\n---\n"
    two += "manager: back\nschedules:\n  - {name: c, task: jobs.canary, every: 1h}\n"
    (folder / "b.yml").write_text(two)
    write(folder, {"name": "a", "task": "jobs.canary", "every": "1h"}, file="a.json")
    (folder / "notes.txt").write_text("not read")
    assert counts(apply(folder)) == (3, 0, 0, 0)
    owners = dict(Schedule.objects.values_list("periodic_task__name", "manager"))
    assert owners == {"a": "shop", "b": "shop", "c": "back"}
    assert counts(apply(folder, "--dry-run")) == (0, 0, 0, 3)


def test_yaml_words_are_read_as_version_1_2_reads_them(folder: Path) -> None:
    path = folder / "a.yaml"
    path.write_text(
        "manager: shop\nschedules:\n"
        "  - name: on\n    task: jobs.canary\n    at: 2031-01-01T10:00:00Z\n    note: 1:30\n"
        "    kwargs: {note: 2027-01-01, fail: no}\n"
        '  - name: "off"\n    task: jobs.canary\n    every: 10m\n    catch_up: none\n'
        "    after: {schedule: on, on: any}\n"
    )
    apply(path)
    row = PeriodicTask.objects.get(name="on")
    assert (json.loads(row.kwargs), row.policy.note) == ({"note": "2027-01-01", "fail": "no"}, "1:30")
    exported = folder / "b.yaml"
    exported.write_text(cli("schedules", "export").out)
    assert counts(apply(exported)) == (0, 0, 0, 2)


# --- whose it is ------------------------------------------------------------------------------------------


def test_what_others_own_is_a_conflict_unless_adopted(folder: Path) -> None:
    every(60, "by hand")
    entry = {"name": "by hand", "task": "jobs.canary", "every": "1m", "start": NOON.isoformat()}
    path = write(folder, entry)
    refused(path, "was made by hand, not 'shop': add --adopt", code=4)
    before = Schedule.objects.get()
    adopted = apply(path, "--adopt")
    assert adopted["items"][0]["changes"] == {"manager": ["", "shop"]}
    now = Schedule.objects.get()
    assert (now.manager, now.version, now.stale) == ("shop", before.version, False)
    refused(write(folder, entry, manager="other"), "belongs to the manager 'shop'", code=4)
    refused(write(folder, {**entry, "cron": "x"}, manager="other"), "Give one time", code=2)


def test_somebody_has_to_own_it(folder: Path) -> None:
    path = write(folder, NIGHTLY, manager=None)
    refused(path, "Say who owns these schedules")
    assert counts(apply(path, "--manager", "flag")) == (1, 0, 0, 0)
    assert Schedule.objects.get().manager == "flag"
    refused(write(folder, NIGHTLY), "--manager is 'flag'", "--manager", "flag")


def test_prune_deletes_only_what_the_manager_owns(folder: Path) -> None:
    every(60, "by hand")
    one, two = ({"name": name, "task": "jobs.canary", "every": "1h"} for name in ("one", "two"))
    apply(write(folder, {"name": "theirs", "task": "jobs.canary", "every": "1h"}, manager="other"))
    apply(write(folder, one, two))
    path = write(folder, one)
    refused(path, "This deletes 1 schedule that no file names: 'two'.", "--prune")
    assert counts(apply(path)) == (0, 0, 0, 1)
    plan = apply(path, "--prune", "--dry-run", code=8)
    assert counts(plan) == (0, 0, 1, 1)
    assert Schedule.objects.count() == 4
    done = apply(path, "--prune", "--yes")
    assert done["items"] == [
        {"name": "one", "action": "unchanged", "changes": {}},
        {"name": "two", "action": "delete", "changes": {}},
    ]
    assert set(Schedule.objects.values_list("periodic_task__name", flat=True)) == {"by hand", "theirs", "one"}
    empty = write(folder)
    assert counts(apply(empty, "--prune", "--yes")) == (0, 0, 1, 0)
    assert counts(apply(empty, "--prune")) == (0, 0, 0, 0)


def test_a_dry_run_changes_nothing_and_exits_8(folder: Path) -> None:
    path = write(folder, NIGHTLY)
    result = cli("schedules", "apply", "-f", path, "--dry-run")
    assert (result.code, Schedule.objects.count()) == (8, 0)
    assert result.out.splitlines() == [
        "create  nightly report: task jobs.canary; cron 0 1 * * *; tz Europe/Berlin",
        "1 created, 0 changed, 0 deleted, 0 unchanged",
    ]
    apply(path)
    assert cli("schedules", "apply", "-f", path, "--dry-run").code == 0


# --- refusals ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("why", "change"),
    [
        ("The key 'quue' is unknown: did you mean 'queue'?", {"quue": "x"}),
        ("no task named 'jobs.canari'. Did you mean 'jobs.canary'?", {"task": "jobs.canari"}),
        ("It needs a task", {"task": None}),
        ("It needs a name", {"name": None}),
        ("It needs a name", {"name": 7}),
        ("It needs a time", {"cron": None}),
        ("Give one time, not several: cron or every", {"every": "1h"}),
        ("never fires", {"cron": "0 0 30 2 *"}),
        ("step of 0", {"cron": "*/0 * * * *"}),
        ("day_match: vixie", {"cron": "0 0 1 * 1"}),
        ("five", {"cron": "0 0 1 *"}),
        ("must be text", {"cron": 5}),
        ("'Mars' is unknown", {"tz": "Mars"}),
        ("time zone 7 is unknown", {"tz": 7}),
        ("not a length of time", {"jitter": "soon"}),
        ("longer than zero", {"timeout": 0}),
        ("hundred years", {"timeout": "90000w"}),
        ("`overlap` is 'x': use skip", {"overlap": "x"}),
        ("whole number from 1 to 1000", {"max_attempts": 0}),
        ("whole number from 0 to 9", {"priority": True}),
        ("number from 1 to 1000", {"backoff_factor": 0.5}),
        ("true or false", {"paused": "yes"}),
        ("must be a list", {"args": {}}),
        ("arguments do not fit", {"kwargs": {"x": 1}}),
        ("key that is not text", {"kwargs": {1: 1}}),
        ("NUL", {"note": "a\0b"}),
        ("NUL", {"kwargs": {"note": "a\0b"}}),
        ("cannot be stored as JSON", {"kwargs": {"sleep": float("nan")}}),
        ("before `start`", {"start": "2028-01-01", "end": "2027-01-01"}),
        ("not a time", {"start": "tomorrow"}),
        ("not both", {"dst": "aws", "dst_gap": "skip"}),
        ("`after` needs a schedule", {"after": {"on": "any"}}),
        (
            "In `after`: The key 'mod' is unknown: did you mean 'mode'?",
            {"after": {"schedule": "x", "mod": 1}},
        ),
        ("no schedule named 'x' to run after", {"after": "x"}),
        ("cannot run after itself", {"after": "nightly report"}),
        ("no calendar named 'holidays'", {"calendar": "holidays"}),
        ("has passed", {"cron": None, "at": "2020-01-01T00:00Z"}),
        ("counts from `start`", {"cron": None, "every_calendar": "1mo"}),
        ("use 3d, 2w", {"cron": None, "every_calendar": "1 moon", "start": "2027-01-01"}),
        (
            "`day_match` has no meaning for every",
            {"cron": None, "tz": None, "every": "1h", "day_match": "and"},
        ),
        ("`tz` has no meaning here", {"cron": None, "every": "1h"}),
        ("needs an event", {"cron": None, "tz": None, "solar": {"event": "sunset"}}),
        (
            "within 90 degrees",
            {"cron": None, "tz": None, "solar": {"event": "sunset", "latitude": 91, "longitude": 0}},
        ),
        ("201 characters", {"name": "x" * 201}),
        ("spaces around", {"name": " x"}),
    ],
)
def test_apply_refuses_with_one_sentence_and_changes_nothing(
    folder: Path, why: str, change: dict[str, Any]
) -> None:
    good = {"name": "good", "task": "jobs.canary", "every": "1h"}
    path = folder / "a.yaml"
    path.write_text(
        yaml.dump({"manager": "shop", "schedules": [good, {**NIGHTLY, **change}]}, allow_unicode=True)
    )
    result = refused(path, why)
    assert "\n" not in result.err.strip()
    assert f"{path}: entry 2" in result.err
    assert "Nothing was changed." in result.err


def test_every_error_is_listed_with_its_file_and_entry(folder: Path) -> None:
    write(folder, {**NIGHTLY, "tz": "Mars", "overlap": "x"}, {"name": "b", "task": "no.such", "every": "1h"})
    (folder / "b.yaml").write_text("manager: [\n")
    (folder / "c.yaml").write_text("manager: shop\nschedule: []\n")
    (folder / "d.yaml").write_text("manager: shop\nmanager: shop\n")
    (folder / "e.yaml").write_text("- 1\n")
    (folder / "f.json").write_text('{"manager": "shop", "manager": "shop"}')
    result = refused(folder, "nothing was changed")
    lines = result.err.splitlines()
    for part in (
        "a.yaml: entry 1 (nightly report): The time zone 'Mars'",
        "a.yaml: entry 1 (nightly report): `overlap` is 'x'",
        "a.yaml: entry 2 (b): There is no task named 'no.such'",
        "b.yaml: Line 2, column 1: ",
        "c.yaml: The key 'schedule' is unknown: did you mean 'schedules'?",
        "d.yaml: Line 2, column 1: the key 'manager' stands there twice.",
        "e.yaml: It must be a mapping",
        "f.json: It cannot be read: the key 'manager' stands there twice.",
    ):
        assert any(part in line for line in lines), (part, lines)
    assert lines[-1] == "8 problems: nothing was changed."


def test_names_must_be_unique_across_files(folder: Path) -> None:
    write(folder, NIGHTLY)
    write(folder, NIGHTLY, file="b.yaml")
    assert "declared more than once: also at" in refused(folder, "nothing was changed").err


def test_a_cycle_is_refused_and_a_chain_in_any_order_is_not(folder: Path) -> None:
    a, b = {"name": "a", "task": "jobs.canary", "after": "b"}, {"name": "b", "task": "jobs.canary"}
    refused(write(folder, a, {**b, "after": "a"}), "wait for each other for ever: a after b after a")
    apply(write(folder, a, {**b, "cron": "0 1 * * *"}))
    assert str(Schedule.objects.named("a").after) == "b"
    syncing.sync_stale(database_now())
    assert counts(apply(folder / "a.yaml")) == (0, 0, 0, 2)
    turned = apply(
        write(folder, {**a, "after": None, "every": "1h"}, {**b, "after": {"schedule": "a", "on": "any"}})
    )
    assert counts(turned) == (0, 2, 0, 0)
    assert cli("schedules", "export", "b", "--json").items[0]["schedules"] == [
        {"name": "b", "task": "jobs.canary", "after": {"schedule": "a", "on": "any"}}
    ]
    by_hand = every(60, "by hand")
    Schedule.objects.filter(pk=by_hand.pk).update(after=Schedule.objects.named("b"))
    loop = write(folder, {**a, "after": "by hand"}, {**b, "after": "a"})
    refused(loop, "wait for each other for ever")


def test_files_that_cannot_be_read() -> None:
    for words, why in (
        ((), "Say which files"),
        (("-f", "/no/such/file.yaml"), "cannot be read: No such file"),
        (("-f", "/proc/sys/kernel/random"), "has no files that end in"),
    ):
        result = cli("schedules", "apply", *words)
        assert (result.code, why in result.err) == (2, True), result.err


# --- what goes on meanwhile -------------------------------------------------------------------------------


def test_a_pause_by_hand_survives_a_file_that_is_silent_about_it(folder: Path) -> None:
    path = write(folder, NIGHTLY)
    apply(path)
    pausing.pause(Schedule.objects.get(), note="incident 7", actor="ada")
    assert counts(apply(path)) == (0, 0, 0, 1)
    assert not PeriodicTask.objects.get().enabled, "what an operator paused at night, no deployment resumes"


def test_a_pause_by_hand_ends_with_a_file_that_says_so(folder: Path) -> None:
    apply(write(folder, NIGHTLY))
    pausing.pause(Schedule.objects.get(), note="incident 7", actor="ada")
    result = cli("schedules", "apply", "-f", write(folder, {**NIGHTLY, "paused": False}), "--json")
    assert result.json["items"][0]["changes"] == {"paused": [True, False]}
    assert "was paused by ada (incident 7) and resumes" in result.err
    assert PeriodicTask.objects.get().enabled


@pytest.mark.semantics(9)
def test_a_one_shot_that_has_fired_is_not_armed_again(folder: Path) -> None:
    once(NOON, "one", enabled=False)
    Schedule.objects.update(runs=1, manager="shop")
    path = write(folder, {"name": "one", "task": "jobs.canary", "at": NOON.isoformat()})
    assert counts(apply(path)) == (0, 0, 0, 1)
    again = apply(write(folder, {"name": "one", "task": "jobs.canary", "at": "2031-01-01T00:00Z"}))
    assert again["items"][0]["changes"] == {
        "at": ["2026-03-10T12:00:00Z", "2031-01-01T00:00:00Z"],
        "paused": [True, False],
    }


def test_a_one_shot_that_was_to_be_deleted_is_done(folder: Path) -> None:
    entry = {"name": "one", "task": "jobs.canary", "at": NOON.isoformat(), "on_complete": "delete"}
    assert counts(apply(write(folder, entry))) == (0, 0, 0, 1)
    assert not Schedule.objects.exists()


def test_a_broken_row_is_made_whole(folder: Path) -> None:
    PeriodicTask.objects.bulk_create([PeriodicTask(name="s", task="no.such", args="{not json", kwargs="[]")])
    path = write(folder, {"name": "s", "task": "jobs.canary", "every": "1h"})
    changes = apply(path, "--adopt")["items"][0]["changes"]
    assert set(changes) == {"task", "every", "args", "kwargs", "manager"}
    syncing.sync_stale(database_now())
    assert Schedule.objects.get().problem == ""


def test_expire_seconds_of_an_old_row_is_its_deadline(folder: Path) -> None:
    every(60, "old", expire_seconds=30)
    exported = cli("schedules", "export", "old", "--json").items[0]["schedules"][0]
    assert exported["deadline"] == "30s"
    assert set(apply(write(folder, exported), "--adopt")["items"][0]["changes"]) == {"manager"}
    del exported["deadline"]
    apply(write(folder, exported))
    assert PeriodicTask.objects.get().expire_seconds is None


def test_calendars_and_rolls(folder: Path) -> None:
    Calendar.objects.create(name="holidays", exclude_dates=["2027-01-01"])
    entry = {**NIGHTLY, "calendar": "holidays", "roll": "next"}
    apply(write(folder, entry))
    assert cli("schedules", "export", "--json").items[0]["schedules"] == [entry]


# --- export -----------------------------------------------------------------------------------------------


def test_export_is_stable_and_short(folder: Path) -> None:
    apply(write(folder, NIGHTLY, {"name": "a", "task": "jobs.canary", "every": "10m"}))
    cron("0 0 1 * 1", "by hand")
    result = cli("schedules", "export")
    assert result.out == (
        "schedules:\n"
        "  - name: by hand\n    task: jobs.canary\n    cron: 0 0 1 * 1\n    day_match: and\n"
        "---\n"
        "manager: shop\n"
        "schedules:\n"
        "  - name: a\n    task: jobs.canary\n    every: 10m\n"
        "  - name: nightly report\n    task: jobs.canary\n    cron: 0 1 * * *\n    tz: Europe/Berlin\n"
    )
    assert cli("schedules", "export", "--manager", "shop", "--json").items == [
        {
            "manager": "shop",
            "schedules": [{"name": "a", "task": "jobs.canary", "every": "10m"}, NIGHTLY],
        }
    ]
    assert cli("schedules", "export", "nobody").code == 3


def test_export_of_rows_of_django_celery_beat(folder: Path) -> None:
    solar = SolarSchedule.objects.create(event="dusk_civil", latitude="52.5", longitude="13.4")
    PeriodicTask.objects.create(name="dusk", task="jobs.canary", solar=solar, kwargs='{"note": "x"}')
    document = cli("schedules", "export", "--json").items[0]["schedules"][0]
    assert document == {
        "name": "dusk",
        "task": "jobs.canary",
        "solar": {"event": "dusk_civil", "latitude": 52.5, "longitude": 13.4},
        "kwargs": {"note": "x"},
    }


# --- validate ---------------------------------------------------------------------------------------------


def test_validate_needs_no_database_for_files(folder: Path) -> None:
    path = write(folder, NIGHTLY, {"name": "b", "task": "jobs.canary", "cron": "0 0 31 4 *"})
    result = shell("schedules", "validate", "-f", str(path), "--json", **NOWHERE)
    assert result.code == 2, result.err
    assert result.items == [
        {"where": f"{path}: entry 2 (b)", "problem": result.items[0]["problem"]},
    ]
    assert "never fires" in result.items[0]["problem"]
    good = cli("schedules", "validate", "-f", write(folder, NIGHTLY))
    assert (good.code, good.err.strip()) == (0, "1 schedule declared, no problems.")


def test_validate_of_stored_schedules() -> None:
    every(60, "good")
    every(60, "unknown task", task="no.such")
    every(60, "misfit", kwargs={"x": 1})
    PeriodicTask.objects.bulk_create([PeriodicTask(name="broken", task="jobs.canary", args="{not json")])
    result = cli("schedules", "validate", "--json")
    assert result.code == 1
    found = {item["where"]: item["problem"] for item in result.items}
    assert set(found) == {"unknown task", "misfit", "broken"}
    assert "no task named" in found["unknown task"]
    assert "do not fit" in found["misfit"]
    assert cli("schedules", "validate", "good").code == 0
    assert cli("schedules", "validate", "good", "nobody").code == 3
    assert cli("schedules", "validate", "good", "-f", "x").code == 2
    assert not Job.objects.exists()


def test_many_schedules_in_one_go(folder: Path) -> None:
    many = [{"name": f"s{n}", "task": "jobs.canary", "every": f"{n + 1}m"} for n in range(200)]
    path = write(folder, *many)
    assert counts(apply(path)) == (200, 0, 0, 0)
    started = database_now()
    assert counts(apply(path)) == (0, 0, 0, 200)
    assert database_now() - started < timedelta(seconds=5)


# --- diff -------------------------------------------------------------------------------------------------


def diff(*words: object, code: int = 8) -> list[dict[str, Any]]:
    before = snapshot()
    result = cli("schedules", "diff", *words, "--json")
    assert result.code == code, (result.err, result.out)
    assert snapshot() == before
    return result.items


def assert_all_moved(found: dict[str, Any], times: int) -> None:
    """All of a daily schedule's times are others. Whoever asks between an old time of day and its new one
    finds the first of these, or the last of those, without a partner."""
    assert found["added"] == found["removed"] <= 1
    assert found["moved"] + found["added"] == times


@pytest.mark.semantics(29)
def test_diff_of_files(folder: Path) -> None:
    other = {"name": "other", "task": "jobs.canary", "cron": "0 12 * * *"}
    apply(write(folder, NIGHTLY, other))
    assert diff("-f", folder, code=0) == []
    path = write(
        folder, {**NIGHTLY, "cron": "30 3 * * *"}, {**other, "queue": "billing"}, {**other, "name": "new"}
    )
    moved, new = sorted(diff("-f", path), key=lambda item: item["name"], reverse=True)[::-1]
    assert (moved["name"], new["name"]) == ("new", "nightly report")
    moved, new = new, moved
    assert len(moved["differences"]) == 10
    assert_all_moved(moved, 90)
    assert (new["moved"], new["added"], new["removed"]) == (0, 90, 0)
    result = cli("schedules", "diff", "-f", path, "-n", 1)
    assert "1 would change otherwise, with the same fire times: other" in result.err
    assert result.out.startswith("new: 90 added, up to ")
    assert "... and 89 more" in result.out
    gone = diff("-f", write(folder, NIGHTLY), "--prune")
    assert [(item["name"], item["removed"]) for item in gone] == [("other", 90)]
    assert diff("-f", write(folder, NIGHTLY, {**other, "paused": True}))[0]["removed"] == 90
    assert cli("schedules", "diff", "-f", write(folder, {**NIGHTLY, "tz": "Mars"})).code == 2


@pytest.mark.semantics(29)
def test_diff_of_a_change_by_flags() -> None:
    cron("0 1 * * *", "nightly")
    found = diff("nightly", "--tz", "Asia/Tokyo", "--days", 7, "-n", 2)[0]
    assert len(found["differences"]) == 2
    assert_all_moved(found, 7)
    change = next(one for one in found["differences"] if one["before"] and one["after"])
    assert change["before"][11:] == "01:00:00Z"
    assert change["after"][11:] == "16:00:00Z"
    assert diff("nightly", "--cron", "0 1 * * 1-5", "--days", 7)[0]["removed"] == 2
    assert diff("nightly", "--note", "x", code=0) == []
    for words, why in (
        (("nightly",), "Say what to compare"),
        (("nightly", "-f", "x"), "not both"),
        (("nightly", "--cron", "x"), "five"),
        (("--tzdata", "/nowhere"), "not a folder"),
    ):
        result = cli("schedules", "diff", *words)
        assert (result.code, why in result.err) == (2, True), result.err
    assert cli("schedules", "diff", "nobody", "--tz", "UTC").code == 3


def test_diff_of_what_fires_often_is_bounded() -> None:
    every(1, "often")
    found = diff("often", "--every", "2s")[0]
    assert found["removed"] == 10_000
    assert found["through"] < (database_now() + timedelta(hours=6)).isoformat()


@pytest.mark.semantics(29)
def test_diff_of_other_time_zone_data(folder: Path) -> None:
    cron("0 1 * * *", "berlin", tz="Europe/Berlin")
    cron("0 1 * * *", "tokyo", tz="Asia/Tokyo")
    cron("0 1 * * *", "lima", tz="America/Lima")
    from importlib.resources import files

    data = files("tzdata") / "zoneinfo"
    (folder / "Europe").mkdir()
    (folder / "Asia").mkdir()
    (folder / "Europe/Berlin").write_bytes((data / "Europe" / "Lisbon").read_bytes())
    (folder / "Asia/Tokyo").write_bytes((data / "Asia" / "Tokyo").read_bytes())
    result = cli("schedules", "diff", "--tzdata", folder, "--json", "--days", 10)
    (berlin,) = result.items
    assert berlin["name"] == "berlin"
    assert_all_moved(berlin, 10)
    assert "not in that folder, and not compared: America/Lima" in result.err
    assert diff("berlin", "--tz", "Europe/Paris", code=0) == []
