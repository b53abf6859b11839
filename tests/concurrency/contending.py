"""Two sides of a race: one does its part and holds its locks, the other comes at the same time."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, TypeVar

import psycopg
from django.db import connection, transaction

from tests.acceptance.line import database_url, eventually

Held = TypeVar("Held")
Came = TypeVar("Came")

PATIENCE = 10.0
"""Seconds, on a machine that does other things as well."""


def in_thread(act: Callable[[], Any]) -> tuple[threading.Thread, list[Any]]:
    """Run `act` in a thread, on a connection of its own; what it returned or raised is in the list."""
    out: list[Any] = []

    def run() -> None:
        try:
            out.append(act())
        except Exception as exc:  # handed to the test, which looks at it
            out.append(exc)
        finally:
            connection.close()

    thread = threading.Thread(target=run)
    thread.start()
    return thread, out


def waits_for_a_lock(behind: int | None = None) -> bool:
    """Whether a session waits for a lock; with `behind`, for one that the session of that process id has."""
    # A connection of its own: within a transaction this view shows the same picture again and again.
    with psycopg.connect(database_url(), autocommit=True) as observer:
        row = observer.execute(
            "SELECT count(*) FROM pg_stat_activity "
            "WHERE wait_event_type = 'Lock' AND datname = current_database() "
            "  AND (%(behind)s::int IS NULL OR %(behind)s = ANY(pg_blocking_pids(pid)))",
            {"behind": behind},
        ).fetchone()
    return bool(row and row[0])


class Undo(Exception):
    """Ends the first side's transaction without its work."""


def waiting(
    first: Callable[[], Held], second: Callable[[], Came], *, commit: bool = True
) -> tuple[Held, Came]:
    """Do `first` in a transaction, and `second` beside it, which must wait until `first` is committed.

    Return what both returned. Without `commit` the first side is rolled back.
    """
    try:
        with transaction.atomic():
            held = first()
            thread, out = in_thread(second)
            eventually(
                lambda: waits_for_a_lock(behind=_own_pid()), PATIENCE, lambda: f"it did not wait: {out}"
            )
            assert not out
            if not commit:
                raise Undo
    except Undo:
        pass
    return held, _end_of(thread, out)


def passing(first: Callable[[], Held], second: Callable[[], Came]) -> tuple[Held, Came]:
    """Do `first` in a transaction, and `second` beside it, which must end while `first` still holds its locks.

    Return what both returned.
    """
    with transaction.atomic():
        held = first()
        came = _end_of(*in_thread(second))
    return held, came


def _own_pid() -> int:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        return int(cursor.fetchone()[0])


def _end_of(thread: threading.Thread, out: list[Any]) -> Any:
    thread.join(PATIENCE)
    assert out, "the other side does not come to an end"
    if isinstance(out[0], Exception):
        raise out[0]
    return out[0]
