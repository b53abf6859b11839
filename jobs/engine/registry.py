"""The tasks that this project has."""

from functools import cache

from celery import current_app


@cache
def load_tasks() -> None:
    """Import every module that defines tasks; once, because Celery runs Django's checks each time."""
    current_app.loader.import_default_modules()
