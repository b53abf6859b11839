"""The admin of backups. What was backed up is a log."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.http import HttpRequest
from django.template.defaultfilters import filesizeformat
from unfold.admin import ModelAdmin
from unfold.decorators import display

from backups.models import Backup, BackupPolicy, BackupTarget


@admin.register(BackupTarget)
class BackupTargetAdmin(ModelAdmin):  # type: ignore[misc]
    """Where backups are kept."""

    list_display = ("name", "where")

    @display(description="folder")  # type: ignore[untyped-decorator]
    def where(self, target: BackupTarget) -> str:
        return str(target.path)


@admin.register(BackupPolicy)
class BackupPolicyAdmin(ModelAdmin):  # type: ignore[misc]
    """What is backed up."""

    list_display = ("name", "database", "target", "keep_last", "last_good")

    @display(description="last good backup")  # type: ignore[untyped-decorator]
    def last_good(self, policy: BackupPolicy) -> Any:
        last = policy.backups.filter(status=Backup.Status.VERIFIED).order_by("-started_at").first()
        return last.finished_at if last else None


@admin.register(Backup)
class BackupAdmin(ModelAdmin):  # type: ignore[misc]
    """Every backup there is or was."""

    list_display = ("policy", "slot", "shown_status", "shown_size", "started_at", "shown_duration", "error")
    list_filter = ("policy", "status", "started_at")
    list_select_related = ("policy",)
    search_fields = ("slot", "job_key", "sha256")

    @display(  # type: ignore[untyped-decorator]
        description="status",
        ordering="status",
        label={"verified": "success", "failed": "danger", "running": "info", "deleted": "warning"},
    )
    def shown_status(self, backup: Backup) -> tuple[str, str]:
        return backup.status, backup.get_status_display()

    @display(description="size", ordering="size")  # type: ignore[untyped-decorator]
    def shown_size(self, backup: Backup) -> str:
        return filesizeformat(backup.size) if backup.size else ""

    @display(description="took")  # type: ignore[untyped-decorator]
    def shown_duration(self, backup: Backup) -> str:
        return f"{backup.duration.total_seconds():.1f} s" if backup.duration else ""

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False
