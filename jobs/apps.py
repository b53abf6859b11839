"""The Django app of the platform."""

from django.apps import AppConfig


class JobsConfig(AppConfig):
    """Jobs, schedules and their history."""

    name = "jobs"
    verbose_name = "Jobs"
    default_auto_field = "django.db.models.BigAutoField"
