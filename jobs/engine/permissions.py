"""The permission `<app>.schedule_tasks` of each app that defines tasks, made after every migration.

A permission belongs to a content type, and its app label is the content type's. It is hung on a model of the
app, the first by name, because content types without a model are what Django offers to delete as stale, and
the grants with them. An app without models has one of its own for it, named `task`. An app may declare the
permission itself, in the `Meta.permissions` of a model; then nothing is made.
"""

from __future__ import annotations

from typing import Any

from celery import current_app
from django.apps import AppConfig
from django.apps import apps as global_apps
from django.db import router

from jobs.engine import permitting
from jobs.engine.registry import load_tasks
from jobs.rules.permits import CODENAME, PLATFORM

MODELLESS = "task"
"""The content type of apps without models."""


def apps_with_tasks() -> set[str]:
    """Return the labels of the apps whose tasks may be scheduled, the platform's own included."""
    load_tasks()
    found = {permitting.facts(name).app for name in current_app.tasks}
    return (found | {PLATFORM}) - {""}


def missing(using: str = "default", apps: Any = global_apps) -> list[str]:
    """Return the apps whose permission is not there, in the order of their names."""
    permission = apps.get_model("auth", "Permission")
    there = permission.objects.using(using).filter(codename=CODENAME)
    return sorted(apps_with_tasks() - set(there.values_list("content_type__app_label", flat=True)))


def create(using: str = "default", apps: Any = global_apps, **_: Any) -> None:
    """Make the permissions that are missing: a receiver of `post_migrate`."""
    try:
        permission = apps.get_model("auth", "Permission")
        apps.get_model("contenttypes", "ContentType")
    except LookupError:
        return  # these apps are not migrated yet
    if not router.allow_migrate_model(using, permission):
        return
    new = []
    for label in missing(using, apps):
        config = global_apps.get_app_config(label)
        content_type = _content_type(config, using, apps)
        name = f"Can schedule the tasks of {config.verbose_name}"[:255]
        new.append(permission(codename=CODENAME, name=name, content_type_id=content_type.pk))
    permission.objects.using(using).bulk_create(new, ignore_conflicts=True)


def _content_type(config: AppConfig, using: str, apps: Any) -> Any:
    model = min(config.get_models(), key=lambda model: model._meta.model_name or "", default=None)
    name = MODELLESS if model is None else model._meta.model_name
    content_types = apps.get_model("contenttypes", "ContentType").objects.using(using)
    return content_types.get_or_create(app_label=config.label, model=name)[0]
