"""The Celery application. `celery -A scheduler_project worker|beat|flower` starts here."""

import os

from jobs.runtime.app import DurableCelery

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "scheduler_project.settings")

app = DurableCelery("scheduler_project")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()
app.autodiscover_tasks(["jobs"], related_name="targets")
