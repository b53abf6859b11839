"""Who did what, in the console: who acts during a request, and the audit log, to be read.

The engine writes the entries (`engine.auditing`). An act is also written to Django's own admin log, so that the
"History" of an object tells the same story.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from ipaddress import ip_address
from typing import Any

from auditlog.models import LogEntry
from django.conf import settings
from django.contrib import admin
from django.contrib.admin.models import CHANGE
from django.contrib.admin.models import LogEntry as AdminLogEntry
from django.contrib.contenttypes.models import ContentType
from django.db.models import Model, QuerySet
from django.http import HttpRequest, HttpResponse
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django_celery_beat.models import PeriodicTask
from unfold.admin import ModelAdmin
from unfold.contrib.filters.admin import ChoicesDropdownFilter

from jobs.admin.filters import MomentFilter
from jobs.admin.naming import Named
from jobs.admin.paging import CappedPaginator, PlainList
from jobs.admin.presenting import DASH, two_lines, when
from jobs.engine import auditing
from jobs.engine.auditing import Actor

KINDS = {"periodic task": "schedule"}
VERBS = {0: "created", 1: "changed", 2: "deleted", 3: "looked at"}


class ActorMiddleware:
    """Says who acts during a request: the user who is logged in."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        """Answer the request; what it changes is done by its user."""
        with auditing.acting(actor_of(request)):
            return self.get_response(request)


def actor_of(request: HttpRequest) -> Actor | None:
    """Return who makes a request; None for somebody who is not logged in."""
    user = request.user
    if not user.is_authenticated:
        return None
    return Actor(user.get_username(), user_id=int(str(user.pk)), address=address_of(request))


def address_of(request: HttpRequest) -> str | None:
    """Return where a request comes from, by our own proxy's word, or by the connection.

    A proxy adds the address it sees to the end of the header: what stands before is anybody's word.
    """
    seen = str(request.META.get("REMOTE_ADDR") or "")
    if settings.SECURE_PROXY_SSL_HEADER:
        seen = request.headers.get("X-Forwarded-For", "").rpartition(",")[2].strip() or seen
    try:
        return str(ip_address(seen))
    except ValueError:
        return None


def to_history(request: HttpRequest, instances: Sequence[Model], message: str) -> None:
    """Write an act that the engine has recorded into the "History" of each of `instances`, too."""
    if not instances:
        return
    content_type = ContentType.objects.get_for_model(instances[0])
    AdminLogEntry.objects.bulk_create(
        [
            AdminLogEntry(
                user_id=int(str(request.user.pk)),
                content_type_id=content_type.pk,
                object_id=str(instance.pk),
                object_repr=_name(instance)[:200],
                action_flag=CHANGE,
                change_message=message,
            )
            for instance in instances
        ],
        batch_size=500,
    )


def _name(instance: Model) -> str:
    return instance.name if isinstance(instance, PeriodicTask) else str(instance)


admin.site.unregister(LogEntry)


@admin.register(LogEntry)
class AuditAdmin(ModelAdmin):  # type: ignore[misc]
    """The audit log, to be read only."""

    list_display = ("at", "who", "what", "thing", "changed")
    list_display_links = ("at",)
    list_filter = (("action", ChoicesDropdownFilter), ("timestamp", MomentFilter))
    list_filter_submit = True
    list_select_related = ("actor", "content_type")
    search_fields = ("object_repr", "actor__username")
    search_help_text = "Name of a schedule, id of a job, user name"
    ordering = ("-timestamp", "-id")
    show_full_result_count = False
    paginator = CappedPaginator
    list_per_page = 50
    fields = readonly_fields = ("at", "who", "remote_addr", "what", "thing", "detail", "additional_data")

    def __init__(self, model: Any, admin_site: Any) -> None:
        super().__init__(model, admin_site)
        self.opts = Named(model._meta, "audit log entry", "audit log entries")

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[PlainList]:
        """Return our list."""
        return PlainList

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Entries are made by what happens, not by people."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Entries are never changed."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Entries are never deleted here."""
        return False

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        """Return every entry."""
        return LogEntry.objects.select_related("actor", "content_type")  # type: ignore[no-any-return]

    @admin.display(description="When", ordering="timestamp")
    def at(self, entry: LogEntry) -> SafeString:
        """When it was done."""
        return when(entry.timestamp)

    @admin.display(description="Who")
    def who(self, entry: LogEntry) -> str:
        """Who did it; a command or a worker has no user."""
        return str(entry.actor or entry.actor_email or "system")

    @admin.display(description="What")
    def what(self, entry: LogEntry) -> str:
        """Which act it was."""
        return str((entry.additional_data or {}).get("verb") or VERBS.get(entry.action, "changed"))

    @admin.display(description="To")
    def thing(self, entry: LogEntry) -> SafeString:
        """What it was done to."""
        kind = entry.content_type.name if entry.content_type else ""
        return two_lines(entry.object_repr, KINDS.get(kind, kind))

    @admin.display(description="Changes")
    def changed(self, entry: LogEntry) -> Any:
        """The names of the changed columns, or the note of the act."""
        note = (entry.additional_data or {}).get("note")
        names = ", ".join(sorted(entry.changes_dict)) if entry.action == LogEntry.Action.UPDATE else ""
        text = " · ".join(part for part in (note, names) if part)
        return text[:120] or DASH

    @admin.display(description="Changes")
    def detail(self, entry: LogEntry) -> Any:
        """Every change, before and after."""
        rows = [(name, *(str(value) for value in values)) for name, values in entry.changes_dict.items()
                if isinstance(values, list | tuple) and len(values) == 2]  # fmt: skip
        if not rows:
            return DASH
        body = format_html_join("", "<tr><th>{}</th><td>{}</td><td>{}</td></tr>", rows)
        return format_html(
            '<table class="jw-table"><tr><th></th><th>before</th><th>after</th></tr>{}</table>', body
        )
