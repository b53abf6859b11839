"""The admin of notifications. Deliveries are a log: nobody edits what was sent."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db.models import Max, QuerySet
from django.http import HttpRequest
from unfold.admin import ModelAdmin
from unfold.decorators import display

from notifications.models import Delivery, Recipient, Template


@admin.register(Recipient)
class RecipientAdmin(ModelAdmin):  # type: ignore[misc]
    """People who get mail."""

    list_display = ("email", "name", "time_zone", "locale", "created_at")
    search_fields = ("email", "name")
    list_filter = ("time_zone", "locale")
    readonly_fields = ("created_at",)


@admin.register(Template)
class TemplateAdmin(ModelAdmin):  # type: ignore[misc]
    """Texts. A version that was used can only be read; "New version" starts the next one."""

    list_display = ("code", "version", "subject", "created_at")
    search_fields = ("code", "subject")
    list_filter = ("code",)
    actions = ("new_version",)

    def get_readonly_fields(self, request: HttpRequest, obj: Template | None = None) -> tuple[str, ...]:
        if obj is not None and obj.deliveries.exists():
            return ("code", "version", "subject", "text", "html", "created_at")
        return ("created_at",)

    @admin.action(description="New version of the selected", permissions=["add"])
    def new_version(self, request: HttpRequest, queryset: QuerySet[Template]) -> None:
        """Copy each selected text as the newest version of its code, to be edited."""
        for source in queryset:
            last = Template.objects.filter(code=source.code).aggregate(last=Max("version"))["last"]
            copy = Template.objects.create(
                code=source.code, version=last + 1, subject=source.subject, text=source.text, html=source.html
            )
            self.log_addition(request, copy, f"Copied from version {source.version}.")
            self.message_user(request, f"{copy} is there: edit it.")


@admin.register(Delivery)
class DeliveryAdmin(ModelAdmin):  # type: ignore[misc]
    """What became of every mail."""

    list_display = (
        "subject_or_template",
        "recipient",
        "shown_status",
        "attempts",
        "created_at",
        "sent_at",
        "error",
    )
    list_filter = ("status", "template", "created_at")
    search_fields = ("=recipient__email", "dedup_key", "message_id", "subject")
    list_select_related = ("recipient", "template")
    ordering = ("-created_at",)
    show_full_result_count = False

    @display(description="mail")  # type: ignore[untyped-decorator]
    def subject_or_template(self, delivery: Delivery) -> str:
        return delivery.subject or str(delivery.template or "")

    @display(  # type: ignore[untyped-decorator]
        description="status",
        ordering="status",
        label={
            "sent": "success",
            "failed": "danger",
            "in_doubt": "warning",
            "sending": "info",
            "pending": "info",
        },
    )
    def shown_status(self, delivery: Delivery) -> tuple[str, str]:
        return delivery.status, delivery.get_status_display()

    def has_add_permission(self, request: HttpRequest, *_: Any) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False
