"""Every write of a backup's status. Each is guarded by the status and the job it believes in."""

from __future__ import annotations

from typing import Any

from django.db.models.functions import Now

from backups.models import Backup, BackupPolicy

Status = Backup.Status


def begin(policy: BackupPolicy, slot: str, job_key: str) -> tuple[Backup, bool]:
    """Return the backup of this slot, and whether this job is to make it.

    It is, if the slot is free, if an earlier attempt of this very job was lost, or if the backup failed.
    """
    backup, new = Backup.objects.get_or_create(policy=policy, slot=slot, defaults={"job_key": job_key})
    if new:
        backup.refresh_from_db()
        return backup, True
    rows = Backup.objects.filter(pk=backup.pk)
    again = rows.filter(status=Status.FAILED) | rows.filter(status=Status.RUNNING, job_key=job_key)
    mine = again.update(status=Status.RUNNING, job_key=job_key, started_at=Now(), finished_at=None, error="")
    backup.refresh_from_db()
    return backup, bool(mine)


def verified(backup: Backup, *, path: str, size: int, sha256: str, manifest: dict[str, Any]) -> bool:
    """It is there, whole, and its manifest is written."""
    return _finish(backup, Status.VERIFIED, path=path, size=size, sha256=sha256, manifest=manifest)


def failed(backup: Backup, error: str) -> bool:
    """There is no backup."""
    return _finish(backup, Status.FAILED, error=error)


def deleted(backup: Backup) -> None:
    """Retention removed it."""
    Backup.objects.filter(pk=backup.pk, status=Status.VERIFIED).update(status=Status.DELETED)


def missing(backup: Backup) -> None:
    """Its files are gone, and it was not us."""
    Backup.objects.filter(pk=backup.pk, status=Status.VERIFIED).update(
        status=Status.FAILED, error="Its files are gone or have changed in size."
    )


def _finish(backup: Backup, status: Status, **values: Any) -> bool:
    mine = Backup.objects.filter(pk=backup.pk, status=Status.RUNNING, job_key=backup.job_key)
    return bool(mine.update(status=status, finished_at=Now(), **values))
