"""The Celery application. `celery -A scheduler_project worker|beat|flower` starts here."""

import os

from jobs.runtime.app import DurableCelery

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "scheduler_project.settings")
# Celery would run Django's system checks in every process, and leave what they find unread. They load the URLs, and
# with them the console and the API, which no beat and no worker needs. `manage.py check` runs them.
os.environ.setdefault("CELERY_SKIP_CHECKS", "1")

app = DurableCelery("scheduler_project")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()
app.autodiscover_tasks(["jobs"], related_name="targets")
