"""Celery on Redis, results in PostgreSQL by django-celery-results, as both come: a connection per task."""

from typing import Any

from benchmarks.peers import _celery as base
from benchmarks.peers import q_celery_results_kept as kept
from benchmarks.peers.q_celery_results_kept import ENV, Client, prepare, settled

__all__ = ["ENV", "LABEL", "MAX_JOBS", "SETTINGS", "VENV", "Client", "commands", "prepare", "settled"]

VENV, LABEL = "celery", "Celery + django-celery-results, defaults"
SETTINGS = base.SETTINGS
MAX_JOBS = 2_000
commands = base.worker_command(__name__)


def __getattr__(name: str) -> Any:
    if name == "celery":
        return kept.make()
    raise AttributeError(name)
