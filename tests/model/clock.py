"""The clock of this session's database, which the test sets and moves."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime

from django.db import connection

SCHEMA = "model_clock"


@contextmanager
def movable_clock() -> Iterator[None]:
    """Let this session ask a clock of ours for the time, which stands still until `set_clock` moves it.

    Some verbs take `now`, others ask the database: only its clock decides anything. A function of the same
    name, found before PostgreSQL's own, lets both live in one time, so that what they write can be foretold
    to the microsecond.
    """
    with connection.cursor() as cursor:
        cursor.execute(f"DROP SCHEMA IF EXISTS {SCHEMA} CASCADE")
        cursor.execute(f"CREATE SCHEMA {SCHEMA}")
        for name in ("clock_timestamp", "statement_timestamp"):
            cursor.execute(
                f"CREATE FUNCTION {SCHEMA}.{name}() RETURNS timestamptz LANGUAGE sql VOLATILE AS "
                "$$ SELECT current_setting('model.now')::timestamptz $$"
            )
        cursor.execute(f"SET search_path = {SCHEMA}, pg_catalog, public")
        # Nothing here is about a crash of the database: commits need not wait for the disk.
        cursor.execute("SET synchronous_commit = off")
    try:
        yield
    finally:
        with connection.cursor() as cursor:
            cursor.execute("RESET search_path")
            cursor.execute("RESET synchronous_commit")
            cursor.execute(f"DROP SCHEMA {SCHEMA} CASCADE")


def set_clock(now: datetime) -> None:
    """Let it be `now`."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT set_config('model.now', %s, false)", [now.isoformat()])
