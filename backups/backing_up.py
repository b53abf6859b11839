"""Making one backup.

1. The slot is taken: one backup per policy and slot, made by one job.
2. `pg_dump` and `pg_restore` are found, and refused when they are older than the server.
3. The dump is written under a partial name, on the disk, and read back as a restore would.
4. It gets its name, then its manifest: now it exists. Then the row says so.
5. What the policy no longer keeps is deleted.

Whatever goes wrong before 4, no final file is left, and the row says what it was.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from django.db import connections
from django.db.migrations.recorder import MigrationRecorder

from backups import dumping, ledger, pg_tools, retention, storing
from backups.models import Backup, BackupPolicy

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Made:
    """What became of a request for a backup."""

    backup: Backup
    made_now: bool
    deleted: list[str]


def back_up(policy: BackupPolicy, slot: str, job_key: str) -> Made:
    """Make the backup of `policy` for `slot`, unless it exists or another job is making it.

    Raises `pg_tools.UnfitToolError` when no retry can help.
    """
    backup, mine = ledger.begin(policy, slot, job_key)
    if not mine:
        logger.info("backup %s of %s: %s already, by job %s", slot, policy, backup.status, backup.job_key)
        return Made(backup, False, [])
    dump: Path | None = None
    try:
        dump = _place(policy, backup)
        _make(policy, backup, dump)
    except BaseException as exc:  # the time limit too: what is noted here is raised again
        if dump is not None:
            storing.remove(dump)
        ledger.failed(backup, f"{type(exc).__name__}: {exc}")
        raise
    backup.refresh_from_db()
    return Made(backup, True, retention.apply(policy))


def _place(policy: BackupPolicy, backup: Backup) -> Path:
    """Return the final path, which sorts by time; what a killed attempt has left there is removed."""
    folder = storing.folder_for(policy.target.path, policy.name)
    for leftover in folder.glob(f"*-{backup.pk}{storing.DUMP}*"):
        leftover.unlink()
    at = _time_of(backup.slot) or backup.started_at
    return folder / f"{policy.name}-{at:%Y%m%dT%H%M%SZ}-{backup.pk}{storing.DUMP}"


def _time_of(slot: str) -> datetime | None:
    try:
        return datetime.fromisoformat(slot)
    except ValueError:
        return None


def _make(policy: BackupPolicy, backup: Backup, dump: Path) -> None:
    major, server = pg_tools.server_version(policy.database)
    pg_dump = pg_tools.find("pg_dump", server_major=major)
    pg_restore = pg_tools.find("pg_restore", server_major=major)
    logger.info("backup of %s: pg_dump %s of PostgreSQL %s", policy, pg_dump.version, server)
    started = datetime.now(UTC)
    with storing.partial(dump) as partial:
        with pg_tools.login(policy.database) as login:
            written = dumping.dump(pg_dump, login, partial)
        logger.info("backup of %s: %d bytes written, reading them back", policy, written.size)
        dumping.verify(pg_restore, partial, written)
        storing.put_in_place(partial, dump)
    manifest = _manifest(policy, backup, written, started)
    manifest |= {"pg_dump": pg_dump.version, "server": server, "file": dump.name}
    storing.write_manifest(dump, manifest)
    ledger.verified(backup, path=str(dump), size=written.size, sha256=written.sha256, manifest=manifest)
    logger.info("backup of %s: verified: %s", policy, dump)


def _manifest(
    policy: BackupPolicy, backup: Backup, written: dumping.Written, started: datetime
) -> dict[str, Any]:
    connection = connections[policy.database]
    applied = sorted(MigrationRecorder(connection).applied_migrations())
    return {
        "version": 1,
        "format": "pg_dump custom",
        "policy": policy.name,
        "slot": backup.slot,
        "job": backup.job_key,
        "database": connection.settings_dict["NAME"],
        "bytes": written.size,
        "sha256": written.sha256,
        "verified": "restored to nowhere, hash compared",
        "started_at": started.isoformat(timespec="seconds"),
        "finished_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "migrations": dict(applied),  # the last of each app: they are sorted
    }
