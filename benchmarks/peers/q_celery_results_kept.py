"""Celery on Redis, results in PostgreSQL by django-celery-results, database connections kept."""

from typing import Any

from benchmarks.peers import _celery as base

VENV, LABEL = "celery", "Celery + django-celery-results, kept connections"
SETTINGS = {"2p": f"{base.WORKER}; CELERY_DB_REUSE_MAX=1000000, CONN_MAX_AGE=None"}
MAX_JOBS = 10_000
ENV = {"DJANGO_SETTINGS_MODULE": "benchmarks.peers._django"}
commands = base.worker_command(__name__)


def prepare() -> None:
    base.flush(base.QUEUE_DATABASE)
    base.setup_django()
    base.migrate()
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute("TRUNCATE django_celery_results_taskresult")


def settled(count: int) -> None:
    """Raise unless `count` results are stored."""
    import psycopg

    from benchmarks import kit

    with psycopg.connect(kit.postgres_url()) as connection:
        row = connection.execute("SELECT count(*) FROM django_celery_results_taskresult").fetchone()
    if row != (count,):
        raise AssertionError(f"{row} results of {count} jobs")


def make(**settings: Any) -> Any:
    return base.app(base.QUEUE_DATABASE, result_backend="django-db", **settings)


def __getattr__(name: str) -> Any:
    if name == "celery":
        return make(CELERY_DB_REUSE_MAX=1_000_000)
    raise AttributeError(name)


class Client(base.Client):
    def __init__(self) -> None:
        base.setup_django()
        super().__init__(make())
