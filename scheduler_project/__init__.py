"""The Django project: settings, the Celery app, URLs and the way to run it all."""

from scheduler_project.celery import app as celery_app

__all__ = ["celery_app"]
