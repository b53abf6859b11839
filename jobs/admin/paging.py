"""Counting big tables without reading all of them."""

from __future__ import annotations

from typing import Any

from django.core.paginator import Paginator
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.functional import cached_property
from unfold.views import ChangeList

LIMIT = 10_000


class CappedCount(int):
    """A count that says `10,000+` where it stopped counting."""

    def __str__(self) -> str:
        return f"{LIMIT:,}+" if self >= LIMIT else f"{int(self):,}"


class CappedPaginator(Paginator):  # type: ignore[type-arg]
    """Counts at most `LIMIT` rows: on a table of millions nobody pages further than that."""

    @cached_property
    def count(self) -> int:
        """Return the number of rows, up to `LIMIT`."""
        rows = self.object_list
        if not isinstance(rows, QuerySet):
            return len(rows)
        return CappedCount(rows.order_by()[:LIMIT].count())


class PlainList(ChangeList):  # type: ignore[misc]
    """A list that offers "Show all" only where something is filtered out; a status is a tab."""

    def __init__(self, request: HttpRequest, *args: Any, **kwargs: Any) -> None:
        super().__init__(request, *args, **kwargs)
        self.opts = self.model_admin.opts

    def get_results(self, request: HttpRequest) -> None:
        """Read the page."""
        super().get_results(request)
        if not self.query and not set(self.get_filters_params()) - {"status__exact"}:
            self.full_result_count = self.result_count
