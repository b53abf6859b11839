"""The console: the Django admin, dressed by django-unfold. Loaded by the admin's autodiscovery.

A thin interface: it reads through `jobs.insight` and the models, and changes things through `jobs.engine`.
"""

# Pages that ours take the place of: they must be there first, also when it is not the autodiscovery that loads us.
import auditlog.admin  # noqa: F401
import django_celery_beat.admin  # noqa: F401
import django_celery_results.admin  # noqa: F401

from jobs.admin import access, audit, calendars, dashboard, jobs, results, schedules, timings, workers

__all__ = ["access", "audit", "calendars", "dashboard", "jobs", "results", "schedules", "timings", "workers"]
