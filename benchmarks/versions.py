"""The versions of what was measured."""

from __future__ import annotations

import re
import subprocess

from benchmarks.environments import version_of
from scheduler_project.standalone.binaries import postgres_bin, redis_bin

PACKAGES = {
    "Celery": ("celery", "celery"),
    "django-celery-beat": ("celery", "django-celery-beat"),
    "django-celery-results": ("celery", "django-celery-results"),
    "RedBeat": ("celery", "celery-redbeat"),
    "Procrastinate": ("procrastinate", "procrastinate"),
    "APScheduler": ("apscheduler", "apscheduler"),
    "Django": ("celery", "django"),
}


def versions() -> dict[str, str]:
    """Return the versions of the peers and of the servers."""
    found = {name: version_of(*where) for name, where in PACKAGES.items()}
    for name, program in (("PostgreSQL", postgres_bin()), ("Redis", redis_bin())):
        told = subprocess.run([program, "--version"], check=True, capture_output=True, text=True).stdout
        number = re.search(r"\d+(\.\d+)+", told)
        found[name] = number[0] if number else told.strip()
    return found
