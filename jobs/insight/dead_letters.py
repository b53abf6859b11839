"""The failed jobs that wait for somebody to replay or discard them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.db.models import Case, Count, F, Func, Max, Min, QuerySet, TextField, Value, When

from jobs.insight.formats import instant
from jobs.models import Job

Document = dict[str, Any]

GROUPS = {
    "exception": "exception",
    "task": "task",
    "queue": "queue",
    "schedule": "schedule_name",
    "reason": "reason",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """Which dead letters: all that match everything that is given."""

    ids: tuple[str, ...] = ()
    task: str | None = None
    queue: str | None = None
    schedule: str | None = None
    exception: str | None = None

    @property
    def is_empty(self) -> bool:
        """Whether nothing is said: that would be all of them."""
        return not (self.ids or self.task or self.queue or self.schedule or self.exception)


def selected(selection: Selection) -> QuerySet[Job]:
    """Return the dead letters of `selection`, the latest first, with `exception`: the type of their error."""
    error_type = Func(
        F("error"),
        Value(r"^([A-Za-z_][A-Za-z0-9_.]*)(?::|$)"),
        function="substring",
        output_field=TextField(),
    )
    jobs = Job.objects.filter(status="failed").annotate(
        exception=Case(When(error="", then=F("reason")), default=Func(
            error_type, F("reason"), function="coalesce", output_field=TextField()
        ), output_field=TextField())
    )  # fmt: skip
    given = {
        "id__in": selection.ids,
        "task": selection.task,
        "queue": selection.queue,
        "schedule_name": selection.schedule,
        "exception": selection.exception,
    }
    return jobs.filter(**{name: value for name, value in given.items() if value}).order_by(
        "-finished_at", "-id"
    )


def groups(selection: Selection, by: str) -> list[Document]:
    """Return how many dead letters there are of each kind, the most frequent first."""
    column = GROUPS[by]
    rows = (
        selected(selection)
        .order_by()
        .values(key=F(column))
        .annotate(count=Count("id"), first=Min("finished_at"), last=Max("finished_at"), example=Max("id"))
        .order_by("-count", "key")
    )
    return [
        {
            by: row["key"] or None,
            "count": row["count"],
            "first_failed_at": instant(row["first"]),
            "last_failed_at": instant(row["last"]),
            "example": row["example"],
        }
        for row in rows
    ]
