"""Statements of the engine: what is kept for those about one row, and what is done while the server works."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any

import psycopg
import pytest
from django.db import DataError, IntegrityError, OperationalError, connection, transaction

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


# --- What returns nothing, and takes its time ---------------------------------------------------------------

STORE = """INSERT INTO stored (name, number, at, document)
           SELECT %(name)s::text, %(number)s::float, %(at)s::timestamptz, %(document)s::jsonb
           FROM pg_sleep(%(seconds)s::float)"""


@pytest.fixture
def table() -> Iterator[None]:
    statements.run(
        "CREATE TABLE stored (name text PRIMARY KEY, number float, at timestamptz, document jsonb)", {}
    )
    yield
    statements.run("DROP TABLE stored", {})


def store(name: str, meanwhile: Callable[[], Any] = lambda: None, **others: Any) -> None:
    params = {"name": name, "number": None, "at": None, "document": None, "seconds": 0, **others}
    statements.store(STORE, params, meanwhile)


def stored() -> list[tuple[Any, ...]]:
    return statements.run("SELECT name, number, at, document FROM stored ORDER BY name", {})


@pytest.fixture
def watcher(table: None) -> Iterator[psycopg.Connection[Any]]:
    """Another connection to the same database."""
    with psycopg.connect(**connection.get_connection_params(), autocommit=True) as other:
        yield other


@pytest.mark.usefixtures("table")
def test_values_arrive_as_they_are() -> None:
    at = datetime(2027, 3, 14, 1, 2, 3, 456, tzinfo=UTC)
    store("it's 100% \\ Grüße", number=0.1, at=at, document='{"a": "\\u00e4"}')
    store("nothing")
    assert stored() == [("it's 100% \\ Grüße", 0.1, at, '{"a": "ä"}'), ("nothing", None, None, None)]


@pytest.mark.parametrize("ours", [False, True], ids=["of its own", "of the caller's"])
@pytest.mark.usefixtures("table")
def test_it_belongs_to_the_transaction_that_is_open(ours: bool) -> None:
    said: list[str] = []
    if not ours:
        store("a", lambda: said.append("meanwhile"))
    else:
        with pytest.raises(ZeroDivisionError), transaction.atomic():
            store("a", lambda: said.append("meanwhile"))
            raise ZeroDivisionError
    assert said == ["meanwhile"]
    assert [row[0] for row in stored()] == ([] if ours else ["a"])


def test_the_server_works_meanwhile(watcher: psycopg.Connection[Any]) -> None:
    """Within the call the server has the statement already, and has not ended it."""
    pid, seen = connection.connection.info.backend_pid, []

    def look() -> None:
        running = "SELECT state, query LIKE 'INSERT INTO stored%%' FROM pg_stat_activity WHERE pid = %s"
        deadline = datetime.now(UTC).timestamp() + 5
        while ("active", True) not in seen and datetime.now(UTC).timestamp() < deadline:
            seen.append(watcher.execute(running, [pid]).fetchone())

    store("first")  # prepares it
    store("a", look, seconds=0.5)
    assert seen[-1] == ("active", True)
    assert [row[0] for row in stored()] == ["a", "first"]


@pytest.mark.usefixtures("table")
def test_what_goes_wrong_meanwhile_is_raised_and_the_row_is_there() -> None:
    with pytest.raises(ZeroDivisionError):
        store("a", lambda: 1 / 0)
    store("b")
    assert [row[0] for row in stored()] == ["a", "b"]


@pytest.mark.usefixtures("table")
def test_errors_are_django_s_and_leave_it_of_use() -> None:
    store("a")
    with pytest.raises(IntegrityError, match="duplicate key"):
        store("a")
    with pytest.raises(DataError):
        store("b", document="{")
    store("c")
    assert [row[0] for row in stored()] == ["a", "c"]


@pytest.mark.usefixtures("table")
def test_a_nul_is_refused_and_nothing_is_cut_off() -> None:
    with pytest.raises(DataError, match="NUL"):
        store("a\0b")
    assert stored() == []


def test_a_server_that_hangs_up_is_an_operational_error(watcher: psycopg.Connection[Any]) -> None:
    store("a")
    pid = connection.connection.info.backend_pid
    with pytest.raises(OperationalError):
        store("b", lambda: watcher.execute("SELECT pg_terminate_backend(%s)", [pid]), seconds=5)
    connection.close()
    store("c")
    assert [row[0] for row in stored()] == ["a", "c"]


@pytest.mark.usefixtures("table")
def test_where_the_server_keeps_no_statements_none_is_prepared(monkeypatch: pytest.MonkeyPatch) -> None:
    connection.close()
    connection.ensure_connection()
    monkeypatch.setattr(connection.connection, "prepare_threshold", None)
    store("a")
    assert statements.run("SELECT count(*) FROM pg_prepared_statements WHERE name LIKE 'jadwal%%'", {}) == [
        (0,)
    ]
    monkeypatch.undo()
    store("b")
    assert statements.run("SELECT count(*) FROM pg_prepared_statements WHERE name LIKE 'jadwal%%'", {}) == [
        (1,)
    ]
