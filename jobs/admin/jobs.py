"""Jobs: the list, the dead letters at its top, and the story of one job. Nothing here is edited."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.contrib.admin.utils import unquote
from django.db.models import Q, QuerySet
from django.http import HttpRequest, HttpResponse, QueryDict
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django_celery_beat.models import PeriodicTask
from unfold.contrib.filters.admin import ChoicesDropdownFilter, DropdownFilter

from jobs.admin.filters import MomentFilter
from jobs.admin.job_acts import JobActs
from jobs.admin.job_page import story
from jobs.admin.naming import Named, Titled, heading
from jobs.admin.presenting import DASH, duration_of, relative, span, stamp, status_badge, two_lines, when
from jobs.admin.readonly import ReadOnlyAdmin
from jobs.admin.schedule_fields import known_queues, registered_tasks
from jobs.insight import dashboard, dead_letters
from jobs.models import Job
from jobs.rules.states import Status


class TaskFilter(DropdownFilter):  # type: ignore[misc]
    """By task: those registered, and the one in the address."""

    title, parameter_name = "task", "task"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """Return the tasks of the project; asking the table would read all of it."""
        names = {*registered_tasks(), *filter(None, [request.GET.get("task")])}
        return [(name, name) for name in sorted(names)]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """Return the jobs of one task."""
        return queryset.filter(task=self.value()) if self.value() else queryset


class QueueFilter(DropdownFilter):  # type: ignore[misc]
    """By queue."""

    title, parameter_name = "queue", "queue"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """Return the queues that are known."""
        return [(name, name) for name in known_queues()]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """Return the jobs of one queue."""
        return queryset.filter(queue=self.value()) if self.value() else queryset


def _error_groups(request: HttpRequest) -> list[dashboard.ErrorGroup]:
    """Return what failed alike: read once for a page, which shows it in two places."""
    if "jobs.error_groups" not in request.META:
        request.META["jobs.error_groups"] = dashboard.error_groups()
    found: list[dashboard.ErrorGroup] = request.META["jobs.error_groups"]
    return found


class ErrorFilter(DropdownFilter):  # type: ignore[misc]
    """Dead letters by the class of their error."""

    title, parameter_name = "error", "exception"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """Return the classes among the dead letters."""
        dead = request.GET.get("status__exact") == Status.FAILED
        names = {group.error for group in _error_groups(request)} if dead else set()
        names |= set(filter(None, [request.GET.get("exception")]))
        return [(name, name) for name in sorted(names)]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """Return the dead letters with this error."""
        if not self.value():
            return queryset
        matching = dead_letters.selected(dead_letters.Selection(exception=self.value())).order_by()
        return queryset.filter(id__in=matching.values("id"))


class ScheduleFilter(admin.SimpleListFilter):
    """Jobs of one schedule, by the links of its page; it has no box of its own."""

    title, parameter_name = "schedule", "schedule"
    template = "jobs/hidden_filter.html"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """Return the one in the address."""
        pk = request.GET.get("schedule", "")
        return [(pk, pk)]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """Return the jobs of one schedule."""
        value = self.value() or ""
        return queryset.filter(schedule_id=int(value)) if value.isdigit() else queryset


@admin.register(Job)
class JobAdmin(JobActs, ReadOnlyAdmin):
    """Every job; the status tabs are in `scheduler_project/unfold.py`."""

    actions = JobActs.actions  # type: ignore[assignment]
    change_form_template = "jobs/job.html"
    list_before_template = "jobs/dead_letters.html"
    list_display = ("task_name", "source", "state", "due", "took", "tries", "trouble")
    list_display_links = ("task_name",)
    list_filter = (
        ("status", ChoicesDropdownFilter),
        TaskFilter,
        QueueFilter,
        ErrorFilter,
        ("trigger", ChoicesDropdownFilter),
        ("created_at", MomentFilter),
        ScheduleFilter,
    )
    list_filter_submit = True
    list_fullwidth = True
    search_fields = ("id",)
    search_help_text = "Job id, schedule or task"
    sortable_by = ()
    fields = ("id",)

    def __init__(self, model: Any, admin_site: Any) -> None:
        super().__init__(model, admin_site)
        self.opts = Named(model._meta, "job", "jobs")

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Job], search_term: str
    ) -> tuple[Any, bool]:
        """Find by id, else by the names of schedules and tasks, which are looked up in small places first."""
        term = search_term.strip()
        if not term:
            return queryset, False
        found = queryset.filter(id__startswith=term)
        if Job.objects.filter(id__startswith=term).exists():
            return found, False
        named = PeriodicTask.objects.filter(name__icontains=term).values_list("pk", flat=True)[:200]
        tasks = [name for name in registered_tasks() if term.lower() in name.lower()]
        known = Q(schedule_id__in=list(named)) | Q(task__in=tasks)
        if named or tasks:
            return queryset.filter(known), False
        return queryset.filter(Q(schedule_name__icontains=term) | Q(task__icontains=term)), False

    def get_queryset(self, request: HttpRequest) -> QuerySet[Job]:
        """Return jobs without their payloads, which the list does not show."""
        rows: Any = super().get_queryset(request)
        if request.GET.get("status__exact") == Status.DELAYED:
            rows = rows.delayed()
        found: QuerySet[Job] = rows.defer("args", "kwargs", "headers", "backoff")
        return found

    def get_ordering(self, request: HttpRequest) -> tuple[str, ...]:
        """Return the latest made first, and of the completed the last that ended.

        Those have an index by their end. On the way through the newest there might be a long queue before them.
        """
        done = request.GET.get("status__exact") == Status.COMPLETED
        return ("-finished_at", "-id") if done else ("-created_at", "-id")

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> HttpResponse:
        """Show the list; among the failed, what failed alike is counted at the top."""
        extra: dict[str, Any] = {**(extra_context or {})}
        if request.GET.get("status__exact") == Status.FAILED:
            extra |= self._dead_letters(request)
        response: HttpResponse = super().changelist_view(request, extra)
        return response

    def _dead_letters(self, request: HttpRequest) -> dict[str, Any]:
        chosen = request.GET.get("exception"), request.GET.get("task")
        groups = []
        for group in _error_groups(request):
            query = QueryDict(mutable=True)
            query.update({"status__exact": "failed", "exception": group.error, "task": group.task})
            active = chosen == (group.error, group.task)
            newest = relative(group.newest)
            groups.append({"group": group, "query": query.urlencode(), "active": active, "newest": newest})
        return {
            "title": "Dead letters",
            "opts": Named(self.model._meta, "dead letter", "dead letters"),
            "is_dead_letters": True,
            "error_groups": groups,
            "matching_query": request.GET.urlencode(),
            "may_replay": self.has_replay_permission(request),
            "may_discard": self.has_discard_permission(request),
            "group_window": dashboard.GROUP_WINDOW,
        }

    def changeform_view(
        self,
        request: HttpRequest,
        object_id: str | None = None,
        form_url: str = "",
        extra_context: Any = None,
    ) -> HttpResponse:
        """Show the story of a job."""
        job = Job.objects.filter(pk=unquote(object_id)).first() if object_id else None
        extra = {**(extra_context or {})}
        if job is not None:
            original = Titled(job, heading(f"{job.task} {job.id[:8]}…"), self.opts)
            extra |= {**story(job, timezone.now()), "title": job.task, "subtitle": None, "original": original}
        response: HttpResponse = super().changeform_view(request, object_id, form_url, extra)
        return response

    # --- the list ----------------------------------------------------------------------------------------

    @admin.display(description="Task")
    def task_name(self, job: Job) -> SafeString:
        """Its task and id."""
        short = job.id if len(job.id) <= 20 else f"{job.id[:8]}…{job.id[-6:]}"
        return two_lines(job.task, format_html('<span title="{}">{}</span>', job.id, short), mono=True)

    @admin.display(description="Made by")
    def source(self, job: Job) -> SafeString:
        """Its schedule, or what else made it; and its queue."""
        return two_lines(job.schedule_name or job.trigger, job.queue)

    @admin.display(description="Status")
    def state(self, job: Job) -> SafeString:
        """Its status, with the reason."""
        return status_badge(job.status, job.reason or job.hold)

    @admin.display(description="Due")
    def due(self, job: Job) -> SafeString:
        """Its nominal time, else when it was due."""
        return when(job.scheduled_for or job.available_at)

    @admin.display(description="Duration")
    def took(self, job: Job) -> Any:
        """How long the last attempt took."""
        length = duration_of(job)
        if length is None:
            return DASH
        return format_html('<span title="started {}">{}</span>', stamp(job.started_at), span(length))

    @admin.display(description="Attempts")
    def tries(self, job: Job) -> Any:
        """How often it was started."""
        return job.attempt or DASH

    @admin.display(description="Error")
    def trouble(self, job: Job) -> Any:
        """The last error."""
        return format_html('<div class="jw-wrap jw-error" title="{}">{}</div>', job.error, job.error[:110])
