"""The rows behind schedules, under "Advanced". The schedule page finds and makes them by itself."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db.models import Count, QuerySet
from django.http import HttpRequest
from django_celery_beat.models import ClockedSchedule, CrontabSchedule, IntervalSchedule, SolarSchedule
from unfold.admin import ModelAdmin

from jobs.admin.paging import PlainList
from jobs.engine import permitting

for _model in (ClockedSchedule, CrontabSchedule, IntervalSchedule, SolarSchedule):
    admin.site.unregister(_model)


class TimingAdmin(ModelAdmin):  # type: ignore[misc]
    """A row that several schedules may share."""

    show_full_result_count = False
    list_per_page = 50

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[PlainList]:
        """Return our list."""
        return PlainList

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        """Return rows with the number of schedules that use them."""
        return super().get_queryset(request).annotate(users=Count("periodictask"))  # type: ignore[no-any-return]

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Whether the user may change such rows, and this one: that changes every schedule that uses it."""
        allowed: bool = super().has_change_permission(request, obj)
        if not allowed or obj is None:
            return allowed
        tasks = obj.periodictask_set.order_by().values_list("task", flat=True).distinct()
        return not any(permitting.refusal(request.user, task) for task in tasks)

    @admin.display(description="Schedules that use it", ordering="users")
    def used(self, row: Any) -> str:
        """How many schedules an edit of this row would change."""
        return f"{row.users}" if row.users else "none"


@admin.register(CrontabSchedule)
class CrontabAdmin(TimingAdmin):
    """Crontabs."""

    list_display = ("expression", "timezone", "used")
    search_fields = ("timezone",)
    ordering = ("timezone", "hour", "minute", "id")

    @admin.display(description="Crontab")
    def expression(self, row: CrontabSchedule) -> str:
        """The five fields in their usual order."""
        fields = (row.minute, row.hour, row.day_of_month, row.month_of_year, row.day_of_week)
        return " ".join(str(field) for field in fields)


@admin.register(IntervalSchedule)
class IntervalAdmin(TimingAdmin):
    """Intervals."""

    list_display = ("__str__", "used")
    ordering = ("period", "every", "id")


@admin.register(ClockedSchedule)
class ClockedAdmin(TimingAdmin):
    """Instants."""

    list_display = ("clocked_time", "used")
    ordering = ("-clocked_time", "id")


@admin.register(SolarSchedule)
class SolarAdmin(TimingAdmin):
    """Events of the sun."""

    list_display = ("event", "latitude", "longitude", "used")
    ordering = ("event", "id")
