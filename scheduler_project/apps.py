"""The project as an app, so that its management commands are found."""

from django.apps import AppConfig


class ProjectConfig(AppConfig):
    """Carries `up`, `down`, `status` and `logs`."""

    name = "scheduler_project"
    label = "scheduler_project"
