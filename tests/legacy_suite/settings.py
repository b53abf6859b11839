"""This project's settings, with the one model of django-celery-beat's test project beside ours."""

from scheduler_project.settings import *  # noqa: F403
from scheduler_project.settings import INSTALLED_APPS as _OURS

INSTALLED_APPS = [*_OURS, "t.proj"]
