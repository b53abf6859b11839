"""What is backed up, to where, and every backup there is or was."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any, ClassVar

from django.conf import settings
from django.core.exceptions import ValidationError
from django.db import connections, models
from django.db.models import Q
from django.db.models.functions import Now


def validate_folder(folder: str) -> None:
    """Raise `ValidationError` unless `folder` stays below BACKUPS_ROOT."""
    root = Path(settings.BACKUPS_ROOT).resolve()
    if not (root / folder).resolve().is_relative_to(root):
        raise ValidationError(f"The folder must lie below {root}.")


def validate_database(alias: str) -> None:
    """Raise `ValidationError` unless the settings know this database, and it is PostgreSQL."""
    if alias not in connections.settings:
        raise ValidationError(f"The settings have no database {alias!r}.")
    if connections[alias].vendor != "postgresql":
        raise ValidationError(f"The database {alias!r} is not PostgreSQL.")


class BackupTarget(models.Model):
    """Where backups are kept: for now a folder of the machine the worker runs on."""

    name = models.CharField(max_length=100, unique=True)
    folder = models.CharField(
        max_length=200,
        blank=True,
        validators=[validate_folder],
        help_text="Below BACKUPS_ROOT; empty: itself.",
    )

    class Meta:
        ordering: ClassVar = ["name"]

    def __str__(self) -> str:
        return self.name

    @property
    def path(self) -> Path:
        """The folder. Raises `ValidationError` if it leads out of BACKUPS_ROOT, by a link for example."""
        validate_folder(self.folder)
        return (Path(settings.BACKUPS_ROOT) / self.folder).resolve()


class BackupPolicy(models.Model):
    """One database, backed up to one target, and how much of it is kept."""

    name = models.SlugField(max_length=100, unique=True)
    database = models.CharField(
        max_length=100,
        default="default",
        validators=[validate_database],
        help_text="An alias of the settings.",
    )
    target = models.ForeignKey(BackupTarget, on_delete=models.PROTECT, related_name="policies")
    keep_last = models.PositiveIntegerField(default=7, help_text="How many verified backups are kept.")

    class Meta:
        verbose_name_plural = "backup policies"
        ordering: ClassVar = ["name"]
        constraints: ClassVar = [
            models.CheckConstraint(
                condition=Q(keep_last__gte=1),
                name="backups_keep_one",
                violation_error_message="Keep at least one backup.",
            )
        ]

    def __str__(self) -> str:
        return self.name


class Backup(models.Model):
    """One backup of a policy, for one slot.

    `running -> verified | failed`, `failed -> running` when it is tried again, `verified -> deleted` by
    retention. A backup exists if its manifest does; the row says what was done. Every write of a status is
    made by `backups/ledger.py`.
    """

    class Status(models.TextChoices):
        """Where a backup stands."""

        RUNNING = "running", "Running"
        VERIFIED = "verified", "Verified"
        FAILED = "failed", "Failed"
        DELETED = "deleted", "Deleted"

    policy = models.ForeignKey(BackupPolicy, on_delete=models.PROTECT, related_name="backups")
    slot = models.CharField(max_length=200)
    """The nominal time it is for, in UTC, or the job: two schedules of one minute make one backup."""
    job_key = models.CharField(max_length=200)
    """Who makes it: a later attempt of the same job takes over, another job does not."""
    status = models.CharField(max_length=10, choices=Status, default=Status.RUNNING)
    path = models.CharField(max_length=1000, blank=True)
    size = models.BigIntegerField(null=True, help_text="Bytes.")
    sha256 = models.CharField(max_length=64, blank=True)
    manifest: models.JSONField[Any, Any] = models.JSONField(default=dict, blank=True)
    error = models.TextField(blank=True)
    started_at = models.DateTimeField(db_default=Now())
    finished_at = models.DateTimeField(null=True)

    class Meta:
        ordering: ClassVar = ["-started_at"]
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["policy", "slot"], name="backups_slot_once"),
            models.CheckConstraint(
                condition=Q(status="running", finished_at=None)
                | (~Q(status="running") & Q(finished_at__isnull=False)),
                name="backups_finished_has_time",
            ),
            models.CheckConstraint(
                condition=~Q(status="verified")
                | (Q(size__gt=0, sha256__regex="^[0-9a-f]{64}$") & ~Q(path="")),
                name="backups_verified_is_whole",
            ),
        ]
        indexes: ClassVar = [
            models.Index(
                fields=["policy", "-started_at"], name="backups_verified", condition=Q(status="verified")
            )
        ]

    def __str__(self) -> str:
        return f"{self.policy_id}/{self.slot}"

    @property
    def duration(self) -> timedelta | None:
        """How long it took."""
        return self.finished_at - self.started_at if self.finished_at else None
