"""The console: the Django admin, dressed by django-unfold. Loaded by the admin's autodiscovery.

A thin interface: it reads through `jobs.insight` and the models, and changes things through `jobs.engine`.
"""

from jobs.admin import access, audit, calendars, dashboard, jobs, results, schedules, timings, workers

__all__ = ["access", "audit", "calendars", "dashboard", "jobs", "results", "schedules", "timings", "workers"]
