"""Workers and what they refused."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, ClassVar

from django.db import models
from django.db.models.functions import Now


class WorkerQuerySet(models.QuerySet["Worker"]):
    """Ways to choose workers."""

    def alive(self, now: datetime, lease: timedelta) -> WorkerQuerySet:
        """Workers heard of within the lease."""
        return self.filter(stopped_at__isnull=True, heartbeat_at__gt=now - lease)

    def dead(self, now: datetime, lease: timedelta) -> WorkerQuerySet:
        """Workers that stopped, or were silent for longer than the lease."""
        return self.filter(models.Q(stopped_at__isnull=False) | models.Q(heartbeat_at__lte=now - lease))


class Worker(models.Model):
    """One run of one worker process: a restart makes a new row."""

    id = models.UUIDField(primary_key=True, editable=False)
    name = models.CharField(max_length=255)
    """Celery's node name, `billing@host`."""
    host = models.CharField(max_length=255)
    pid = models.PositiveIntegerField()
    queues: models.JSONField[Any, Any] = models.JSONField(default=list)
    concurrency = models.PositiveIntegerField(db_default=1)
    tasks: models.JSONField[Any, Any] = models.JSONField(default=list)
    """Names of the registered tasks: what this worker can run."""
    started_at = models.DateTimeField(db_default=Now())
    heartbeat_at = models.DateTimeField(db_default=Now())
    stopped_at = models.DateTimeField(null=True)

    objects: ClassVar[models.Manager[Worker]] = WorkerQuerySet.as_manager()  # type: ignore[assignment]

    class Meta:
        indexes = [
            models.Index(
                fields=["heartbeat_at"], name="jobs_worker_alive", condition=models.Q(stopped_at__isnull=True)
            )
        ]

    def __str__(self) -> str:
        return self.name


class Quarantine(models.Model):
    """A message that no worker can make sense of, kept for a person to look at."""

    queue = models.CharField(max_length=200)
    body = models.TextField()
    """What the list held, as text; undecodable bytes are escaped."""
    problem = models.TextField()
    received_at = models.DateTimeField(db_default=Now())

    class Meta:
        verbose_name_plural = "quarantine"

    def __str__(self) -> str:
        return self.problem
