"""Business calendars, blackout windows, and limits: what schedules have in common."""

from __future__ import annotations

from django.contrib import admin
from django.db.models import Count, QuerySet
from django.http import HttpRequest
from unfold.admin import ModelAdmin

from jobs.admin.presenting import DASH
from jobs.models import Blackout, Calendar, Limit


@admin.register(Calendar)
class CalendarAdmin(ModelAdmin):  # type: ignore[misc]
    """Days and hours on which schedules may run. An edit is followed by every schedule that uses it."""

    list_display = ("name", "version", "zone", "closed_days", "used")
    search_fields = ("name",)
    ordering = ("name",)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Calendar]:
        """Return calendars with the number of schedules that use them."""
        return super().get_queryset(request).annotate(users=Count("schedules"))  # type: ignore[no-any-return]

    @admin.display(description="Time zone")
    def zone(self, row: Calendar) -> str:
        """Its own zone, or the schedule's."""
        return row.tz or "the schedule's"

    @admin.display(description="Closed days")
    def closed_days(self, row: Calendar) -> str:
        """How many single days it excludes."""
        return str(len(row.exclude_dates)) if row.exclude_dates else DASH

    @admin.display(description="Schedules", ordering="users")
    def used(self, row: Calendar) -> int:
        """How many schedules use it."""
        return int(getattr(row, "users", 0))


@admin.register(Blackout)
class BlackoutAdmin(ModelAdmin):  # type: ignore[misc]
    """Windows in which nothing starts."""

    list_display = ("name", "scope", "mode", "enforced")
    list_filter = ("mode", "enforced")
    search_fields = ("name", "group", "queue")
    autocomplete_fields = ()
    raw_id_fields = ("schedule",)
    ordering = ("name",)

    @admin.display(description="Applies to")
    def scope(self, row: Blackout) -> str:
        """One schedule, a group, a queue, or everything."""
        if row.schedule_id:
            return str(row.schedule)
        parts = [f"group {row.group}" if row.group else "", f"queue {row.queue}" if row.queue else ""]
        return ", ".join(filter(None, parts)) or "everything"


@admin.register(Limit)
class LimitAdmin(ModelAdmin):  # type: ignore[misc]
    """How many jobs of a queue, schedule or key may run at once, or start in a second."""

    list_display = ("name", "max_active", "max_per_second", "note")
    search_fields = ("name",)
    ordering = ("name",)
