"""Statements of the engine with parameters bound by the server.

A `prepared` plan is kept by the connection, and one that was made while a table was empty would scan it when it
is full. So only what works on one row by its key is prepared: there planning costs more than the work. What
works on many rows at once is planned each time. `DATABASE_PREPARE=off` turns it off for a connection pooler that
cannot keep prepared statements (PgBouncer in transaction mode before 1.21).
"""

from __future__ import annotations

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
    with own.wrap_database_errors, psycopg.Cursor(own.connection) as cursor:
        cursor.execute(sql, params, prepare=prepared)
        result = cursor.pgresult
        return cursor.fetchall() if result is not None and result.nfields else []
