"""`celery beat`: our scheduler class. Start as many as you like."""

from __future__ import annotations

import logging
import select
import time
from datetime import datetime
from typing import Any

import psycopg
from celery.beat import Scheduler
from django.db import DatabaseError, InterfaceError, connection
from django_celery_beat.schedulers import DatabaseScheduler

from jobs.engine.clock import database_now
from jobs.engine.ticking import Ticker

logger = logging.getLogger(__name__)

CHANNEL = "jadwal_schedules"
"""NOTIFY channel of the triggers: a schedule was edited."""

POLL_SECONDS = 1.0
BACKOFF_SECONDS = 1.0


class DurableScheduler(DatabaseScheduler):  # type: ignore[misc]
    """Turns of `Ticker`, and waiting for the next one.

    It keeps no schedule in memory, so there is nothing to reload and nothing to write back. It is made
    twice by Celery's banner, and closed twice at SIGTERM: neither has an effect. It derives from
    `DatabaseScheduler` because django-celery-beat's admin looks for that.
    """

    def __init__(self, app: Any, *args: Any, max_interval: float | None = None, **kwargs: Any) -> None:
        kwargs["lazy"] = True  # what the parent would load here does not exist
        Scheduler.__init__(self, app, *args, max_interval=max_interval or POLL_SECONDS, **kwargs)
        self.ticker = Ticker()
        self.doorbell: psycopg.Connection[Any] | None = None

    def setup_schedule(self) -> None:
        """There is nothing to load."""

    @property
    def schedule(self) -> dict[str, Any]:
        """Nothing is held in memory."""
        return {}

    @property
    def info(self) -> str:
        return "    . schedules -> PostgreSQL, claimed by any number of beats"

    def should_sync(self) -> bool:
        """There is nothing to write back."""
        return False

    def sync(self) -> None:
        """There is nothing to write back."""

    def close(self) -> None:
        """Let go of the listening connection; harmless the second time."""
        if self.doorbell is not None:
            self.doorbell.close()
            self.doorbell = None

    def tick(self, *args: Any, **kwargs: Any) -> float:
        """Do one turn and wait for the next; return the seconds the caller should sleep on top.

        Trouble with the database must not end beat: it is logged, and tried again.
        """
        began = time.monotonic()
        try:
            now = database_now()
            turn = self.ticker.tick(now)
        except (DatabaseError, InterfaceError, psycopg.Error, OSError) as exc:
            logger.warning("beat waits for the database: %s", " ".join(str(exc).split()))
            self.ticker.disconnected()
            connection.close()
            self.close()
            return BACKOFF_SECONDS
        except Exception:  # a beat that ends schedules nothing at all; the turn is tried again
            logger.exception("beat: this turn failed")
            connection.close()
            return BACKOFF_SECONDS
        if turn.claimed or turn.promoted:
            logger.debug("beat: %s", turn)
        self._wait(_pause(turn.next_at, now, time.monotonic() - began))
        return 0.0

    def _wait(self, seconds: float) -> None:
        """Sleep, but wake at once when a schedule was edited."""
        if seconds <= 0:
            return
        doorbell = self._listening()
        if doorbell is None:
            time.sleep(seconds)
            return
        ready, _, _ = select.select([doorbell.fileno()], [], [], seconds)
        if ready:
            try:
                for _ in doorbell.notifies(timeout=0):
                    pass
            except psycopg.Error:
                self.close()

    def _listening(self) -> psycopg.Connection[Any] | None:
        """Return the connection that hears of edits; None where LISTEN is not to be had (poll then)."""
        if self.doorbell is None:
            try:
                params = connection.get_connection_params()
                params.pop("cursor_factory", None)
                params.pop("context", None)
                self.doorbell = psycopg.connect(**params, autocommit=True)
                self.doorbell.execute(f"LISTEN {CHANNEL}")
            except psycopg.Error as exc:
                logger.warning("beat polls once a second, it cannot LISTEN: %s", exc)
                self.doorbell = None
        return self.doorbell


def _pause(next_at: datetime | None, now: datetime, elapsed: float) -> float:
    """Return how long to wait, by the database's clock: local clocks decide nothing."""
    if next_at is None:
        return POLL_SECONDS
    return min(POLL_SECONDS, max(0.0, (next_at - now).total_seconds() - elapsed))
