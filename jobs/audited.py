"""What django-auditlog writes down by itself: the tables that people edit, whichever process they edit them from."""

from __future__ import annotations

from auditlog.registry import auditlog
from django.contrib.auth.models import Group, User
from django_celery_beat.models import (
    ClockedSchedule,
    CrontabSchedule,
    IntervalSchedule,
    PeriodicTask,
    SolarSchedule,
)

from jobs.engine.editing import POLICY_FIELDS
from jobs.models import Blackout, Calendar, Limit, Schedule


def register() -> None:
    """Have every edit of a schedule, of what schedules share, and of who may do what, written down."""
    auditlog.register(
        PeriodicTask,
        exclude_fields=["last_run_at", "total_run_count", "date_changed"],
        mask_fields=["args", "kwargs", "headers"],
        mask_callable="jobs.rules.redaction.redact_json",
    )
    auditlog.register(Schedule, include_fields=sorted(POLICY_FIELDS))
    for model in (CrontabSchedule, IntervalSchedule, ClockedSchedule, SolarSchedule, Calendar, Blackout):
        auditlog.register(model)
    auditlog.register(Limit, exclude_fields=["next_start_at"])
    auditlog.register(
        User,
        exclude_fields=["last_login"],
        mask_fields=["password"],
        mask_callable="jobs.rules.redaction.mask",
        m2m_fields={"groups", "user_permissions"},
    )
    auditlog.register(Group, m2m_fields={"permissions"})
