"""The project as an app, so that its management commands are found."""

from django.apps import AppConfig


class ProjectConfig(AppConfig):
    """Carries `up`, `down`, `status` and `logs`, and the checks of the settings."""

    name = "scheduler_project"
    label = "scheduler_project"

    def ready(self) -> None:
        """Register the system checks."""
        from scheduler_project import checks  # noqa: F401
