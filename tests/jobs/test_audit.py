"""The audit log: who did what, whichever way it was done; and nobody can change it afterwards."""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from auditlog.models import LogEntry
from django.conf import settings
from django.contrib.auth.models import Group, Permission, User
from django.core.management import call_command, get_commands, load_command_class
from django.db import ProgrammingError, connection, transaction
from django.test import Client
from django_celery_beat.models import PeriodicTask
from django_typer.management import TyperCommand

from jobs.cli.base import operator
from jobs.engine import auditing, pausing
from jobs.engine.auditing import Actor
from jobs.engine.clock import database_now
from jobs.engine.ticking import Ticker
from jobs.models import Calendar, Job, Limit, Quarantine, Schedule
from tests.jobs.builders import NOON, every, job, once
from tests.jobs.test_admin_schedule_acts import YES, bulk
from tests.jobs.test_admin_schedules import create, edit, url, user_with
from tests.jobs.test_cli_jobs import failed
from tests.jobs.test_cli_runner import cli

pytestmark = pytest.mark.django_db(transaction=True)

REFUSED = "The audit log is append-only"
ADA = Actor("ada")


@pytest.fixture
def entry() -> LogEntry:
    with auditing.acting(ADA):
        auditing.record([every(60, "x").periodic_task], "run now")
    return LogEntry.objects.get(additional_data__verb="run now")


# --- Append-only --------------------


@pytest.mark.parametrize(
    "attempt",
    [
        lambda entry: entry.delete(),
        lambda entry: LogEntry.objects.all().delete(),
        lambda entry: LogEntry.objects.filter(pk=entry.pk).update(object_repr="another"),
        lambda entry: LogEntry.objects.filter(pk=entry.pk)._raw_delete("default"),
        lambda entry: entry.save(),
        lambda entry: _sql("DELETE FROM auditlog_logentry"),
        lambda entry: _sql("UPDATE auditlog_logentry SET actor_email = 'eve'"),
        lambda entry: _sql("WITH gone AS (DELETE FROM auditlog_logentry RETURNING 1) SELECT count(*) FROM gone"),
        lambda entry: call_command("auditlogflush", yes=True, verbosity=0),
    ],
    ids=["delete", "queryset", "update", "raw delete", "save", "SQL delete", "SQL update", "CTE", "auditlogflush"],
)  # fmt: skip
def test_an_entry_can_be_neither_changed_nor_removed(entry: LogEntry, attempt: Callable[[Any], Any]) -> None:
    before = list(LogEntry.objects.values())
    with pytest.raises(ProgrammingError, match=REFUSED):
        attempt(entry)
    assert list(LogEntry.objects.values()) == before


def _sql(text: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(text)


def test_in_production_the_table_cannot_be_emptied_either() -> None:
    """A test's own database may be: it is known by its name. So this one has another."""
    migration = importlib.import_module("jobs.migrations.0003_audit_append_only")
    where = {key: settings.DATABASES["default"][key.upper()] for key in ("host", "port", "user", "password")}
    with psycopg.connect(
        **where, dbname=settings.DATABASES["default"]["NAME"], autocommit=True
    ) as maintenance:
        maintenance.execute("DROP DATABASE IF EXISTS audit_check")
        maintenance.execute("CREATE DATABASE audit_check")
        try:
            with psycopg.connect(**where, dbname="audit_check", autocommit=True) as session:
                session.execute("CREATE TABLE auditlog_logentry (id int)")
                session.execute("INSERT INTO auditlog_logentry VALUES (1)")
                session.execute(migration.CREATE)
                for statement in ("TRUNCATE auditlog_logentry", "DELETE FROM auditlog_logentry"):
                    with pytest.raises(psycopg.errors.InsufficientPrivilege, match=REFUSED):
                        session.execute(statement)
                session.execute(migration.UNDO)
                session.execute("TRUNCATE auditlog_logentry")
        finally:
            maintenance.execute("DROP DATABASE audit_check WITH (FORCE)")


def test_doctor_tells_when_the_log_can_be_changed() -> None:
    def said() -> dict[str, str]:
        return next(item for item in cli("doctor", "--json").items if item["name"] == "audit")

    assert said()["status"] == "ok"
    _sql("ALTER TABLE auditlog_logentry DISABLE TRIGGER jobs_audit_rows")
    try:
        assert said()["status"] == "fail"
    finally:
        _sql("ALTER TABLE auditlog_logentry ENABLE TRIGGER jobs_audit_rows")


def test_an_act_that_is_rolled_back_leaves_no_entry() -> None:
    schedule = every(60)
    with auditing.acting(ADA), transaction.atomic():
        pausing.pause(schedule)
        transaction.set_rollback(True)
    assert not LogEntry.objects.filter(additional_data__verb="pause").exists()


# --- Who --------------------


def test_without_somebody_who_acts_there_is_no_entry() -> None:
    schedule = every(60)
    before = LogEntry.objects.count()
    pausing.pause(schedule, actor="system")
    with auditing.acting(ADA), auditing.acting(None):
        pausing.resume(schedule)
    assert LogEntry.objects.count() == before


def test_what_the_scheduler_does_by_itself_is_nobodys_act() -> None:
    failing = every(60, "failing")
    Schedule.objects.filter(pk=failing.pk).update(pause_after_failures=1)
    failed(schedule_id=failing.pk, nonce="1")
    paused = every(60, "paused")
    pausing.pause(paused, until=database_now() - timedelta(seconds=1))
    once(database_now() - timedelta(seconds=1), "due", since=NOON)
    before = LogEntry.objects.count()
    Ticker().tick(database_now())
    assert cli("beat_tick", "--once").code == 0
    assert PeriodicTask.objects.get(name="failing").enabled is False
    assert LogEntry.objects.count() == before


def test_the_actor_at_a_command_line_is_the_account_whatever_the_environment_says(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("USER", "LOGNAME", "SUDO_USER"):
        monkeypatch.setenv(name, "somebody-else")
    assert operator().name.startswith("cli:")
    assert "somebody-else" not in operator().name


@pytest.mark.parametrize(
    ("headers", "proxy", "address"),
    [
        ({}, False, "127.0.0.1"),
        ({"X-Forwarded-For": "6.6.6.6"}, False, "127.0.0.1"),
        ({"X-Forwarded-For": "6.6.6.6, 10.0.0.7"}, True, "10.0.0.7"),
        ({"X-Forwarded-For": "nonsense"}, True, None),
        ({"X-Forwarded-For": "::1"}, True, "::1"),
        ({}, True, "127.0.0.1"),
    ],
)
def test_the_address_is_what_our_own_proxy_saw(
    client: Client, settings: Any, headers: dict[str, str], proxy: bool, address: str | None
) -> None:
    settings.SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https") if proxy else None
    client.force_login(User.objects.create_superuser("ada", "ada@example.com", "x"))
    schedule = every(3600)
    client.post(url(schedule, "pause"), {**YES, "note": "", "until": ""}, headers=headers)
    entry = LogEntry.objects.get(additional_data__verb="pause")
    assert (entry.actor.username, entry.actor_email, entry.remote_addr) == ("ada", "ada", address)


def test_who_has_acted_is_deactivated_and_not_deleted(client: Client) -> None:
    ada = User.objects.create_superuser("ada", "ada@example.com", "x")
    client.force_login(ada)
    eve = user_with("jobs.pause_schedule", "django_celery_beat.view_periodictask")
    client.post(url(every(3600), "pause"), {**YES, "note": "", "until": ""})
    assert client.post(f"/admin/auth/user/{ada.pk}/delete/", {"post": "yes"}).status_code == 403
    assert client.post(f"/admin/auth/user/{eve.pk}/delete/", {"post": "yes"}).status_code == 302
    assert not User.objects.filter(username="eve").exists()


# --- By the console --------------------


def acts(by: str, **which: Any) -> list[str]:
    """What somebody did, oldest first: our verbs, or `created`, `changed`, `deleted` with the kind of thing."""
    words = {0: "created", 1: "changed", 2: "deleted"}
    found = LogEntry.objects.filter(**which).order_by("id")
    return [
        (entry.additional_data or {}).get("verb") or f"{words[entry.action]} {entry.content_type.model}"
        for entry in found
        if entry.actor_email == by
    ]


def test_everything_done_to_a_schedule_in_the_console(admin: Client) -> None:
    schedule = create(admin, kwargs='{"note": "a"}')
    edit(admin, schedule, kwargs='{"note": "b"}', overlap="allow_all")
    for act, fields in (("run-now", {}), ("pause", {"note": "why", "until": ""}), ("resume", {})):
        admin.post(url(schedule, act), {**YES, **fields})
    other = create(admin, name="other")
    for act in ("run_selected", "pause_selected", "resume_selected"):
        admin.post(
            "/admin/django_celery_beat/periodictask/", bulk(act, schedule, other, confirmed="yes", note="")
        )
    admin.post(f"/admin/django_celery_beat/periodictask/{other.pk}/delete/", {"post": "yes"})
    mine = {"content_type__model": "periodictask"}
    done = acts("ada", **mine, object_pk=str(schedule.pk))
    assert done[0] == "created periodictask"
    for act in ("changed periodictask", "change policy", "run now", "pause", "resume"):
        assert act in done, act
    assert (done.count("run now"), done.count("pause"), done.count("resume")) == (2, 2, 2)
    assert acts("ada", **mine, object_pk=str(other.pk))[-1] == "deleted periodictask"
    change = LogEntry.objects.filter(additional_data__verb="change policy").latest("id")
    assert change.changes["overlap"] == ["skip", "allow_all"]


def test_everything_else_in_the_console(admin: Client) -> None:
    rows = {"replay": failed(), "discard": failed(), "cancel": job()}
    for act, row in rows.items():
        admin.post(f"/admin/jobs/job/{row.id}/{act}/", YES)
        assert acts("ada", object_pk=row.id) == [act]
    admin.post("/admin/jobs/calendar/add/", {"name": "c", "tz": "", "exclude_dates": "[]", "include_dates": "[]",
        "exclude_windows": "[]", "include_windows": "[]"})  # fmt: skip
    calendar = Calendar.objects.get()
    admin.post("/admin/jobs/limit/add/", {"name": "queue:billing", "max_active": "2", "note": ""})
    limit = Limit.objects.get()
    admin.post(f"/admin/jobs/limit/{limit.pk}/change/", {"name": limit.name, "max_active": "3", "note": ""})
    admin.post(f"/admin/jobs/calendar/{calendar.pk}/delete/", {"post": "yes"})
    assert acts("ada", content_type__model="calendar") == ["created calendar", "deleted calendar"]
    assert acts("ada", content_type__model="limit") == ["created limit", "changed limit"]
    rubbish = Quarantine.objects.create(queue="q", body="x", problem="y")
    admin.post(f"/admin/jobs/quarantine/{rubbish.pk}/delete/", {"post": "yes"})
    assert acts("ada", content_type__model="quarantine") == ["delete"]


def test_who_may_do_what_is_an_act_too(admin: Client) -> None:
    eve = user_with()
    group = Group.objects.create(name="operators")
    permission = Permission.objects.get(codename="run_schedule")
    fields = {"username": "eve", "is_active": "on", "is_staff": "on", "date_joined_0": "2027-01-01",
              "date_joined_1": "00:00:00", "groups": [group.pk], "user_permissions": [permission.pk]}  # fmt: skip
    assert admin.post(f"/admin/auth/user/{eve.pk}/change/", fields).status_code == 302
    entries = LogEntry.objects.filter(content_type__model="user", object_pk=str(eve.pk), actor_email="ada")
    changes = {name: value for entry in entries for name, value in entry.changes.items()}
    assert changes["user_permissions"]["operation"] == "add"
    assert changes["groups"]["objects"] == ["operators"]
    new = {"usable_password": "true", "password1": "correct-horse-9", "password2": "correct-horse-9"}
    admin.post(f"/admin/auth/user/{eve.pk}/password/", {**new, "set-password": "1"})
    eve.refresh_from_db()
    assert eve.check_password("correct-horse-9")
    assert eve.password not in json.dumps([entry.changes for entry in LogEntry.objects.all()])


# --- By the command line --------------------

READS = {
    "blackouts": {"list"}, "calendars": {"list", "show"}, "dlq": {"list", "show", "export"},
    "jobs": {"list", "show", "logs", "wait"}, "queues": {"list"}, "workers": {"list", "ping"}, "tokens": {"list"},
    "schedules": {"list", "show", "preview", "explain", "export", "validate", "diff"},
}  # fmt: skip
"""Verbs that change nothing."""


def _apply_file(folder: Path) -> Path:
    file = folder / "a.yaml"
    file.write_text(
        "manager: shop\nschedules:\n- {name: declared, task: jobs.canary, cron: '0 1 * * *', note: hi}\n"
    )
    return file


def _crontab(folder: Path) -> Path:
    file = folder / "crontab"
    file.write_text("0 3 * * * /bin/true\n")
    return file


def _holidays(folder: Path) -> Path:
    file = folder / "holidays.ics"
    file.write_text(
        "BEGIN:VCALENDAR\r\nBEGIN:VEVENT\r\nDTSTART;VALUE=DATE:20271225\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n"
    )
    return file


def _past() -> None:
    every(3600, "s", anchor=NOON)


ACTS: list[tuple[str, Callable[[Path], Any], str]] = [
    (
        "schedules create s --task jobs.canary --every 1h --overlap allow_all",
        lambda _: None,
        "created periodictask",
    ),
    ("schedules update s --overlap allow_all", lambda _: every(3600, "s"), "change policy"),
    ("schedules update s --max-active 2", lambda _: every(3600, "s"), "created limit"),
    ("schedules update s --queue billing", lambda _: every(3600, "s"), "changed periodictask"),
    ("schedules delete s --yes", lambda _: every(3600, "s"), "deleted periodictask"),
    ("schedules run s", lambda _: every(3600, "s"), "run now"),
    ("schedules pause s --note why", lambda _: every(3600, "s"), "pause"),
    ("schedules resume s", lambda _: pausing.pause(every(3600, "s")), "resume"),
    (
        "schedules backfill s --from 2026-03-10T13:00Z --to 2026-03-10T15:00Z --yes",
        lambda _: _past(),
        "backfill",
    ),
    ("schedules apply -f FILE", _apply_file, "apply"),
    ("schedules import-crontab FILE --task jobs.canary --no-user-column", _crontab, ""),
    ("schedules import-celery-beat", lambda _: every(3600, "s"), ""),
    ("jobs retry ID", lambda _: failed().id, "replay"),
    ("jobs cancel ID", lambda _: job().id, "cancel"),
    ("dlq replay ID", lambda _: failed().id, "replay"),
    ("dlq discard ID", lambda _: failed().id, "discard"),
    ("queues pause billing", lambda _: None, "created limit"),
    (
        "queues resume billing",
        lambda _: Limit.objects.create(name="queue:billing", max_active=0),
        "deleted limit",
    ),
    ("queues limit billing --rate 2", lambda _: None, "created limit"),
    (
        "queues limit billing --rate 2",
        lambda _: Limit.objects.create(name="queue:billing", max_active=0),
        "changed limit",
    ),
    ("queues purge default --yes", lambda _: job(), "purge"),
    ("calendars create c --exclude 2027-12-25", lambda _: None, "created calendar"),
    (
        "calendars update c --exclude 2027-12-26",
        lambda _: Calendar.objects.create(name="c"),
        "changed calendar",
    ),
    ("calendars delete c --yes", lambda _: Calendar.objects.create(name="c"), "deleted calendar"),
    ("calendars import FILE", _holidays, "created calendar"),
    ("blackouts create b --window 'fri 16:00-20:00'", lambda _: None, "created blackout"),
    (
        "blackouts delete b --yes",
        lambda _: cli("blackouts", "create", "b", "--window", "fri 16:00-20:00"),
        "deleted blackout",
    ),
    ("tokens create t --user ada", lambda _: User.objects.create_user("ada"), "create"),
    (
        "tokens revoke t",
        lambda _: (User.objects.create_user("ada"), cli("tokens", "create", "t", "--user", "ada")),
        "revoke",
    ),
]


@pytest.mark.parametrize(("words", "prepare", "act"), ACTS, ids=[words for words, _, _ in ACTS])
def test_every_act_at_the_command_line(
    words: str, prepare: Callable[[Path], Any], act: str, tmp_path: Path
) -> None:
    made = prepare(tmp_path)
    before = LogEntry.objects.count()
    given = [str(made) if word in ("FILE", "ID") else word for word in _split(words)]
    result = cli(*given)
    if not act:  # it found nothing to take over
        assert LogEntry.objects.count() == before
        return
    assert result.code == 0, result.err
    assert act in acts(operator().name)[0 if act.startswith("created") else None :], (
        result.err,
        acts(operator().name),
    )


def _split(words: str) -> list[str]:
    import shlex

    return shlex.split(words)


def test_no_verb_is_forgotten() -> None:
    ours = {name for name, app in get_commands().items() if app == "jobs"}
    covered = {tuple(words.split()[:2]) for words, _, _ in ACTS}
    for noun in sorted(ours):
        command = load_command_class("jobs", noun)
        assert isinstance(command, TyperCommand)
        for verb in command.command_tree.children:
            assert (noun, verb) in covered or verb in READS.get(noun, set()), f"{noun} {verb}"


def test_a_dry_run_and_a_diff_are_no_acts(tmp_path: Path) -> None:
    file = _apply_file(tmp_path)
    every(3600, "s")
    before = LogEntry.objects.count()
    assert cli("schedules", "apply", "-f", file, "--dry-run").code == 8
    assert cli("schedules", "diff", "-f", file).code == 8
    assert cli("schedules", "diff", "s", "--every", "2h").code == 8
    assert LogEntry.objects.count() == before


# --- What an entry says --------------------


def test_an_entry_holds_no_secret(admin: Client, tmp_path: Path) -> None:
    secret = "hunter22-of-the-tests"
    kwargs = json.dumps({"note": {"password": secret}})
    schedule = create(admin, kwargs=kwargs, note=f"redis://:{secret}@r/0")
    edit(admin, schedule, kwargs=json.dumps({"note": {"password": f"{secret}2"}}), note=f"token={secret}")
    cli("schedules", "update", "nightly", "--kwargs", json.dumps({"note": {"password": f"{secret}3"}}))
    file = tmp_path / "a.yaml"
    document = {"name": "nightly", "task": "jobs.canary", "cron": "0 3 * * *", "kwargs": json.loads(kwargs)}
    file.write_text(json.dumps({"manager": "shop", "schedules": [document]}))
    assert cli("schedules", "apply", "-f", file, "--adopt").code == 0
    cli("schedules", "pause", "nightly", "--note", f"password={secret}")
    said = json.dumps(list(LogEntry.objects.values("changes", "additional_data", "object_repr")), default=str)
    assert secret not in said
    assert json.loads(PeriodicTask.objects.get().kwargs) == json.loads(kwargs), "the schedule has it"


def test_a_long_value_does_not_swell_the_log() -> None:
    with auditing.acting(ADA):
        auditing.record([every(60).periodic_task], "change policy", changes={"note": ["", "x" * 100_000]})
    assert len(LogEntry.objects.get(additional_data__verb="change policy").changes["note"][1]) == 2_000


def test_ids_of_any_kind_are_kept() -> None:
    row = job(id="9" * 30)
    with auditing.acting(ADA):
        auditing.record_jobs([row.id, "gone"], "cancel")
    assert set(
        LogEntry.objects.filter(additional_data__verb="cancel").values_list("object_pk", "object_id")
    ) == {
        ("9" * 30, None),
        ("gone", None),
    }
    assert Job.objects.count() == 1
