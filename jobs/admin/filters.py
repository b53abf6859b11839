"""A range of time that knows the time zone, and needs no time of day."""

from __future__ import annotations

from datetime import datetime, time
from typing import Any

from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils import timezone
from django.utils.dateparse import parse_date, parse_time
from unfold.contrib.filters.admin import RangeDateTimeFilter


class MomentFilter(RangeDateTimeFilter):  # type: ignore[misc]
    """Rows between two moments of the site's time zone; a date alone means the whole day."""

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """Return the rows in the range; what is not a date is not a limit."""
        for side, lookup, whole_day in (("from", "gte", time.min), ("to", "lte", time.max)):
            moment = self._moment(side, whole_day)
            if moment is not None:
                queryset = queryset.filter(**{f"{self.parameter_name}__{lookup}": moment})
        return queryset

    def _moment(self, side: str, whole_day: time) -> datetime | None:
        given = [self.used_parameters.get(f"{self.parameter_name}_{side}_{part}") or "" for part in (0, 1)]
        try:
            day, clock = parse_date(given[0]), parse_time(given[1])
        except ValueError:
            return None
        if day is None:
            return None
        return timezone.make_aware(datetime.combine(day, whole_day if clock is None else clock))
