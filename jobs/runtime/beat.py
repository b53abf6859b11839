"""`celery beat`: our scheduler class. Start as many as you like."""

from __future__ import annotations

import logging
import os
import select
import socket
import time
from datetime import datetime
from typing import Any
from uuid import uuid4

import psycopg
from celery.beat import Scheduler
from django.db import DatabaseError, InterfaceError, connection
from django_celery_beat.schedulers import DatabaseScheduler

from jobs.conf import conf
from jobs.engine import beats
from jobs.engine.clock import database_now
from jobs.engine.doorbell import doorbell
from jobs.engine.ticking import Ticker, Turn

logger = logging.getLogger(__name__)

CHANNEL = "jadwal_schedules"
"""NOTIFY channel of the triggers: a schedule was edited."""

POLL_SECONDS = 1.0
BACKOFF_SECONDS = 1.0
HELD_SECONDS = 0.1
"""Before what is due, but in somebody else's hands, is looked at again."""


class Pulse:
    """This process in the register of beats: one small statement for each heartbeat interval."""

    def __init__(self) -> None:
        self.id = uuid4()
        self.turns = 0
        self.error = ""
        """What went wrong and is not in the register yet."""
        self.failures = 0
        self.last: float | None = None

    def beat(self) -> None:
        """Say that this beat turns, if it is time to."""
        now = time.monotonic()
        if self.last is not None and now - self.last < conf().heartbeat.total_seconds():
            return
        if doorbell.failures > self.failures:
            self.error = doorbell.trouble
        failures = doorbell.failures
        beats.beat(
            self.id,
            host=socket.gethostname(),
            pid=os.getpid(),
            turns=self.turns,
            publish_failures=failures,
            error=self.error,
        )
        self.last, self.failures, self.error = now, failures, ""

    def stop(self) -> None:
        """Say goodbye, once, if there was a hello."""
        if self.last is None:
            return
        self.last = None
        connection.close()  # SIGTERM may have come in the middle of a statement
        try:
            beats.stop(self.id)
        except (DatabaseError, InterfaceError) as exc:  # then its silence will tell
            logger.warning("the goodbye was not recorded: %s", " ".join(str(exc).split()))
        finally:
            connection.close()


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
        self.pulse = Pulse()
        self.ear: psycopg.Connection[Any] | None = None

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
        """Say goodbye and let go of the listening connection; harmless the second time."""
        self.pulse.stop()
        self._hang_up()

    def tick(self, *args: Any, **kwargs: Any) -> float:
        """Do one turn and wait for the next; return the seconds the caller should sleep on top.

        Trouble with the database must not end beat: it is logged, and tried again.
        """
        began = time.monotonic()
        try:
            now = database_now()
            self.pulse.beat()
            turn = self.ticker.tick(now)
        except (DatabaseError, InterfaceError, psycopg.Error, OSError) as exc:
            logger.warning("beat waits for the database: %s", " ".join(str(exc).split()))
            self.ticker.disconnected()
            connection.close()
            self._hang_up()
            return BACKOFF_SECONDS
        except Exception as exc:  # a beat that ends schedules nothing at all; the turn is tried again
            logger.exception("beat: this turn failed")
            self.pulse.error = f"A turn failed: {type(exc).__name__}: {exc}"
            connection.close()
            return BACKOFF_SECONDS
        self.pulse.turns += 1
        if turn.claimed or turn.promoted:
            logger.debug("beat: %s", turn)
        self._wait(_pause(turn, now, time.monotonic() - began))
        return 0.0

    def _wait(self, seconds: float) -> None:
        """Sleep, but wake at once when a schedule was edited."""
        if seconds <= 0:
            return
        ear = self._listening()
        if ear is None:
            time.sleep(seconds)
            return
        ready, _, _ = select.select([ear.fileno()], [], [], seconds)
        if ready:
            try:
                for _ in ear.notifies(timeout=0):
                    pass
            except psycopg.Error:
                self._hang_up()

    def _listening(self) -> psycopg.Connection[Any] | None:
        """Return the connection that hears of edits; None where LISTEN is not to be had (poll then)."""
        if self.ear is None:
            try:
                params = connection.get_connection_params()
                params.pop("cursor_factory", None)
                params.pop("context", None)
                self.ear = psycopg.connect(**params, autocommit=True)
                self.ear.execute(f"LISTEN {CHANNEL}")
            except psycopg.Error as exc:
                logger.warning("beat polls once a second, it cannot LISTEN: %s", exc)
                self.ear = None
        return self.ear

    def _hang_up(self) -> None:
        if self.ear is not None:
            self.ear.close()
            self.ear = None


def _pause(turn: Turn, now: datetime, elapsed: float) -> float:
    """Return how long to wait, by the database's clock: local clocks decide nothing."""
    if turn.next_at is None:
        return POLL_SECONDS
    if turn.next_at <= now and turn.is_idle:
        return HELD_SECONDS
    return min(POLL_SECONDS, max(0.0, (turn.next_at - now).total_seconds() - elapsed))
