"""Workers, and the messages that none of them could make sense of."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils import timezone
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from unfold.contrib.filters.admin import DropdownFilter

from jobs.admin.filters import MomentFilter
from jobs.admin.paging import PlainList
from jobs.admin.presenting import DASH, badge, job_url, link, relative, span, two_lines, when
from jobs.admin.readonly import ReadOnlyAdmin
from jobs.conf import conf
from jobs.engine import auditing
from jobs.insight import dashboard
from jobs.models import Job, Quarantine, Worker
from jobs.rules.states import Status

LOOK = {"alive": "success", "dead": "danger", "stopped": ""}


class WorkerList(PlainList):
    """Counts the running jobs of every worker on the page in one query."""

    def get_results(self, request: HttpRequest) -> None:
        """Add what the columns show."""
        super().get_results(request)
        rows: list[Worker] = list(self.result_list)  # type: ignore[has-type]
        for row in dashboard.worker_rows(timezone.now(), rows):
            row.worker.seen = row  # type: ignore[attr-defined]
        self.result_list = rows


class WorkerStateFilter(DropdownFilter):  # type: ignore[misc]
    """Alive, dead or stopped."""

    title, parameter_name = "state", "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """Return the states."""
        return [("alive", "Alive"), ("dead", "Dead"), ("stopped", "Stopped")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """Return the workers in one state."""
        now = timezone.now()
        match self.value():
            case "alive":
                return queryset.filter(stopped_at__isnull=True, heartbeat_at__gt=now - conf().lease)
            case "dead":
                return queryset.filter(stopped_at__isnull=True, heartbeat_at__lte=now - conf().lease)
            case "stopped":
                return queryset.filter(stopped_at__isnull=False)
        return queryset


@admin.register(Worker)
class WorkerAdmin(ReadOnlyAdmin):
    """Who is there, who is alive, and what they do."""

    list_display = ("who", "state", "heard", "queue_names", "running", "started")
    list_display_links = ("who",)
    list_filter = (WorkerStateFilter,)
    search_fields = ("name", "host")
    search_help_text = "Name or host"
    ordering = ("-heartbeat_at", "-id")
    fields = readonly_fields = (
        "name", "host", "pid", "state", "heard", "queue_names", "concurrency", "running_jobs", "started",
        "stopped_at", "task_names",
    )  # fmt: skip

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[PlainList]:
        """Return our list."""
        return WorkerList

    @admin.display(description="Worker")
    def who(self, worker: Worker) -> SafeString:
        """Its node name and process."""
        return two_lines(worker.name, f"{worker.host}, pid {worker.pid}", mono=True)

    @admin.display(description="State")
    def state(self, worker: Worker) -> SafeString:
        """Whether it lives."""
        found = dashboard.state_of(worker, timezone.now())
        return badge(found, LOOK[found])

    @admin.display(description="Last heartbeat", ordering="heartbeat_at")
    def heard(self, worker: Worker) -> SafeString:
        """When it was heard of last."""
        return when(worker.heartbeat_at)

    @admin.display(description="Queues")
    def queue_names(self, worker: Worker) -> SafeString:
        """Where its jobs come from."""
        return format_html_join(" ", "{}", ((badge(name),) for name in worker.queues))

    @admin.display(description="Running")
    def running(self, worker: Worker) -> str:
        """How many jobs it runs, of how many it could."""
        return f"{worker.seen.running} of {worker.concurrency}"  # type: ignore[attr-defined]

    @admin.display(description="Running jobs")
    def running_jobs(self, worker: Worker) -> Any:
        """The jobs it runs."""
        rows = Job.objects.filter(worker_id=worker.pk, status=Status.ACTIVE).order_by("started_at")[:100]
        now = timezone.now()
        items = [
            (link(job_url(job.id), job.task, mono=True), span(now - job.started_at))
            for job in rows
            if job.started_at
        ]
        return format_html_join("", "<div>{} <small>for {}</small></div>", items) or DASH

    @admin.display(description="Started", ordering="started_at")
    def started(self, worker: Worker) -> SafeString:
        """When it started."""
        return when(worker.started_at)

    @admin.display(description="Tasks")
    def task_names(self, worker: Worker) -> Any:
        """What it can run."""
        return (
            format_html_join("", '<div class="jw-mono">{}</div>', ((name,) for name in sorted(worker.tasks)))
            or DASH
        )


@admin.register(Quarantine)
class QuarantineAdmin(ReadOnlyAdmin):
    """Messages that no worker can make sense of; they may be deleted by whoever is allowed to."""

    actions = ("delete_selected",)  # type: ignore[assignment]
    list_display = ("trouble", "queue", "received")
    list_display_links = ("trouble",)
    list_filter = (("received_at", MomentFilter),)
    list_filter_submit = True
    search_fields = ("problem", "queue", "body")
    ordering = ("-received_at", "-id")
    fields = readonly_fields = ("problem", "queue", "received_at", "message")

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """They may be thrown away when they have been looked at."""
        return request.user.has_perm("jobs.delete_quarantine")

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Quarantine]) -> None:
        """Throw several away."""
        auditing.record(list(queryset), "delete")
        super().delete_queryset(request, queryset)

    def delete_model(self, request: HttpRequest, obj: Quarantine) -> None:
        """Throw one away."""
        auditing.record([obj], "delete")
        super().delete_model(request, obj)

    @admin.display(description="Problem")
    def trouble(self, row: Quarantine) -> str:
        """What was wrong with it."""
        return row.problem[:140]

    @admin.display(description="Received", ordering="received_at")
    def received(self, row: Quarantine) -> str:
        """When it came."""
        return relative(row.received_at)

    @admin.display(description="Message")
    def message(self, row: Quarantine) -> SafeString:
        """What the list held."""
        return format_html('<pre class="jw-code">{}</pre>', row.body[:20_000])
