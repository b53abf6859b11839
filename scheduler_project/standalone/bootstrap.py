"""The one-shot between the servers and the processes: tables, first superuser, demo data.

`python -m scheduler_project.standalone.bootstrap [--demo]`, one Django start for all of it.
"""

from __future__ import annotations

import argparse
import os
import secrets
import sys
from pathlib import Path

import django
from django.contrib.auth import get_user_model
from django.core.management import call_command
from django.db import connection
from django.db.migrations.executor import MigrationExecutor

from scheduler_project.standalone.environment import write_private
from scheduler_project.standalone.layout import State

USER = "admin"


def migrate() -> None:
    """Apply what is missing; with nothing missing this is one query, not a second of signals."""
    executor = MigrationExecutor(connection)
    if executor.migration_plan(executor.loader.graph.leaf_nodes()):
        call_command("migrate", interactive=False)
    else:
        print("the database is up to date")


def first_superuser(password_file: Path) -> None:
    """Make `admin` with a random password, kept 0600 in `password_file`. An existing one stays."""
    users = get_user_model()._default_manager
    if users.filter(is_superuser=True).exists():
        return
    password = secrets.token_urlsafe(12)
    write_private(password_file, password + "\n")
    os.environ["DJANGO_SUPERUSER_PASSWORD"] = password
    try:
        call_command("createsuperuser", interactive=False, username=USER, email=f"{USER}@localhost")
    except BaseException:
        password_file.unlink()
        raise


def main() -> None:
    """Prepare the database that the environment names."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--demo", action="store_true")
    demo = parser.parse_args().demo
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "scheduler_project.settings")
    django.setup()
    migrate()
    first_superuser(State.at(None).admin_password)
    if demo:
        call_command("seed_demo")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
