"""A pytest plugin: a real PostgreSQL and a real Redis for the run, on ports and folders of their own.

It is loaded with `-p` before Django's settings are, which read the addresses from the environment. With
xdist the controller starts the servers and each worker has its own database (pytest-django adds a suffix)
and its own Redis database number.
"""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from pathlib import Path

from scheduler_project.standalone.servers import Postgres, Redis


def _start() -> None:
    folder = Path(tempfile.mkdtemp(prefix="jadwal-tests-"))
    folder.chmod(0o755)
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    # Nothing here is to survive a crash of this machine; what is to survive one of the server does so all the same.
    postgres = Postgres(folder / "postgres", settings={"fsync": "off"}, temporary=True)
    redis = Redis(folder / "redis")
    for server in (postgres, redis):
        server.start()
        atexit.register(server.stop)
    os.environ.update(
        DATABASE_URL=postgres.url,
        REDIS_URL=redis.url,
        SECRET_KEY="tests-only",
        JADWAL_STATE_DIR=str(folder / "state"),
        JADWAL_TEST_FOLDER=str(folder),
        JADWAL_SCHEDULABLE="tests.*",  # tests are no app, and schedule their own tasks
    )


if "PYTEST_XDIST_WORKER" not in os.environ:
    _start()
else:
    number = int(os.environ["PYTEST_XDIST_WORKER"].removeprefix("gw")) + 1
    os.environ["REDIS_URL"] = os.environ["REDIS_URL"].rpartition("/")[0] + f"/{number}"
