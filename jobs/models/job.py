"""Jobs, the truth about what ran, runs and will run; their attempts and log lines."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any, ClassVar

from django.db import models
from django.db.models import Case, F, Q, Value, When
from django.db.models.functions import Now

from jobs.rules.states import LIVE, TERMINAL, Reason, Status, Trigger


def _choices(words: Iterable[str]) -> list[tuple[str, str]]:
    return [(str(word), str(word)) for word in words]


_ENDED_OTHERWISE = sorted(TERMINAL - {Status.COMPLETED})
"""Ends that have a reason."""


class JobQuerySet(models.QuerySet["Job"]):
    """Ways to choose jobs."""

    def live(self) -> JobQuerySet:
        """Jobs that may still do something."""
        return self.filter(status__in=LIVE)

    def dead_letters(self) -> JobQuerySet:
        """Failed jobs that nobody has replayed or discarded."""
        return self.filter(status=Status.FAILED)

    def delayed(self) -> JobQuerySet:
        """Jobs that are not due, or held back; said in the two halves that have an index each."""
        return self.filter(Q(hold="") | ~Q(hold=""), status=Status.DELAYED)

    def promotable(self, now: datetime) -> JobQuerySet:
        """Delayed jobs whose time has come and which nothing holds back."""
        return self.filter(status=Status.DELAYED, hold="", available_at__lte=now)

    def newest(self) -> JobQuerySet:
        """Latest made first."""
        return self.order_by("-created_at", "-id")


class Job(models.Model):
    """One unit of work a person asks about.

    The row is the truth; a message in Redis only says that it is waiting. Every write of `status` is made
    by `engine/lifecycle.py`, guarded by the status and attempt that the writer believes in.
    """

    id = models.CharField(primary_key=True, max_length=155, db_collation="C", editable=False)
    """Celery's task id: a UUIDv7, or whatever `apply_async(task_id=...)` was given. The idempotency key."""
    schedule = models.ForeignKey(
        "jobs.Schedule",
        null=True,
        on_delete=models.DO_NOTHING,  # history outlives the schedule
        db_constraint=False,
        db_index=False,  # the constraints and indexes below begin with it
        related_name="jobs",
    )
    schedule_name = models.CharField(max_length=200, db_default="", blank=True)
    policy_version = models.IntegerField(db_default=0)
    trigger = models.CharField(max_length=10, choices=_choices(Trigger))
    scheduled_for = models.DateTimeField(null=True)
    """The nominal instant in UTC, before jitter and deferral; null where no schedule decided."""
    nonce = models.CharField(max_length=200, null=True)
    """Set for runs that take no nominal slot: manual ones, and those another job's end started."""
    skipped_count = models.IntegerField(null=True)
    skipped_through = models.DateTimeField(null=True)
    """A row that stands for many missed nominals: `scheduled_for` to `skipped_through`, so many."""

    task = models.CharField(max_length=200)
    queue = models.CharField(max_length=200)
    args: models.JSONField[Any, Any] = models.JSONField(
        default=list, db_default=Value([], models.JSONField())
    )
    kwargs: models.JSONField[Any, Any] = models.JSONField(
        default=dict, db_default=Value({}, models.JSONField())
    )
    headers: models.JSONField[Any, Any] = models.JSONField(
        default=dict, db_default=Value({}, models.JSONField()), blank=True
    )
    """Celery's canvas and custom headers: what the message would carry."""
    priority = models.PositiveSmallIntegerField(null=True)

    status = models.CharField(max_length=10, choices=_choices(Status))
    reason = models.CharField(max_length=20, choices=_choices(Reason), db_default="", blank=True)
    hold = models.CharField(max_length=12, db_default="", blank=True)
    """What keeps a delayed job back beside its time: `overlap`, `concurrency`, `upstream`; else empty."""
    available_at = models.DateTimeField(db_default=Now())
    """When it is (or was) due."""
    deadline_at = models.DateTimeField(null=True)
    """Not started by then: skipped as expired."""
    published_at = models.DateTimeField(null=True)
    """When a message was last sent, or was about to be."""

    attempt = models.IntegerField(db_default=0)
    """Starts so far: the fence. A write that carries another number is too late."""
    errors = models.IntegerField(db_default=0)
    """Attempts charged against `max_attempts`."""
    crashes = models.IntegerField(db_default=0)
    max_attempts = models.PositiveSmallIntegerField(null=True)
    """Null: as the task says."""
    backoff: models.JSONField[Any, Any] = models.JSONField(null=True)
    """Overrides of the retry policy: `base`, `factor`, `cap`, in seconds."""
    time_limit = models.FloatField(null=True)
    soft_time_limit = models.FloatField(null=True)
    """Limits of one attempt in seconds; null: as the task says."""

    concurrency_key = models.CharField(max_length=200, db_default="", blank=True)

    worker = models.ForeignKey(
        "jobs.Worker", null=True, on_delete=models.DO_NOTHING, db_constraint=False, db_index=False
    )
    expected_end_at = models.DateTimeField(null=True)
    """Deadline of the running attempt: past it the attempt is lost whatever its worker says."""
    cancel_requested_at = models.DateTimeField(null=True)
    error = models.TextField(db_default="", blank=True)
    """The last error in a line."""

    created_at = models.DateTimeField(db_default=Now())
    started_at = models.DateTimeField(null=True)
    """Start of the last attempt."""
    finished_at = models.DateTimeField(null=True)

    objects: ClassVar[models.Manager[Job]] = JobQuerySet.as_manager()  # type: ignore[assignment]

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["schedule", "scheduled_for"],
                name="jobs_job_occurrence",
                condition=Q(nonce__isnull=True, schedule__isnull=False, scheduled_for__isnull=False),
            ),
            models.UniqueConstraint(
                fields=["schedule", "nonce"],
                name="jobs_job_manual",
                condition=Q(nonce__isnull=False, schedule__isnull=False),
            ),
            # PostgreSQL reads the text of each check anew for every statement: so there are few, and short ones.
            models.CheckConstraint(
                name="jobs_job_end",
                condition=Case(
                    When(~Q(reason=""), then=Q(status__in=_ENDED_OTHERWISE, finished_at__isnull=False)),
                    When(finished_at__isnull=True, then=Q(status__in=sorted(LIVE))),
                    default=Q(status=Status.COMPLETED),
                    output_field=models.BooleanField(),
                ),
            ),
            models.CheckConstraint(
                name="jobs_job_lease_iff_active",
                condition=Q(
                    status=Status.ACTIVE,
                    worker__isnull=False,
                    expected_end_at__isnull=False,
                    started_at__isnull=False,
                )
                | (~Q(status=Status.ACTIVE) & Q(worker__isnull=True, expected_end_at__isnull=True)),
            ),
            models.CheckConstraint(
                name="jobs_job_hold_only_delayed", condition=Q(hold="") | Q(status=Status.DELAYED)
            ),
        ]
        indexes = [
            models.Index(
                fields=["available_at"],
                name="jobs_job_delayed",
                condition=Q(status=Status.DELAYED, hold=""),
            ),
            models.Index(
                fields=["schedule"], name="jobs_job_held", condition=Q(status=Status.DELAYED) & ~Q(hold="")
            ),
            models.Index(
                fields=["queue", "available_at"], name="jobs_job_waiting", condition=Q(status=Status.WAITING)
            ),
            # The few that run: what asks for their queue, key or deadline reads them all.
            models.Index(fields=["worker"], name="jobs_job_active", condition=Q(status=Status.ACTIVE)),
            models.Index(fields=["nonce"], name="jobs_job_nonce", condition=Q(nonce__isnull=False)),
            models.Index(
                fields=["schedule"],
                name="jobs_job_live",
                condition=Q(status__in=sorted(LIVE), schedule__isnull=False),
            ),
            models.Index(
                fields=["status", "finished_at"],
                name="jobs_job_finished",
                condition=Q(status__in=sorted(TERMINAL)),
            ),
            models.Index(
                F("schedule"),
                F("created_at").desc(),
                name="jobs_job_history",
                condition=Q(schedule__isnull=False),
            ),
            # Completed and waiting jobs are found on the way through the newest ones; these are rare there.
            models.Index(
                F("status"),
                F("created_at").desc(),
                name="jobs_job_by_status",
                condition=Q(status__in=_ENDED_OTHERWISE),
            ),
            models.Index(F("created_at").desc(), F("id").desc(), name="jobs_job_newest"),
        ]
        permissions = [
            ("cancel_job", "Can cancel a job"),
            ("retry_job", "Can replay a failed job"),
            ("discard_job", "Can discard a failed job"),
        ]

    def __str__(self) -> str:
        return f"{self.task} {self.id}"

    @property
    def is_terminal(self) -> bool:
        """Whether it has ended."""
        return self.status in TERMINAL


class Attempt(models.Model):
    """One execution by one worker, written when it ended. The running one is the job row itself."""

    job = models.ForeignKey(
        Job, on_delete=models.CASCADE, related_name="attempts", db_constraint=False, db_index=False
    )
    number = models.PositiveIntegerField()
    worker_name = models.CharField(max_length=255, db_default="")
    started_at = models.DateTimeField()
    finished_at = models.DateTimeField()
    outcome = models.CharField(max_length=12)
    error = models.TextField(db_default="", blank=True)
    traceback = models.TextField(db_default="", blank=True)

    class Meta:
        ordering = ["number"]
        constraints = [models.UniqueConstraint(fields=["job", "number"], name="jobs_attempt_number")]

    def __str__(self) -> str:
        return f"{self.job_id} attempt {self.number}: {self.outcome}"


class JobLog(models.Model):
    """A line that the task logged while it ran."""

    job = models.ForeignKey(
        Job, on_delete=models.CASCADE, related_name="logs", db_constraint=False, db_index=False
    )
    attempt = models.PositiveIntegerField()
    level = models.PositiveSmallIntegerField()
    """The number of the `logging` module: 20 is INFO."""
    logger = models.CharField(max_length=200)
    content = models.TextField()
    logged_at = models.DateTimeField()

    class Meta:
        ordering = ["id"]
        indexes = [models.Index(fields=["job", "id"], name="jobs_joblog_job")]

    def __str__(self) -> str:
        return self.content[:80]
