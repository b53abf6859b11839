"""System checks: variables that are missing, or do not go together, all of them at once.

What cannot be read at all is refused before (`variables`). With `manage.py check --deploy` what is fit for one
machine only is told of, too.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from django.apps import AppConfig
from django.conf import settings
from django.core import checks
from django.core.exceptions import ImproperlyConfigured

HEARTBEATS = 3
"""A lease is at least so many heartbeats long: one that is late is no death."""

LOCAL = {"", "localhost", "127.0.0.1", "::1"}

EXPECTED = {
    "ALLOWED_HOSTS": "the host names that the console answers to",
    "DATABASE_URL": "the address of PostgreSQL",
    "EMAIL_URL": "the mail server",
    "REDIS_URL": "the address of Redis",
    "SECRET_KEY": "a long random text",
}
"""Variables whose defaults are for one machine."""


@checks.register
def variables(app_configs: Sequence[AppConfig] | None, **_: Any) -> list[checks.CheckMessage]:
    """Refuse settings that do harm, or mean nothing, together."""
    return [checks.Error(problem, id="project.E001") for problem in _problems()]


def _problems() -> Iterator[str]:
    try:
        settings.SECRET_KEY  # noqa: B018
    except ImproperlyConfigured:
        yield "SECRET_KEY is not set."
    jadwal: dict[str, Any] = settings.JADWAL
    for name in ("HEARTBEAT", "LEASE", "SWEEP", "RECONCILE"):
        if jadwal[f"{name}_SECONDS"] <= 0:
            yield f"JADWAL_{name}_SECONDS must be more than 0."
    if jadwal["LEASE_SECONDS"] < HEARTBEATS * jadwal["HEARTBEAT_SECONDS"]:
        yield (
            f"JADWAL_LEASE_SECONDS is {jadwal['LEASE_SECONDS']:g}: it must be at least {HEARTBEATS} times "
            f"JADWAL_HEARTBEAT_SECONDS, {jadwal['HEARTBEAT_SECONDS']:g}, or workers die of a late heartbeat."
        )
    if jadwal["MAX_ATTEMPTS"] < 1:
        yield "JADWAL_MAX_ATTEMPTS must be 1 or more."
    soft, hard = settings.CELERY_TASK_SOFT_TIME_LIMIT, settings.CELERY_TASK_TIME_LIMIT
    if not 0 < soft <= hard:
        yield f"JADWAL_SOFT_TIME_LIMIT is {soft}: it must be more than 0, and no more than JADWAL_TIME_LIMIT, {hard}."
    if settings.CELERY_WORKER_SOFT_SHUTDOWN_TIMEOUT < 0:
        yield "JADWAL_SHUTDOWN_GRACE must not be less than 0."
    if urlsplit(settings.REDIS_URL).scheme not in ("redis", "rediss"):
        yield "REDIS_URL must begin with redis:// or rediss://."
    yield from _secrets_folder()


def _secrets_folder() -> Iterator[str]:
    folder = str(settings.JADWAL["SECRETS_DIR"])
    if folder and not Path(folder).is_dir():
        yield f"JADWAL_SECRETS_DIR is {folder!r}, which is no folder: no secret will be found there."


@checks.register(checks.Tags.security, deploy=True)
def for_one_machine_only(app_configs: Sequence[AppConfig] | None, **_: Any) -> list[checks.CheckMessage]:
    """Tell of what is fit for a machine of one's own and for nothing else."""
    return [checks.Warning(text, hint=hint, id="project.W001") for text, hint in _unfit()]


def _unfit() -> Iterator[tuple[str, str]]:
    for name, meaning in EXPECTED.items():
        if not os.environ.get(name):
            yield f"{name} is not set.", f"Set it to {meaning}."
    if "*" in settings.ALLOWED_HOSTS:
        yield "ALLOWED_HOSTS has *: the console answers to any name.", "Name its hosts."
    database, broker = settings.DATABASES["default"], urlsplit(settings.REDIS_URL)
    if database["HOST"] not in LOCAL and not database["PASSWORD"]:
        yield "DATABASE_URL has no password, and the server is elsewhere.", "Give the role a password."
    if broker.hostname not in LOCAL and not broker.password:
        yield "REDIS_URL has no password, and the server is elsewhere.", "Give the user a password."
    folder = str(settings.JADWAL["SECRETS_DIR"])
    if folder and Path(folder).is_dir() and Path(folder).stat().st_mode & stat.S_IWOTH:
        yield (
            f"Everybody may write into JADWAL_SECRETS_DIR, {folder!r}.",
            "Let its owner write, and nobody else.",
        )
