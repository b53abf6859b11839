"""The database's clock: the only one that decides anything."""

from datetime import datetime

from jobs.engine import statements


def database_now() -> datetime:
    """Return what time it is, by the database."""
    now: datetime = statements.run("SELECT clock_timestamp()", {}, prepared=True)[0][0]
    return now
