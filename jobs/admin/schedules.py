"""Schedules: the list, and one page to make and edit a schedule with its policy."""

from __future__ import annotations

from textwrap import shorten
from typing import Any

from django.contrib import admin, messages
from django.contrib.admin.utils import unquote
from django.core.exceptions import PermissionDenied
from django.db.models import F, Q, QuerySet
from django.forms import ModelForm
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import redirect
from django.urls import URLPattern, path
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.views.decorators.http import require_POST
from django_celery_beat.models import PeriodicTask
from unfold.contrib.filters.admin import DropdownFilter

from jobs.admin import audit, schedule_fields
from jobs.admin.naming import Named, Titled, heading
from jobs.admin.paging import PlainList
from jobs.admin.presenting import (
    DASH,
    STATE_LOOK,
    badge,
    job_url,
    link,
    relative,
    stamp,
    status_badge,
    two_lines,
    when,
)
from jobs.admin.schedule_acts import ScheduleActs, policies
from jobs.admin.schedule_form import ScheduleForm
from jobs.admin.schedule_page import overview, preview_document
from jobs.engine import permitting
from jobs.engine.editing import EditError
from jobs.insight import dashboard, previewing
from jobs.models import Schedule

ENDED = Q(enabled=True, policy__stale=False, policy__next_run_at=None, policy__problem="") | Q(
    enabled=False, policy__runs__gt=0, clocked__clocked_time__lte=F("policy__decided_through")
)
STATES = {
    "active": Q(enabled=True)
    & (Q(policy__stale=True) | Q(policy__next_run_at__isnull=False))
    & Q(policy__problem=""),
    "paused": Q(enabled=False) & ~Q(pk__in=PeriodicTask.objects.filter(ENDED).values("pk")),
    "problem": ~Q(policy__problem=""),
    "ended": ENDED,
}


def state_of(policy: Schedule) -> str:
    """Return `active`, `paused`, `problem` or `ended`, as the filter of the list means them."""
    row = policy.periodic_task
    if not row.enabled:
        once = row.clocked_id and policy.runs and row.clocked.clocked_time <= policy.decided_through
        return "ended" if once else "paused"
    if policy.problem:
        return "problem"
    return "active" if policy.stale or policy.next_run_at else "ended"


class StateFilter(DropdownFilter):  # type: ignore[misc]
    """Active, paused, problem, ended."""

    title = "state"
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """Return the states."""
        return [(name, name.capitalize()) for name in STATES]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """Return the schedules of the chosen state."""
        return queryset.filter(STATES[self.value()]) if self.value() in STATES else queryset


class ColumnFilter(DropdownFilter):  # type: ignore[misc]
    """The values of a column, as far as there are rows with them."""

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """Return the values in use."""
        column = self.parameter_name
        values = PeriodicTask.objects.exclude(**{column: None}).values_list(column, flat=True).distinct()
        return [(value, value) for value in sorted(values.order_by()[:500])]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """Return the rows with the chosen value."""
        return queryset.filter(**{self.parameter_name: self.value()}) if self.value() else queryset


class TaskFilter(ColumnFilter):
    """By task."""

    title, parameter_name = "task", "task"


class QueueFilter(ColumnFilter):
    """By queue, where a schedule names one."""

    title, parameter_name = "queue", "queue"


class EnabledFilter(DropdownFilter):  # type: ignore[misc]
    """Enabled or not, as django-celery-beat has it."""

    title, parameter_name = "enabled", "enabled"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """Return yes and no."""
        return [("1", "Yes"), ("0", "No")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """Return the schedules that are, or are not, enabled."""
        return queryset.filter(enabled=self.value() == "1") if self.value() else queryset


class ScheduleList(PlainList):
    """Reads the last job of every schedule on the page in one query."""

    def get_results(self, request: HttpRequest) -> None:
        """Add what the columns show."""
        super().get_results(request)
        last = dashboard.last_jobs([row.pk for row in self.result_list])
        for row in self.result_list:
            row.policy.periodic_task = row
            row.last_job = last.get(row.pk)


admin.site.unregister(PeriodicTask)


@admin.register(PeriodicTask)
class ScheduleAdmin(ScheduleActs):
    """A schedule is a `PeriodicTask` and its policy; nobody has to know that here."""

    form = ScheduleForm  # type: ignore[misc]
    fieldsets = [(group.title, {"fields": group.names}) for group in schedule_fields.GROUPS]
    change_form_template = "jobs/schedule.html"
    list_display = ("title", "timing", "work", "state", "next_run", "last_run")
    list_display_links = ("title",)
    list_filter = (StateFilter, EnabledFilter, TaskFilter, QueueFilter)
    list_filter_submit = False
    list_select_related = ("policy", "crontab", "interval", "clocked", "solar")
    search_fields = ("name", "task", "description", "queue")
    search_help_text = "Name, task, description or queue"
    ordering = ("name",)
    list_per_page = 50
    show_full_result_count = False
    warn_unsaved_form = True

    def __init__(self, model: Any, admin_site: Any) -> None:
        super().__init__(model, admin_site)
        self.opts = Named(model._meta, "schedule", "schedules")

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[PlainList]:
        """Return our list."""
        return ScheduleList

    def get_queryset(self, request: HttpRequest) -> QuerySet[PeriodicTask]:
        """Return schedules that have their policy: all of them, by trigger."""
        return super().get_queryset(request).filter(policy__isnull=False)  # type: ignore[no-any-return]

    # --- the list ----------------------------------------------------------------------------------------

    @admin.display(description="Schedule", ordering="name")
    def title(self, row: PeriodicTask) -> SafeString:
        """Its name and description."""
        return two_lines(row.name, row.description[:80])

    @admin.display(description="When")
    def timing(self, row: PeriodicTask) -> SafeString:
        """Its timing in plain English."""
        return format_html('<div class="jw-wrap">{}</div>', dashboard.describe_schedule(row.policy))

    @admin.display(description="Task", ordering="task")
    def work(self, row: PeriodicTask) -> SafeString:
        """Its task and queue."""
        queue = (row.policy.template or {}).get("queue") or row.queue or "default"
        return two_lines(row.task, queue, mono=True)

    @admin.display(description="State", ordering="enabled")
    def state(self, row: PeriodicTask) -> SafeString:
        """Whether it fires, and if not why."""
        policy, state = row.policy, state_of(row.policy)
        title = policy.problem if state == "problem" else policy.pause_note if state == "paused" else ""
        below = shorten(title, 70, placeholder="…")
        if state == "paused" and policy.paused_until:
            below = f"until {stamp(policy.paused_until, seconds=False)}"
        shown = badge(state, STATE_LOOK[state], title)
        return format_html('<div class="jw-cell">{}<small>{}</small></div>', shown, below)

    @admin.display(description="Next run", ordering="policy__next_run_at")
    def next_run(self, row: PeriodicTask) -> SafeString:
        """When it fires next, edits that no beat has seen yet included."""
        return when(previewing.next_run_at(row.policy) if row.enabled else None)

    @admin.display(description="Last run")
    def last_run(self, row: PeriodicTask) -> SafeString:
        """Its newest job and what became of it."""
        job = row.last_job
        if job is None:
            return DASH
        shown = link(job_url(job.id), status_badge(job.status, job.reason))
        return format_html('<div class="jw-cell">{}<small>{}</small></div>', shown, relative(job.created_at))

    # --- the page ----------------------------------------------------------------------------------------

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Whether the user may change schedules, and this one: that takes the right to schedule its task."""
        allowed: bool = super().has_change_permission(request, obj)
        return allowed and (obj is None or not permitting.refusal(request.user, obj.task))

    def get_form(self, request: HttpRequest, obj: Any = None, change: bool = False, **kwargs: Any) -> Any:
        """Return the form; whoever may only look gets none, and sees the summary."""
        if obj is not None and not self.has_change_permission(request, obj):
            kwargs["form"] = ModelForm
            kwargs["fields"] = ()
        else:
            kwargs["form"] = ScheduleForm.for_user(request.user)
        return super().get_form(request, obj, change=change, **kwargs)

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        """Return the groups of the form."""
        if obj is not None and not self.has_change_permission(request, obj):
            return ()
        return super().get_fieldsets(request, obj)

    def changeform_view(
        self,
        request: HttpRequest,
        object_id: str | None = None,
        form_url: str = "",
        extra_context: Any = None,
    ) -> HttpResponse:
        """Show the page; a refusal that no field could foresee is said at the top of it."""
        extra = {**(extra_context or {})}
        if object_id:
            policy = policies().filter(pk=unquote(object_id)).first() if object_id.isdigit() else None
            if policy is not None:
                extra |= overview(policy, timezone.now(), state_of(policy))
                if self.has_change_permission(request):
                    extra["refusal"] = permitting.refusal(request.user, policy.periodic_task.task)
                extra["original"] = Titled(
                    policy.periodic_task, heading(policy.periodic_task.name), self.opts
                )
        try:
            response: HttpResponse = super().changeform_view(request, object_id, form_url, extra)
        except EditError as exc:
            messages.error(request, str(exc))
            return redirect(request.get_full_path())
        return response

    def _titled(self, row: PeriodicTask) -> Any:
        return Titled(row, row.name, self.opts)

    def response_add(
        self, request: HttpRequest, obj: Any, post_url_continue: str | None = None
    ) -> HttpResponse:
        """Say that it is stored, by its name."""
        response: HttpResponse = super().response_add(request, self._titled(obj), post_url_continue)
        return response

    def response_change(self, request: HttpRequest, obj: Any) -> HttpResponse:
        """Say that it is changed, by its name."""
        response: HttpResponse = super().response_change(request, self._titled(obj))
        return response

    def save_model(self, request: HttpRequest, obj: PeriodicTask, form: ScheduleForm, change: bool) -> None:
        """Store the schedule, and write down what changed in its policy."""
        changes = form.store(obj)
        if changes and change:
            audit.to_history(request, [obj], "Changed the policy.")

    # --- the live preview ----------------------------------------------------------------------------------

    def get_urls(self) -> list[URLPattern]:
        """Add the preview."""
        view = self.admin_site.admin_view(require_POST(self.preview_view))
        return [path("preview/", view, name="jobs_schedule_preview"), *super().get_urls()]

    def preview_view(self, request: HttpRequest) -> JsonResponse:
        """Say what the form, as it stands, would do. Changes nothing; the answer is JSON."""
        pk = request.POST.get("schedule", "")
        row = PeriodicTask.objects.filter(pk=pk).first() if pk.isdigit() else None
        allowed = self.has_change_permission(request, row) if row else self.has_add_permission(request)
        if not allowed:
            raise PermissionDenied
        form = ScheduleForm.for_user(request.user)(request.POST, instance=row)
        form.is_valid()
        return JsonResponse(preview_document(form))
