"""The Django app of the platform."""

from django.apps import AppConfig
from django.db.models.signals import post_migrate


class JobsConfig(AppConfig):
    """Jobs, schedules and their history."""

    name = "jobs"
    verbose_name = "Jobs"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Register the system checks, what is audited, and what makes the permissions to schedule."""
        from jobs import audited, checks  # noqa: F401
        from jobs.engine import permissions

        audited.register()
        post_migrate.connect(permissions.create, sender=self, dispatch_uid="jobs.schedule_tasks")
