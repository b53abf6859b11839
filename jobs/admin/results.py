"""Results, as django-celery-results keeps them: to look at."""

from __future__ import annotations

import json
from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django_celery_results.models import GroupResult, TaskResult
from unfold.contrib.filters.admin import DropdownFilter

from jobs.admin.filters import MomentFilter
from jobs.admin.presenting import badge, job_url, link, pretty, two_lines, when
from jobs.admin.readonly import ReadOnlyAdmin
from jobs.rules.redaction import redact_text

LOOK = {"SUCCESS": "success", "FAILURE": "danger", "RETRY": "warning", "STARTED": "info"}

for _model in (TaskResult, GroupResult):
    admin.site.unregister(_model)


class StatusFilter(DropdownFilter):  # type: ignore[misc]
    """By Celery's own states."""

    title, parameter_name = "status", "status"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """Return the states."""
        return [(name, name) for name in LOOK]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """Return the results in one state."""
        return queryset.filter(status=self.value()) if self.value() else queryset


@admin.register(TaskResult)
class TaskResultAdmin(ReadOnlyAdmin):
    """What tasks returned."""

    list_display = ("task", "state", "finished", "shown")
    list_display_links = ("task",)
    list_filter = (StatusFilter, ("date_done", MomentFilter))
    list_filter_submit = True
    search_fields = ("=task_id", "task_name")
    search_help_text = "Task id or task name"
    ordering = ("-date_done", "-id")
    fields = readonly_fields = ("task_name", "job", "state", "worker", "date_done", "value", "trace")

    def get_queryset(self, request: HttpRequest) -> QuerySet[TaskResult]:
        """Return results without the columns that may be large and are not shown."""
        return super().get_queryset(request).defer("meta", "task_args", "task_kwargs")  # type: ignore[no-any-return]

    @admin.display(description="Task")
    def task(self, row: TaskResult) -> SafeString:
        """The task and the id."""
        return two_lines(row.task_name or "–", row.task_id, mono=True)

    @admin.display(description="Status")
    def state(self, row: TaskResult) -> SafeString:
        """Celery's state."""
        return badge(row.status, LOOK.get(row.status, ""))

    @admin.display(description="Done", ordering="date_done")
    def finished(self, row: TaskResult) -> SafeString:
        """When it ended."""
        return when(row.date_done)

    @admin.display(description="Result")
    def shown(self, row: TaskResult) -> SafeString:
        """The beginning of what it returned."""
        return format_html('<div class="jw-wrap jw-mono">{}</div>', self._text(row).replace("\n", " ")[:110])

    @admin.display(description="Job")
    def job(self, row: TaskResult) -> SafeString:
        """The way to the job."""
        return link(job_url(row.task_id), row.task_id, mono=True)

    @admin.display(description="Result")
    def value(self, row: TaskResult) -> SafeString:
        """What it returned, without secrets."""
        return format_html('<pre class="jw-code">{}</pre>', self._text(row)[:20_000])

    @admin.display(description="Traceback")
    def trace(self, row: TaskResult) -> SafeString:
        """Where it failed."""
        return format_html('<pre class="jw-code">{}</pre>', redact_text(row.traceback or "–"))

    def _text(self, row: TaskResult) -> str:
        try:
            return pretty(json.loads(row.result or "null"))
        except ValueError:
            return redact_text(row.result or "")
