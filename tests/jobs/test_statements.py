"""Statements of the engine: the cursor that is kept for those about one row."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from django.db import DataError, connection

from jobs.engine import statements

pytestmark = pytest.mark.django_db(transaction=True)

SQL = "SELECT %(number)s::int, pg_backend_pid()"


def ask(number: int) -> int:
    """Return the server process that answered."""
    ((found, pid),) = statements.run(SQL, {"number": number}, prepared=True)
    assert found == number
    return int(pid)


def ask_and_hang_up(number: int) -> int:
    try:
        return ask(number)
    finally:
        connection.close()


def test_another_connection_has_another_cursor() -> None:
    before = ask(1)
    assert ask(2) == before
    connection.close()
    assert ask(3) != before


def test_an_error_leaves_it_of_use() -> None:
    before = ask(1)
    with pytest.raises(DataError):
        statements.run("SELECT %(text)s::text::int", {"text": "one"}, prepared=True)
    assert ask(2) == before


def test_each_thread_has_its_own() -> None:
    with ThreadPoolExecutor(2) as pool:
        others = set(pool.map(ask_and_hang_up, range(20)))
    assert ask(1) not in others


def test_what_returns_nothing_returns_no_rows_of_the_last() -> None:
    ask(1)
    assert statements.run("SET LOCAL application_name = 'x'", {}, prepared=False) == []
    assert statements.run("UPDATE jobs_job SET id = id", {}, prepared=True) == []
