"""What a beat and a worker carry: the libraries of pages, commands and documents stay on disk."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.acceptance.line import database_url

ROOT = Path(__file__).resolve().parents[2]

PAGES = {
    "unfold.admin",
    "unfold.sites",
    "unfold.forms",
    "jobs.admin",
    "jobs.api",
    "ninja",
    "pydantic",
    "whitenoise",
}
COMMANDS = {"typer", "rich", "markdown_it", "jobs.cli", "django_typer.management"}
DOCUMENTS = {"reportlab", "openpyxl", "PIL", "ephem", "httpx", "requests", "stripe", "boto3"}
TESTS = {"unittest", "django.test", "wsgiref", "http.server"}
HEAVY = PAGES | COMMANDS | DOCUMENTS | TESTS

START = """
import json, sys
from scheduler_project import celery_app as app
"""
BEAT = """
app.loader.init_worker()
app.finalize()
from jobs.runtime.beat import DurableScheduler
scheduler = DurableScheduler(app, max_interval=0.01)
for _ in range(2):
    scheduler.tick()
assert scheduler.pulse.turns == 2, "its turns failed"
scheduler.close()
"""
WORKER = """
app.loader.init_worker()
app.finalize()
assert app.Worker and "billing.daily_sales_report" in app.tasks
"""
REPORT = """
print(json.dumps(sorted(sys.modules)))
"""


def loaded(program: str) -> set[str]:
    """Return the modules that a process of its own has loaded after `program`."""
    done = subprocess.run(
        [sys.executable, "-c", START + program + REPORT],
        cwd=ROOT,
        env={
            **os.environ,
            "DJANGO_SETTINGS_MODULE": "scheduler_project.settings",
            "DATABASE_URL": database_url(),
        },
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return set(json.loads(done.stdout.splitlines()[-1]))


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("program", [BEAT, WORKER], ids=["beat", "worker"])
def test_it_carries_nothing_that_it_never_uses(program: str) -> None:
    modules = loaded(program)
    assert {"django.db", "jobs.models", "billing.tasks"} <= modules
    assert modules & HEAVY == set()


@pytest.mark.django_db(transaction=True)
def test_a_process_that_shows_pages_has_them_all() -> None:
    modules = loaded("import django; django.setup(); import scheduler_project.urls")
    assert {"jobs.admin", "unfold.admin", "billing.admin", "notifications.admin", "backups.admin"} <= modules


def test_an_edit_is_audited_in_every_process() -> None:
    audited = loaded(
        "import django; django.setup()\n"
        "from auditlog.registry import auditlog\n"
        "from django_celery_beat.models import PeriodicTask\n"
        "from django.contrib.auth.models import Group\n"
        "from jobs.models import Calendar, Limit, Schedule\n"
        "assert all(map(auditlog.contains, (PeriodicTask, Schedule, Calendar, Limit, Group)))\n"
    )
    assert "jobs.admin" not in audited


def test_the_admin_is_checked_by_a_process_that_has_shown_no_page() -> None:
    loaded(
        "import django; django.setup()\n"
        "from django.contrib import admin\n"
        "from django.core.checks import run_checks\n"
        "from jobs.models import Job\n"
        "assert not admin.site._registry\n"
        "assert run_checks(tags=['admin']) == []\n"
        "assert admin.site.is_registered(Job)\n"
    )
