"""How many jobs may run at once, and how many may start in a second (SEMANTICS 24)."""

from __future__ import annotations

from django.db import models


class Limit(models.Model):
    """A limit on a queue, a schedule or a concurrency key. What exceeds it waits; nothing is dropped.

    `name` says what it is on: `queue:billing`, `schedule:17`, `key:customer-4`. A queue that is paused has a
    limit of no active jobs.
    """

    name = models.CharField(max_length=255, primary_key=True)
    max_active = models.PositiveIntegerField(null=True, blank=True)
    max_per_second = models.FloatField(null=True, blank=True)
    next_start_at = models.DateTimeField(null=True, editable=False)
    """The earliest next start by the rate: each start moves it on by one interval."""
    note = models.TextField(blank=True, default="")

    class Meta:
        ordering = ["name"]
        constraints = [
            models.CheckConstraint(
                name="jobs_limit_rate_is_positive",
                condition=models.Q(max_per_second__isnull=True) | models.Q(max_per_second__gt=0),
            )
        ]

    def __str__(self) -> str:
        return self.name
