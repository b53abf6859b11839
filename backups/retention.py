"""Deleting the backups that a policy no longer keeps.

Only verified backups count and only they are deleted; one whose files are gone is no backup. The newest good
one is never deleted, whatever the policy says.
"""

from __future__ import annotations

import logging
from pathlib import Path

from backups import ledger, storing
from backups.models import Backup, BackupPolicy

logger = logging.getLogger(__name__)


def surplus(newest_first: list[Backup], keep_last: int) -> list[Backup]:
    """Return those beyond the ones to keep."""
    return newest_first[max(keep_last, 1) :]


def apply(policy: BackupPolicy) -> list[str]:
    """Delete what `policy` does not keep; return the slots of what was deleted."""
    root = policy.target.path
    verified = Backup.objects.filter(policy=policy, status=Backup.Status.VERIFIED)
    good: list[Backup] = []
    for backup in verified.order_by("-started_at", "-pk"):
        path = Path(backup.path)
        if not path.is_relative_to(root):
            continue  # the policy had another target then: not ours to touch
        if storing.exists(path, backup.size):
            good.append(backup)
        else:
            logger.warning("backup %s of %s: its files are gone: it no longer counts", backup.slot, policy)
            ledger.missing(backup)
    gone = surplus(good, policy.keep_last)
    for backup in gone:
        storing.remove(Path(backup.path))
        ledger.deleted(backup)
        logger.info("backup %s of %s: deleted, %d are kept", backup.slot, policy, policy.keep_last)
    return [backup.slot for backup in gone]
