"""A scene with a PostgreSQL of its own, which a test may stop."""

from __future__ import annotations

import signal
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Self

import environ
import psycopg
from django.contrib.contenttypes.models import ContentType
from django.core.management import call_command
from django.db import connections
from psycopg import sql

from scheduler_project.standalone.processes import processes_in, wait_until
from scheduler_project.standalone.servers import Postgres
from tests.faults.scene import Scene


class OwnPostgres(Postgres):
    """A server with a migrated database, of which each test gets a copy."""

    def __init__(self, folder: Path) -> None:
        # A crash of the server, not of the machine, is what is tested: what it has written is there again.
        super().__init__(folder, settings={"fsync": "off"}, temporary=True)

    def migrate(self) -> None:
        """Make the schema once: copies of it take no time."""
        with used(self.url):
            call_command("migrate", verbosity=0)

    def copy(self) -> str:
        """Make a database like the migrated one; return its address."""
        name = f"copy_{uuid.uuid4().hex[:8]}"
        make = sql.SQL("CREATE DATABASE {} TEMPLATE {} OWNER {}")
        with psycopg.connect(self.admin_url, autocommit=True) as admin:
            admin.execute(make.format(*map(sql.Identifier, (name, self.database, self.role))))
        return f"{self.url.rpartition('/')[0]}/{name}"

    def stop_at_once(self) -> None:
        """Stop in the immediate mode: every session is cut off, nothing is tidied up."""
        assert self.process is not None
        self.process.send_signal(signal.SIGQUIT)
        self.process.wait(timeout=20)
        assert wait_until(lambda: not processes_in(self.data, "postgres"), 10)


@contextmanager
def used(url: str) -> Iterator[None]:
    """Let this process's Django use the database at `url`, where content types have ids of their own."""
    default = connections["default"]
    before = default.settings_dict
    parts = environ.Env.db_url_config(url)
    default.close()
    default.settings_dict = before | {key: parts[key] for key in ("NAME", "USER", "PASSWORD", "HOST", "PORT")}
    ContentType.objects.clear_cache()
    try:
        yield
    finally:
        default.close()
        default.settings_dict = before
        ContentType.objects.clear_cache()


class OutageScene(Scene):
    """A scene whose database may go away. While it is away a test must not ask it anything."""

    def __init__(self, postgres: OwnPostgres, folder: Path, seed: int, *, full: bool) -> None:
        super().__init__(folder, seed, full=full)
        self.postgres = postgres
        self.spool = folder / "spool"
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        self.postgres.start()
        url = self.postgres.copy()
        self.line.env |= {"DATABASE_URL": url, "JADWAL_SPOOL_DIR": str(self.spool)}
        self._stack.enter_context(used(url))
        return super().__enter__()

    def __exit__(self, *exc: object) -> None:
        super().__exit__(*exc)
        self._stack.close()

    def stop_database(self) -> None:
        """Stop PostgreSQL at once: in its immediate mode, or with kill -9."""
        connections["default"].close()
        how = self.random.choice([self.postgres.stop_at_once, self.postgres.kill])
        how()

    def start_database(self) -> None:
        """Let PostgreSQL come back, with what it had."""
        port = self.postgres.port
        self.postgres.start()
        assert self.postgres.port == port, "somebody else took its port"

    def spooled(self) -> list[Path]:
        """The outcomes that are kept on disk."""
        return sorted(self.spool.glob("*.ending"))

    def environment(self, **values: Any) -> None:
        """Set variables of the processes that are started from now on."""
        self.line.env |= {key: str(value) for key, value in values.items()}
