"""How the database is emptied after a test that commits.

Django empties every table, and then makes content types and permissions anew: a fifth of a second for each of
a thousand tests. Most tests have written to a few tables, and none changes what migrations have made.
"""

from __future__ import annotations

from typing import Any

from django.contrib.auth.models import Permission
from django.contrib.contenttypes.models import ContentType
from django.db import connection
from django.test import TransactionTestCase
from psycopg import sql

MADE_BY_MIGRATIONS = (ContentType, Permission)


def empty_tables() -> None:
    """Empty the tables in which there are rows; what migrations have made stays."""
    kept = {model._meta.db_table for model in MADE_BY_MIGRATIONS}
    tables = [name for name in connection.introspection.django_table_names() if name not in kept]
    with connection.cursor() as cursor:
        cursor.execute(_filled(tables))
        filled = [sql.Identifier(name) for (name,) in cursor.fetchall()]
        if filled:
            cursor.execute(sql.SQL("TRUNCATE {} CASCADE").format(sql.SQL(", ").join(filled)))


def _filled(tables: list[str]) -> sql.Composed:
    ask = sql.SQL("SELECT {} WHERE EXISTS (SELECT FROM {})")
    return sql.SQL(" UNION ALL ").join(ask.format(sql.Literal(name), sql.Identifier(name)) for name in tables)


def _after_a_test(self: TransactionTestCase) -> None:
    empty_tables()


def install() -> None:
    """Let this be how Django's test cases, and so pytest-django's, leave the database."""
    case: Any = TransactionTestCase
    case._fixture_teardown = _after_a_test
