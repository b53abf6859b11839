"""What pages for looking at things have in common."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest
from unfold.admin import ModelAdmin

from jobs.admin.paging import CappedPaginator, PlainList


class ReadOnlyAdmin(ModelAdmin):  # type: ignore[misc]
    """A page where nothing is added, changed or deleted, fast on big tables."""

    show_full_result_count = False
    paginator = CappedPaginator
    list_per_page = 50
    actions = None

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[PlainList]:
        """Return our list."""
        return PlainList

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Nothing is added by hand."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Nothing is changed by hand."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Nothing is deleted by hand."""
        return False
