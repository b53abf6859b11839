"""The policy of a schedule: *how* a `PeriodicTask`, which says *when*, is to be run."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, ClassVar

from django.db import models
from django.db.models.functions import Now
from django_celery_beat.models import PeriodicTask


class ScheduleQuerySet(models.QuerySet["Schedule"]):
    """Ways to choose schedules."""

    def stale(self) -> ScheduleQuerySet:
        """Those edited since they were last compiled, by whatever means."""
        return self.filter(stale=True)

    def due(self, now: datetime) -> ScheduleQuerySet:
        """Those with something to decide at `now`. A stale one is compiled first."""
        return self.filter(stale=False, next_run_at__lte=now)

    def named(self, name: str) -> Schedule:
        """Return the schedule of that name.

        Raises `Schedule.DoesNotExist` when there is none.
        """
        return self.select_related("periodic_task").get(periodic_task__name=name)


class Schedule(models.Model):
    """The policy row beside a `PeriodicTask`, made by a database trigger for every such row.

    The first fields are edited by people and by commands. The last ones are derived: `engine/syncing.py`
    compiles them from the `PeriodicTask` and its crontab, interval, clocked or solar row, and
    `engine/claiming.py` moves the cursor. Every column has a default in the database, so that a row
    inserted by the trigger is complete.
    """

    class Overlap(models.TextChoices):
        """What to do with an occurrence while an earlier one is still running (SEMANTICS 16)."""

        SKIP = "skip", "Skip the new one"
        BUFFER_ONE = "buffer_one", "Hold one, drop later ones"
        BUFFER_ALL = "buffer_all", "Hold all, first in first out"
        CANCEL_OTHER = "cancel_other", "Ask the running one to stop, then start"
        TERMINATE_OTHER = "terminate_other", "Kill the running one, then start"
        ALLOW_ALL = "allow_all", "Run side by side"

    class CatchUp(models.TextChoices):
        """What to do with nominal times that were missed (SEMANTICS 15)."""

        LATEST = "latest", "Run the latest"
        EARLIEST = "earliest", "Run the earliest"
        ALL = "all", "Run all of them"
        NONE = "none", "Run none"

    class DayMatch(models.TextChoices):
        """How day of month and day of week combine (SEMANTICS 3)."""

        AND = "and", "Both must match"
        VIXIE = "vixie", "Either, when both are restricted (classic cron)"

    class MonthEnd(models.TextChoices):
        """Days 29 to 31 in a shorter month (SEMANTICS 4)."""

        SKIP = "skip", "Skip"
        CLAMP = "clamp", "Use the last day"

    class Gap(models.TextChoices):
        """A wall time that a clock change leaves out (SEMANTICS 7)."""

        NEXT_VALID = "next_valid", "Run at the first valid time"
        SKIP = "skip", "Skip"
        SHIFT = "shift", "Shift by the gap"

    class Fold(models.TextChoices):
        """A wall time that a clock change repeats (SEMANTICS 7)."""

        FIRST = "first", "Run at the first"
        SECOND = "second", "Run at the second"
        BOTH = "both", "Run at both"

    class Roll(models.TextChoices):
        """Where a time on a closed day of the calendar goes (SEMANTICS 13)."""

        SKIP = "skip", "Skip it"
        NEXT = "next", "The next business day"
        PREVIOUS = "previous", "The business day before"
        MODIFIED_NEXT = "modified_next", "The next business day, but within the month"

    class AfterMode(models.TextChoices):
        """What a dependency does (SEMANTICS 23)."""

        TRIGGER = "trigger", "Starts this schedule"
        GATE = "gate", "Holds this schedule's own times back"

    class AfterOn(models.TextChoices):
        """Which end of the upstream job counts."""

        SUCCESS = "success", "Success"
        FAILURE = "failure", "Failure"
        ANY = "any", "Any end"

    class CalendarUnit(models.TextChoices):
        """The step of a calendar interval: the same wall time every so many of them (SEMANTICS 8)."""

        DAY = "day", "Days"
        WEEK = "week", "Weeks"
        MONTH = "month", "Months"
        YEAR = "year", "Years"

    class OnComplete(models.TextChoices):
        """What becomes of a schedule that has fired for the last time (SEMANTICS 9)."""

        KEEP = "keep", "Keep it"
        DISABLE = "disable", "Disable it"
        DELETE = "delete", "Delete it"

    periodic_task = models.OneToOneField(
        PeriodicTask, on_delete=models.CASCADE, primary_key=True, related_name="policy"
    )

    overlap = models.CharField(max_length=20, choices=Overlap, default=Overlap.SKIP, db_default=Overlap.SKIP)
    catch_up = models.CharField(
        max_length=10, choices=CatchUp, default=CatchUp.LATEST, db_default=CatchUp.LATEST
    )
    catchup_window = models.DurationField(
        default=timedelta(hours=24),
        db_default=timedelta(hours=24),
        help_text="Missed times older than this do not run.",
    )
    max_catchup = models.PositiveIntegerField(default=100, db_default=100)
    jitter = models.DurationField(
        default=timedelta(0),
        db_default=timedelta(0),
        help_text="Spread starts over this span; the same on every node.",
    )
    day_match = models.CharField(
        max_length=5, choices=DayMatch, default=DayMatch.AND, db_default=DayMatch.AND
    )
    month_end = models.CharField(
        max_length=5, choices=MonthEnd, default=MonthEnd.SKIP, db_default=MonthEnd.SKIP
    )
    dst_gap = models.CharField(max_length=10, choices=Gap, default=Gap.NEXT_VALID, db_default=Gap.NEXT_VALID)
    dst_fold = models.CharField(max_length=6, choices=Fold, default=Fold.FIRST, db_default=Fold.FIRST)
    cron_day_of_month = models.CharField(
        max_length=100,
        blank=True,
        default="",
        db_default="",
        help_text="L, L-3, LW or 15W; overrides the crontab's.",
    )
    cron_day_of_week = models.CharField(
        max_length=100, blank=True, default="", db_default="", help_text="5#3 or 5L; overrides the crontab's."
    )
    calendar_every = models.PositiveIntegerField(
        null=True,
        blank=True,
        help_text="The same wall time every so many units from the start time, in the crontab's zone; the "
        "crontab's own fields are then not looked at.",
    )
    calendar_unit = models.CharField(max_length=5, choices=CalendarUnit, blank=True, db_default="")
    once_wall = models.CharField(max_length=32, blank=True, default="", db_default="", editable=False)
    once_tz = models.CharField(max_length=63, blank=True, default="", db_default="", editable=False)
    """What a person said of a one-shot: its wall time and zone. `clocked_time` is what that came to in UTC."""
    max_runs = models.PositiveIntegerField(null=True, blank=True, help_text="Stop after this many starts.")
    deadline = models.DurationField(
        null=True, blank=True, help_text="A job that has not started this long after its time is skipped."
    )
    on_complete = models.CharField(
        max_length=8, choices=OnComplete, default=OnComplete.DISABLE, db_default=OnComplete.DISABLE
    )

    max_attempts = models.PositiveSmallIntegerField(null=True, blank=True)
    backoff_base = models.DurationField(null=True, blank=True)
    backoff_factor = models.FloatField(null=True, blank=True)
    backoff_cap = models.DurationField(null=True, blank=True)
    timeout = models.DurationField(null=True, blank=True, help_text="The hard limit of one attempt.")

    calendar = models.ForeignKey(
        "jobs.Calendar", null=True, blank=True, on_delete=models.PROTECT, related_name="schedules"
    )
    roll = models.CharField(max_length=13, choices=Roll, default=Roll.SKIP, db_default=Roll.SKIP)
    group = models.CharField(max_length=100, blank=True, default="", db_default="")
    concurrency_key = models.CharField(max_length=200, blank=True, default="", db_default="")
    after = models.ForeignKey(
        "self",
        null=True,
        blank=True,
        on_delete=models.DO_NOTHING,  # a trigger pauses the dependents, and lets go
        related_name="dependents",
    )
    after_mode = models.CharField(
        max_length=7, choices=AfterMode, default=AfterMode.TRIGGER, db_default=AfterMode.TRIGGER
    )
    after_on = models.CharField(
        max_length=7, choices=AfterOn, default=AfterOn.SUCCESS, db_default=AfterOn.SUCCESS
    )
    after_within = models.DurationField(
        default=timedelta(hours=24),
        db_default=timedelta(hours=24),
        help_text="How old the upstream's end may be, or how long to wait.",
    )
    pause_after_failures = models.PositiveIntegerField(
        null=True, blank=True, help_text="Pause after so many failed jobs in a row."
    )
    manager = models.CharField(
        max_length=100,
        blank=True,
        default="",
        db_default="",
        help_text="Who owns this schedule by `schedules apply`.",
    )

    note = models.TextField(blank=True, default="", db_default="")
    paused_at = models.DateTimeField(null=True, blank=True, editable=False)
    paused_until = models.DateTimeField(null=True, blank=True)
    paused_by = models.CharField(max_length=150, blank=True, default="", db_default="", editable=False)
    resumed_at = models.DateTimeField(null=True, blank=True, editable=False)
    pause_note = models.TextField(blank=True, default="", db_default="")

    # Derived by the engine from here on.
    spec: models.JSONField[Any, Any] = models.JSONField(null=True, editable=False)
    """The compiled timing: what `engine/syncing.py` hands to `rules.timing`."""
    template: models.JSONField[Any, Any] = models.JSONField(null=True, editable=False)
    """What a job of this schedule is born with: task, queue, args, kwargs, priority, limits."""
    anchor = models.DateTimeField(db_default=Now(), editable=False)
    """Where intervals are counted from when there is no `start_time`."""
    decided_through = models.DateTimeField(db_default=Now(), editable=False)
    """The cursor: every nominal up to and including this instant is decided. Never moves back."""
    next_run_at = models.DateTimeField(null=True, editable=False)
    """When a beat has to decide about this schedule again; null: never."""
    runs = models.PositiveIntegerField(default=0, db_default=0, editable=False)
    version = models.PositiveIntegerField(default=0, db_default=0, editable=False)
    """Counts compilations; a job carries the version it was decided under."""
    stale = models.BooleanField(default=True, db_default=True, editable=False)
    edited_at = models.DateTimeField(db_default=Now(), editable=False)
    """Set by trigger: only nominals after this instant follow the edit (SEMANTICS 22)."""
    problem = models.TextField(default="", db_default="", blank=True, editable=False)
    """Why this schedule can not fire, in a sentence; empty when it can."""
    created_at = models.DateTimeField(db_default=Now(), editable=False)

    objects: ClassVar[models.Manager[Schedule]] = ScheduleQuerySet.as_manager()  # type: ignore[assignment]

    class Meta:
        verbose_name = "schedule policy"
        verbose_name_plural = "schedule policies"
        indexes = [
            models.Index(
                fields=["next_run_at"],
                name="jobs_schedule_due",
                condition=models.Q(stale=False, next_run_at__isnull=False),
            ),
            models.Index(fields=["edited_at"], name="jobs_schedule_stale", condition=models.Q(stale=True)),
            models.Index(
                fields=["periodic_task"],
                name="jobs_schedule_watched",
                condition=models.Q(pause_after_failures__gt=0),
            ),
            models.Index(
                fields=["paused_until"],
                name="jobs_schedule_resume",
                condition=models.Q(paused_until__isnull=False),
            ),
        ]
        permissions = [("run_schedule", "Can run a schedule now"), ("pause_schedule", "Can pause a schedule")]

    def __str__(self) -> str:
        return str(self.periodic_task.name)

    @property
    def is_paused(self) -> bool:
        """Whether its times pass without jobs: a schedule is paused by `PeriodicTask.enabled`."""
        return not self.periodic_task.enabled
