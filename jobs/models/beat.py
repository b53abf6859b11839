"""Beats: who decides about schedules."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import ClassVar

from django.db import models
from django.db.models.functions import Now


class BeatQuerySet(models.QuerySet["Beat"]):
    """Ways to choose beats."""

    def alive(self, now: datetime, lease: timedelta) -> BeatQuerySet:
        """Beats heard of within the lease."""
        return self.filter(stopped_at__isnull=True, heartbeat_at__gt=now - lease)


class Beat(models.Model):
    """One run of one beat process: a restart makes a new row. It claims nothing by it; it only tells."""

    id = models.UUIDField(primary_key=True, editable=False)
    name = models.CharField(max_length=255)
    """`host:pid`."""
    host = models.CharField(max_length=255)
    pid = models.PositiveIntegerField()
    started_at = models.DateTimeField(db_default=Now())
    heartbeat_at = models.DateTimeField(db_default=Now())
    stopped_at = models.DateTimeField(null=True)
    turns = models.PositiveBigIntegerField(db_default=0)
    """Turns of the scheduler since its start."""
    publish_failures = models.PositiveBigIntegerField(db_default=0)
    """Publishes that the broker did not take since its start."""
    last_error = models.TextField(db_default="", blank=True)
    """What went wrong last, the broker's refusals included."""
    last_error_at = models.DateTimeField(null=True)
    """When that was reported: at most a heartbeat later than it happened."""

    objects: ClassVar[models.Manager[Beat]] = BeatQuerySet.as_manager()  # type: ignore[assignment]

    def __str__(self) -> str:
        return self.name
