"""Celery on Redis, results ignored: what Celery costs when nothing is kept."""

from typing import Any

from benchmarks.peers import _celery as base

VENV, LABEL, SETTINGS = "celery", "Celery, results ignored", base.SETTINGS
commands = base.worker_command(__name__)


def prepare() -> None:
    base.flush(base.QUEUE_DATABASE)


def __getattr__(name: str) -> Any:  # `celery -A` wants an app; the harness, in its own environment, does not
    if name == "app":
        return base.app(base.QUEUE_DATABASE, task_ignore_result=True)
    raise AttributeError(name)


class Client(base.Client):
    def __init__(self) -> None:
        super().__init__(base.app(base.QUEUE_DATABASE, task_ignore_result=True))
