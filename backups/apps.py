"""The Django app of backups."""

from django.apps import AppConfig


class BackupsConfig(AppConfig):
    """Backups."""

    name = "backups"
    default_auto_field = "django.db.models.BigAutoField"
