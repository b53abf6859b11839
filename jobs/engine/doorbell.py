"""This process's connections to Redis, through which messages go, and what it knows about Redis's health."""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from celery import current_app
from kombu.exceptions import OperationalError
from redis.exceptions import RedisError

BROKER_ERRORS = (OperationalError, RedisError, OSError)
MUTE_SECONDS = 2.0
"""After a failure nothing is asked of the broker for this long, so that callers do not queue up on time-outs."""


@dataclass(slots=True)
class _Wire:
    """A connection to Redis, and how many replies are still to be read from it."""

    connection: Any
    owed: int = 0

    def settle(self) -> None:
        """Read the replies that are owed. Raises what Redis has to say against it, or that it has gone."""
        while self.owed:
            self.owed -= 1
            self.connection.read_response()

    def renew(self) -> None:
        """Connect anew if the other side has hung up: nobody listens to a connection that is kept."""
        try:
            is_quiet = not self.connection.can_read()
        except BROKER_ERRORS:
            is_quiet = False
        if not is_quiet:
            self.connection.disconnect()
            self.connection.connect()


class Line:
    """A process's own connections to Redis, kept: to borrow one takes longer than to send a message.

    Threads may share it: whoever sends has a wire for himself.
    """

    def __init__(self) -> None:
        self.process = os.getpid()
        self.broker = current_app.connection_for_write()
        self.channel = self.broker.default_channel
        self.connections = self.channel.client.connection_pool
        self.idle: deque[_Wire] = deque()

    def holds(self) -> bool:
        """Whether it is this process's, and not of the one that this was forked from."""
        return self.process == os.getpid()

    def key(self, queue: str, priority: int | None) -> str:
        """Return the name of the list of a queue's messages of one priority."""
        return str(self.channel._q_for_pri(queue, priority or 0))

    def send(self, commands: Sequence[tuple[Any, ...]], *, wait: bool) -> None:
        """Send `commands` in one go; `wait` for the replies, or leave them to whoever sends next."""
        wire = self._take()
        try:
            wire.settle()
            wire.renew()
            wire.connection.send_packed_command(wire.connection.pack_commands(commands))
            wire.owed = len(commands)
            if wait:
                wire.settle()
        except BaseException:
            wire.connection.disconnect()  # it may hold replies that nobody has read
            self.connections.release(wire.connection)
            raise
        self.idle.append(wire)

    def _take(self) -> _Wire:
        try:
            return self.idle.pop()
        except IndexError:
            return _Wire(self.connections.get_connection())


class _Doorbell:
    """What this process knows about the broker: whether it has just failed, and how often it has.

    One for everything that this process asks of Redis, so that a turn of beat waits for one time-out at most.
    """

    def __init__(self) -> None:
        self.muted_until = 0.0
        self.failures = 0
        """Publishes that the broker did not take, since this process began."""
        self.trouble = ""
        """How the last question to the broker ended that was not answered."""
        self._line: Line | None = None

    def is_muted(self) -> bool:
        return time.monotonic() < self.muted_until

    def mute(self, exc: BaseException) -> str:
        """Leave the broker alone for a moment; return what is wrong with it."""
        self.muted_until = time.monotonic() + MUTE_SECONDS
        self.hang_up()  # there may be another broker to fail over to
        text = " ".join(str(exc).split()).rpartition(" of pipeline caused error: ")[2]  # not the message
        self.trouble = f"{type(exc).__name__}: {text}"
        return self.trouble

    def unmute(self) -> None:
        self.muted_until = 0.0

    def hang_up(self) -> None:
        """Connect anew for the next message, to the broker that Celery is then configured for."""
        self._line = None

    def line(self) -> Line:
        """Return this process's line to the broker. Raises one of `BROKER_ERRORS` if there is no broker."""
        if self._line is None or not self._line.holds():
            self._line = Line()
        return self._line


doorbell = _Doorbell()
