"""The part of a worker's main process that talks to the broker."""

from __future__ import annotations

from functools import partial
from typing import Any

from celery.worker.consumer import Consumer

from jobs.runtime import intake

RETRY_FIRST, RETRY_STEP, RETRY_MOST = 1.0, 1.0, 5.0
"""Seconds between attempts to reach the broker: 1, 2, 3, 4, 5, 5, 5 ..."""


class DurableConsumer(Consumer):  # type: ignore[misc]
    """Celery's consumer, but one that is back within seconds of a broker that was away for long.

    Celery's own pauses grow to half a minute: for so long nobody would take jobs though everything is well.
    """

    def ensure_connected(self, conn: Any) -> Any:
        """Wait for the broker, however long that takes; return the connection."""
        conn.ensure_connection = partial(
            conn.ensure_connection,
            interval_start=RETRY_FIRST,
            interval_step=RETRY_STEP,
            interval_max=RETRY_MOST,
        )
        return super().ensure_connected(conn)

    def on_ready(self) -> None:
        """Take messages (again)."""
        taking = intake.current()
        if taking is not None:
            taking.resume()
        super().on_ready()

    def on_close(self) -> None:
        """The broker is gone: what no child has yet would wait with it, so it goes back to its queue."""
        taking = intake.current()
        if taking is not None:
            taking.pause()
        super().on_close()
