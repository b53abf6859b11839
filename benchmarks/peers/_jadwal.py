"""What both contenders made of this product share: where the checkout is, which servers, a clean database.

The adapters also run under another harness of this shape that offers `benchlib` (REDIS_URL, PG_URL,
venv_python): copy `q_jadwal.py` and `sched_jadwal.py` into its contenders, let JADWAL_CHECKOUT name this
checkout, and let its environment `jadwal` be the project's own.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

try:
    import benchlib
except ImportError:
    benchlib = None

CHECKOUT = Path(os.environ.get("JADWAL_CHECKOUT", Path(__file__).resolve().parent.parent.parent))
FOREIGN_DATABASE, FOREIGN_REDIS = "jadwal", 11


def addresses() -> dict[str, str]:
    """Return the variables that point the product at the benchmark's servers."""
    own = {"DJANGO_SETTINGS_MODULE": "scheduler_project.settings"}
    if benchlib is None:
        return own | {key: os.environ[key] for key in ("DATABASE_URL", "REDIS_URL")}
    return own | {
        "DATABASE_URL": benchlib.PG_URL.rpartition("/")[0] + f"/{FOREIGN_DATABASE}",
        "REDIS_URL": f"{benchlib.REDIS_URL}/{FOREIGN_REDIS}",
        "SECRET_KEY": "bench",
        "LOG_LEVEL": "WARNING",
        "JADWAL_SCHEDULABLE": "bench.noop",
        "JADWAL_STATE_DIR": str(benchlib.RUN / "jadwal-state"),
    }


def python() -> str:
    """Return the interpreter of the project's environment."""
    return benchlib.venv_python("jadwal") if benchlib is not None else sys.executable


def command(*words: str) -> list[str]:
    """Return the argv of a `celery` command of the product."""
    program = [python(), "-m", "celery", "-A", APP, *words]
    if benchlib is None:
        return program  # this harness has set the environment already
    path = os.pathsep.join([str(CHECKOUT), os.environ.get("PYTHONPATH", str(benchlib.HERE))])
    settings = {**addresses(), "PYTHONPATH": path}
    return ["env", "-C", str(CHECKOUT), *(f"{key}={value}" for key, value in settings.items()), *program]


APP = "benchmarks.peers.jadwal_app"


def setup() -> None:
    """Set Django and the app up in this process."""
    os.environ.update(addresses())
    sys.path.insert(0, str(CHECKOUT))
    if benchlib is not None:
        _make_database()
    import importlib

    import django

    django.setup()
    importlib.import_module(APP).app.set_default()


def _make_database() -> None:
    import psycopg

    with psycopg.connect(benchlib.PG_URL, autocommit=True) as connection:
        known = "SELECT 1 FROM pg_database WHERE datname = %s"
        if connection.execute(known, [FOREIGN_DATABASE]).fetchone() is None:
            connection.execute(f"CREATE DATABASE {FOREIGN_DATABASE}")


def migrate() -> None:
    """Make the tables where they are missing."""
    from django.core.management import call_command
    from django.db import connection

    if "jobs_job" not in connection.introspection.table_names():
        call_command("migrate", verbosity=0)


def forget_jobs() -> None:
    """Empty the queues and the ledger."""
    import redis
    from django.db import connection

    redis.Redis.from_url(addresses()["REDIS_URL"]).flushdb()
    with connection.cursor() as cursor:
        cursor.execute(
            "TRUNCATE jobs_job, jobs_attempt, jobs_joblog, jobs_worker, django_celery_results_taskresult"
        )


def queued() -> int:
    """Return how many messages wait in the default queue."""
    import redis

    return int(redis.Redis.from_url(addresses()["REDIS_URL"]).llen("default"))
