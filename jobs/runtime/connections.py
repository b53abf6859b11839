"""The database in a worker's main process."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from django.db import close_old_connections, connection


@contextmanager
def short_connection() -> Iterator[None]:
    """Use the database in the main process, and leave no open connection to children forked later."""
    close_old_connections()
    try:
        yield
    finally:
        connection.close()
