"""A backup that exists is whole; one that is not whole does not exist."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest
from celery.exceptions import SoftTimeLimitExceeded
from django.core.exceptions import ValidationError
from django.db import connection
from psycopg import sql

from backups import dumping, ledger, pg_tools
from backups.backing_up import back_up
from backups.models import Backup, BackupPolicy, BackupTarget
from backups.pg_tools import Tool, UnfitToolError
from backups.tasks import run_backup
from jobs.public import Permanent
from scheduler_project.standalone.processes import wait_until
from tests.backups.conftest import child_called

SLOT = "2026-03-29T00:30:00+00:00"


def connect(name: str | None = None) -> psycopg.Connection[Any]:
    given = connection.settings_dict
    return psycopg.connect(
        host=given["HOST"],
        port=given["PORT"],
        user=given["USER"],
        password=given["PASSWORD"],
        dbname=name or given["NAME"],
        autocommit=True,
    )


def counts(of: psycopg.Connection[Any]) -> dict[str, int]:
    tables = of.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'").fetchall()
    query = sql.SQL("SELECT count(*) FROM {}")
    return {name: of.execute(query.format(sql.Identifier(name))).fetchall()[0][0] for (name,) in tables}


@contextmanager
def scratch_database() -> Iterator[str]:
    name = f"scratch_{os.getpid()}"
    with connect() as server:
        server.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        try:
            yield name
        finally:
            server.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


@contextmanager
def held_lock() -> Iterator[None]:
    """Keep pg_dump waiting for a table."""
    with connect() as other, other.transaction():
        other.execute("LOCK TABLE django_session IN ACCESS EXCLUSIVE MODE")
        yield


def files(root: Path) -> list[str]:
    return sorted(path.name for path in root.rglob("*") if path.is_file())


@pytest.mark.django_db(transaction=True)
def test_a_backup_restores_to_the_same_counts(policy: BackupPolicy, root: Path, tools: Path) -> None:
    BackupTarget.objects.bulk_create([BackupTarget(name=f"t{n}") for n in range(500)])

    result = run_backup.apply(args=["main"]).get()

    assert result["status"] == "verified"
    dump = Path(result["path"])
    assert files(root) == [dump.name, f"{dump.name}.json"]
    assert stat.S_IMODE(dump.stat().st_mode) == 0o600
    assert stat.S_IMODE(dump.parent.stat().st_mode) == 0o700
    assert hashlib.sha256(dump.read_bytes()).hexdigest() == result["sha256"]
    backup = Backup.objects.get()
    assert json.loads(dump.with_name(f"{dump.name}.json").read_text()) == backup.manifest
    assert backup.manifest["bytes"] == dump.stat().st_size == backup.size
    assert backup.manifest["migrations"]["backups"] == "0001_initial"
    with scratch_database() as name, connect() as original:
        given = connection.settings_dict
        subprocess.run(
            [tools / "pg_restore", "--no-owner", "--exit-on-error", "-d", name, dump],
            env={
                "PGHOST": given["HOST"],
                "PGPORT": str(given["PORT"]),
                "PGUSER": given["USER"],
                "PGPASSWORD": given["PASSWORD"],
            },
            check=True,
        )
        with connect(name) as copy:
            restored = counts(copy)
        now = counts(original)
    assert restored.pop("backups_backup") == now.pop("backups_backup") == 1
    assert restored == now
    assert restored["backups_backuptarget"] == 501


@pytest.mark.django_db
def test_a_truncated_dump_is_noticed(policy: BackupPolicy, tools: Path, tmp_path: Path) -> None:
    whole = Path(back_up(policy, SLOT, "job").backup.path).read_bytes()
    pg_restore = Tool(str(tools / "pg_restore"), "18.0")
    for size in (len(whole) - 1, len(whole) // 2, 40):
        cut = tmp_path / "cut.dump"
        cut.write_bytes(whole[:size])
        as_written = dumping.Written(size, hashlib.sha256(whole[:size]).hexdigest())
        with pytest.raises(dumping.DamagedDumpError, match="cannot be restored"):
            dumping.verify(pg_restore, cut, as_written)


@pytest.mark.django_db
def test_a_changed_byte_is_noticed(policy: BackupPolicy, tools: Path) -> None:
    backup = back_up(policy, SLOT, "job").backup
    dump = Path(backup.path)
    changed = bytearray(dump.read_bytes())
    changed[len(changed) // 2] ^= 1
    dump.write_bytes(changed)
    assert backup.size is not None
    with pytest.raises(dumping.DamagedDumpError):
        dumping.verify(
            Tool(str(tools / "pg_restore"), "18.0"), dump, dumping.Written(backup.size, backup.sha256)
        )


@pytest.mark.django_db
def test_an_old_pg_dump_is_refused(policy: BackupPolicy, root: Path, tmp_path: Path, settings: Any) -> None:
    old = tmp_path / "bin" / "pg_dump"
    old.parent.mkdir()
    old.write_text("#!/bin/sh\necho 'pg_dump (PostgreSQL) 9.6.24 (Debian 9.6)'\n")
    old.chmod(0o755)
    settings.PG_BIN = str(old.parent)

    with pytest.raises(Permanent, match=r"is version 9\.6\.24, older than the server, which is \d\d"):
        run_backup("main")

    assert Backup.objects.get().status == "failed"
    assert "Install postgresql-client-" in Backup.objects.get().error
    assert files(root) == []


@pytest.mark.django_db
def test_no_pg_dump_is_refused(policy: BackupPolicy, tmp_path: Path, settings: Any) -> None:
    settings.PG_BIN = str(tmp_path)
    with pytest.raises(UnfitToolError, match="There is no pg_dump"):
        back_up(policy, SLOT, "job")


@pytest.mark.django_db
def test_a_failing_pg_dump_leaves_nothing(
    policy: BackupPolicy, root: Path, settings: Any, tools: Path
) -> None:
    """It writes something, and fails: what it wrote is no backup."""
    fake = root.parent / "bin"
    fake.mkdir()
    (fake / "pg_restore").symlink_to(tools / "pg_restore")
    version = '[ "$1" = --version ] && echo "pg_dump (PostgreSQL) 99.1" && exit'
    (fake / "pg_dump").write_text(f"#!/bin/sh\n{version}\necho PGDMP; echo no >&2; exit 3\n")
    (fake / "pg_dump").chmod(0o755)
    settings.PG_BIN = str(fake)
    with pytest.raises(Exception, match=r"pg_dump failed \(3\): no"):
        back_up(policy, SLOT, "job")
    assert (files(root), Backup.objects.get().status) == ([], "failed")


@pytest.mark.django_db(transaction=True)
def test_the_password_is_no_argument_and_the_time_limit_ends_everything(
    policy: BackupPolicy, root: Path
) -> None:
    """pg_dump waits for a lock; it is looked at, and then the soft time limit strikes."""
    seen: dict[str, Any] = {}

    def look_and_strike() -> None:
        def connected() -> bool:
            with connect() as server:
                waiting = "SELECT 1 FROM pg_stat_activity WHERE application_name = 'jadwal backup'"
                return server.execute(f"{waiting} AND datname = current_database()").fetchone() is not None

        wait_until(connected, 20, 0.05)
        pid = child_called("pg_dump")
        assert pid is not None
        seen["pid"], seen["group"] = pid, os.getpgid(pid)
        seen["argv"] = Path(f"/proc/{pid}/cmdline").read_text()
        environment = Path(f"/proc/{pid}/environ").read_text()
        seen["environ"] = dict(one.split("=", 1) for one in environment.split("\0") if one)
        file = Path(seen["environ"]["PGPASSFILE"])  # the same number here as there
        seen["name"] = str(file.readlink())
        seen["mode"], seen["content"] = stat.S_IMODE(file.stat().st_mode), file.read_text()
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGUSR1)

    def strike(*_: Any) -> None:
        raise SoftTimeLimitExceeded

    before = signal.signal(signal.SIGUSR1, strike)
    try:
        with held_lock():
            threading.Thread(target=look_and_strike, daemon=True).start()
            with pytest.raises(SoftTimeLimitExceeded):
                back_up(policy, SLOT, "job")
    finally:
        signal.signal(signal.SIGUSR1, before)

    password = connection.settings_dict["PASSWORD"]
    assert password
    assert password not in seen["argv"]
    assert password not in "".join(seen["environ"].values())
    assert "DATABASE_URL" not in seen["environ"]
    assert (seen["mode"], password in seen["content"]) == (0o600, True)
    assert "(deleted)" in seen["name"], "a kill leaves no password on the disk"
    assert seen["group"] == seen["pid"] != os.getpgid(0)
    assert not Path(f"/proc/{seen['pid']}").exists()
    assert (files(root), Backup.objects.get().status) == ([], "failed")


@pytest.mark.django_db(transaction=True)
def test_a_killed_worker_leaves_no_backup_and_its_job_makes_one(policy: BackupPolicy, root: Path) -> None:
    code = (
        "import django; django.setup(); from backups.backing_up import back_up;"
        f"from backups.models import BackupPolicy; back_up(BackupPolicy.objects.get(), {SLOT!r}, 'job')"
    )
    url = os.environ["DATABASE_URL"].rpartition("/")[0] + "/" + connection.settings_dict["NAME"]
    from django.conf import settings

    given = {"DATABASE_URL": url, "BACKUPS_ROOT": str(root), "JADWAL_PG_BIN": settings.PG_BIN}
    with held_lock():
        child = subprocess.Popen([sys.executable, "-c", code], env={**os.environ, **given})
        wait_until(lambda: child_called("pg_dump", child.pid) is not None, 20, 0.05)
        orphan = child_called("pg_dump", child.pid)
        child.kill()
        child.wait()
    wait_until(lambda: not _alive(orphan), 20, 0.05)
    assert not _alive(orphan), "the pipe broke, and pg_dump ended by that"
    assert all(name.endswith(".partial") for name in files(root))
    assert Backup.objects.get().status == "running"

    assert not back_up(policy, SLOT, "another job").made_now
    assert back_up(policy, SLOT, "job").backup.status == "verified"
    assert [Path(name).suffix for name in files(root)] == [".dump", ".json"]


def _alive(pid: int | None) -> bool:
    try:
        return ") Z " not in Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False


@pytest.mark.django_db
def test_a_slot_is_backed_up_once(policy: BackupPolicy, root: Path) -> None:
    first = back_up(policy, SLOT, "job")
    second = back_up(policy, SLOT, "another")
    assert (first.made_now, second.made_now) == (True, False)
    assert first.backup == second.backup
    assert "20260329T003000Z" in first.backup.path
    assert len(files(root)) == 2


@pytest.mark.django_db
def test_a_failed_backup_may_be_tried_again(policy: BackupPolicy, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as broken:
        broken.setattr(ledger, "verified", lambda *_, **__: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            back_up(policy, SLOT, "job")
    assert Backup.objects.get().status == "failed"
    assert back_up(policy, SLOT, "another").backup.status == "verified"


@pytest.mark.django_db
def test_retention_keeps_the_newest_good_ones(policy: BackupPolicy, root: Path) -> None:
    made = [back_up(policy, f"2026-03-0{day}T00:00:00+00:00", f"job {day}").backup for day in (1, 2)]
    Path(made[1].path).unlink()
    Backup.objects.create(policy=policy, slot="running", job_key="x")

    third = back_up(policy, "2026-03-03T00:00:00+00:00", "job 3")
    assert third.deleted == []
    fourth = back_up(policy, "2026-03-04T00:00:00+00:00", "job 4")

    assert fourth.deleted == [made[0].slot]
    rows = dict(Backup.objects.order_by("pk").values_list("slot", "status"))
    assert list(rows.values()) == ["deleted", "failed", "running", "verified", "verified"]
    kept = [Path(done.backup.path).name for done in (third, fourth)]
    assert [name for name in files(root) if name.endswith(".dump")] == kept


@pytest.mark.django_db
def test_retention_leaves_other_policies_and_other_files_alone(policy: BackupPolicy, root: Path) -> None:
    other = BackupPolicy.objects.create(name="other", target=policy.target, keep_last=1)
    theirs = back_up(other, SLOT, "job").backup
    (root / "main").mkdir()
    (root / "main" / "mine.dump").write_text("x")
    BackupPolicy.objects.filter(pk=policy.pk).update(keep_last=1)
    policy.refresh_from_db()
    for day in (1, 2):
        back_up(policy, f"2026-03-0{day}T00:00:00+00:00", "job")
    assert Path(theirs.path).exists()
    assert (root / "main" / "mine.dump").exists()
    assert Backup.objects.filter(policy=policy, status="verified").count() == 1


@pytest.mark.parametrize("folder", ["../elsewhere", "/etc", "a/../../b"])
def test_a_target_stays_below_the_root(folder: str) -> None:
    with pytest.raises(ValidationError, match="must lie below"):
        BackupTarget(name="x", folder=folder).full_clean(validate_unique=False, validate_constraints=False)


@pytest.mark.django_db
def test_an_unknown_policy_is_a_permanent_error() -> None:
    with pytest.raises(Permanent, match="no backup policy 'nothing'"):
        run_backup("nothing")


def test_the_newest_is_kept_whatever_the_policy_says() -> None:
    from backups.retention import surplus

    one, two = Backup(slot="1"), Backup(slot="2")
    assert surplus([two, one], 0) == [one]


@pytest.mark.django_db
def test_a_password_may_hold_any_character(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(connection.settings_dict, "PASSWORD", "a:b\\c d")
    with pg_tools.login("default") as login:
        assert Path(login.environment["PGPASSFILE"]).read_text() == "*:*:*:*:a\\:b\\\\c d\n"
