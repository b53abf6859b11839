"""The project as an app, so that its management commands are found; and apps whose weight only some need.

A beat or a worker shows no page and parses no command line. As these apps set themselves up, they would load the
forms, widgets and pages of the console, and the libraries of the command line, into every process.
"""

from __future__ import annotations

from typing import Any

from django.apps import AppConfig
from django.contrib import admin
from django.contrib.admin.apps import SimpleAdminConfig
from django.contrib.admin.checks import check_admin_app, check_dependencies
from django.core import checks


class ProjectConfig(AppConfig):
    """Carries `up`, `down`, `status` and `logs`, and the checks of the settings."""

    name = "scheduler_project"
    label = "scheduler_project"

    def ready(self) -> None:
        """Register the system checks."""
        from scheduler_project import checks  # noqa: F401


class ConsoleConfig(SimpleAdminConfig):
    """The admin; its pages are loaded by those who show or check them: see `urls.py`."""

    default_site = "unfold.sites.UnfoldAdminSite"

    def ready(self) -> None:
        """Register the admin's own system checks, of all pages."""
        checks.register(check_dependencies, checks.Tags.admin)
        checks.register(check_pages, checks.Tags.admin)


def check_pages(app_configs: Any, **more: Any) -> list[checks.CheckMessage]:
    """Check every page of the console, also when nothing has loaded them yet."""
    admin.autodiscover()
    found: list[checks.CheckMessage] = check_admin_app(app_configs, **more)
    return found


class LookConfig(AppConfig):
    """django-unfold, without its own way to take the admin over: `ConsoleConfig` names its site."""

    name = "unfold"


class CommandLineConfig(AppConfig):
    """django-typer, loaded by the commands that are made with it.

    Its own configuration loads typer and rich at once, to draw tracebacks. What it adds to its command
    `shellcompletion` is added by ours of that name.
    """

    name = "django_typer"
