"""The product's own Celery app with the job of the benchmark: `celery -A benchmarks.peers.jadwal_app`.

It runs under this harness and under any other that has a `benchjob.noop`.
"""

from scheduler_project.celery import app

try:
    from benchjob import noop
except ImportError:
    from benchmarks.kit import noop

__all__ = ["app"]

app.task(name="bench.noop")(noop)
