"""Statements of the engine with parameters bound by the server.

A `prepared` plan is kept by the connection, and one that was made while a table was empty would scan it when it
is full. So only what works on one row by its key is prepared: there planning costs more than the work. What
works on many rows at once is planned each time. `DATABASE_PREPARE=off` turns it off for a connection pooler that
cannot keep prepared statements (PgBouncer in transaction mode before 1.21).
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Mapping
from datetime import datetime
from functools import cache
from typing import Any

import psycopg
from django.db import DEFAULT_DB_ALIAS, connections
from psycopg import errors, generators
from psycopg.pq import ExecStatus, TransactionStatus


def run(sql: str, params: Mapping[str, Any], *, prepared: bool = False) -> list[tuple[Any, ...]]:
    """Execute a statement and return its rows.

    Raises Django's database errors, like a cursor of Django's.
    """
    own = _connected()
    cursor = _kept(own.connection).cursor if prepared else psycopg.Cursor(own.connection)
    with own.wrap_database_errors:
        cursor.execute(sql, params, prepare=prepared)
        result = cursor.pgresult
        return cursor.fetchall() if result is not None and result.nfields else []


def store(sql: str, params: Mapping[str, Any], meanwhile: Callable[[], None]) -> None:
    """Execute a statement about one row that returns nothing, and call `meanwhile` once.

    That is done while the server is at work, where the statement is a transaction of its own. Parameters are
    texts, numbers, times and None, each with its type in the statement. `meanwhile` must not use the database.
    Raises Django's database errors, and what `meanwhile` raises; the row is stored all the same then.
    """
    own = _connected()
    if not _may_send(own.connection):
        run(sql, params, prepared=True)
        meanwhile()
        return
    with own.wrap_database_errors:
        _kept(own.connection).send(sql, params)
        try:
            meanwhile()
        finally:
            _answer(own.connection)


def _connected() -> Any:
    """Return Django's connection, ready for a statement."""
    own = connections[DEFAULT_DB_ALIAS]  # each look through `connection` would find it anew
    own.close_if_health_check_failed()  # as Django's own cursors do
    own.ensure_connection()
    own.validate_no_broken_transaction()
    return own


def _may_send(connection: psycopg.Connection[Any]) -> bool:
    """Whether nothing has to be said before a statement, and the server may keep it."""
    return (
        connection.autocommit
        and connection.prepare_threshold is not None
        and connection.pgconn.transaction_status == TransactionStatus.IDLE
    )


class _Kept:
    """What one thread keeps of its connection, because making it anew takes longer than using it.

    The cursor knows already how to write parameters; it holds the rows of its last statement, so it is for those
    about one row. A statement that is sent past it is prepared here: psycopg's way from `execute` to the server
    is long, and it waits for the answer.
    """

    def __init__(self, connection: psycopg.Connection[Any]) -> None:
        self.connection = connection
        self.cursor: psycopg.Cursor[Any] = psycopg.Cursor(connection)
        self.prepared: dict[str, bytes] = {}

    def send(self, sql: str, params: Mapping[str, Any]) -> None:
        """Send a statement; `_answer` waits for the answer."""
        text, names = _numbered(sql)
        values = [_written(params[name]) for name in names]
        name = self.prepared.get(sql)
        if name is None:
            name = f"jadwal_{len(self.prepared)}".encode()
            self.connection.pgconn.send_prepare(name, text)
            _answer(self.connection)
            self.prepared[sql] = name
        self.connection.pgconn.send_query_prepared(name, values)


_of_thread = threading.local()


def _kept(connection: psycopg.Connection[Any]) -> _Kept:
    """Return what this thread keeps of its connection."""
    kept: _Kept | None = getattr(_of_thread, "kept", None)
    if kept is None or kept.connection is not connection:
        kept = _of_thread.kept = _Kept(connection)
    return kept


def _answer(connection: psycopg.Connection[Any]) -> None:
    """Wait until the server has done what was sent to it. Raises psycopg's errors."""
    results = connection.wait(generators.execute(connection.pgconn))
    for result in results:
        if result.status != ExecStatus.COMMAND_OK:
            raise errors.error_from_result(result)


@cache
def _numbered(sql: str) -> tuple[bytes, tuple[str, ...]]:
    """Return a statement with `$1` in the place of `%(name)s`, and the names in the order of their numbers."""
    names = tuple(dict.fromkeys(_PLACE.findall(sql)))
    numbers = {name: f"${number}" for number, name in enumerate(names, 1)}
    return _PLACE.sub(lambda place: numbers[place[1]], sql).encode(), names


_PLACE = re.compile(r"%\((\w+)\)s")


def _written(value: Any) -> bytes | None:
    """Return a parameter as PostgreSQL reads it."""
    if value is None:
        return None
    text = value.isoformat() if isinstance(value, datetime) else str(value)
    if "\0" in text:  # the rest of it would be lost
        raise psycopg.DataError("PostgreSQL text fields cannot contain NUL (0x00) bytes")
    return text.encode()
