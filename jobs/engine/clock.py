"""The database's clock: the only one that decides anything."""

from datetime import datetime

from django.db import connection


def database_now() -> datetime:
    """Return what time it is, by the database."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT clock_timestamp()")
        row = cursor.fetchone()
    now: datetime = row[0]
    return now
