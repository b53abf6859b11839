"""Statements of the engine with parameters bound by the server.

A `prepared` plan is kept by the connection, and one that was made while a table was empty would scan it when it
is full. So only what works on one row by its key is prepared: there planning costs more than the work. What
works on many rows at once is planned each time. `DATABASE_PREPARE=off` turns it off for a connection pooler that
cannot keep prepared statements (PgBouncer in transaction mode before 1.21).
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any

import psycopg
from django.db import DEFAULT_DB_ALIAS, connections


def run(sql: str, params: Mapping[str, Any], *, prepared: bool = False) -> list[tuple[Any, ...]]:
    """Execute a statement and return its rows.

    Raises Django's database errors, like a cursor of Django's.
    """
    own = connections[DEFAULT_DB_ALIAS]  # each look through `connection` would find it anew
    own.close_if_health_check_failed()  # as Django's own cursors do
    own.ensure_connection()
    own.validate_no_broken_transaction()
    cursor = _kept_cursor(own.connection) if prepared else psycopg.Cursor(own.connection)
    with own.wrap_database_errors:
        cursor.execute(sql, params, prepare=prepared)
        result = cursor.pgresult
        return cursor.fetchall() if result is not None and result.nfields else []


_of_thread = threading.local()


def _kept_cursor(connection: psycopg.Connection[Any]) -> psycopg.Cursor[Any]:
    """Return this thread's cursor on its connection, which knows already how to write parameters.

    It holds the rows of its last statement, so it is for those about one row.
    """
    cursor: psycopg.Cursor[Any] | None = getattr(_of_thread, "cursor", None)
    if cursor is None or cursor.connection is not connection:
        cursor = _of_thread.cursor = psycopg.Cursor(connection)
    return cursor
