"""Celery tasks: fetch, call the verb, return."""

from __future__ import annotations

from datetime import UTC
from typing import Any

from celery import shared_task
from django.db.models import Q

from backups.backing_up import back_up
from backups.models import BackupPolicy
from backups.pg_tools import UnfitToolError
from jobs.public import Permanent, occasion

HOURS = 3600


@shared_task(name="backups.run_backup", time_limit=6 * HOURS, soft_time_limit=6 * HOURS - 120)
def run_backup(policy: int | str) -> dict[str, Any]:
    """Back up the database of `policy` (id or name): dump, verify, keep as many as it says."""
    wanted = Q(pk=policy) if isinstance(policy, int) else Q(name=policy)
    found = BackupPolicy.objects.select_related("target").filter(wanted).first()
    if found is None:
        raise Permanent(f"There is no backup policy {policy!r}.")
    why = occasion()
    at = why.scheduled_for
    slot = at.astimezone(UTC).isoformat(timespec="seconds") if at else why.key
    try:
        made = back_up(found, slot, why.key)
    except UnfitToolError as exc:
        raise Permanent(str(exc)) from exc
    backup = made.backup
    return {
        "backup": backup.pk,
        "status": backup.status,
        "made_now": made.made_now,
        "bytes": backup.size,
        "sha256": backup.sha256,
        "path": backup.path,
        "deleted": made.deleted,
    }
