"""The Django app of billing."""

from django.apps import AppConfig


class BillingConfig(AppConfig):
    """Billing."""

    name = "billing"
    default_auto_field = "django.db.models.BigAutoField"
