"""The worker's main process as the scribe of its children: starts and plain ends of many jobs in one commit.

Two threads, each with a database connection of its own: one starts the jobs that messages ask for, one
records what the children hand over. Both are independent of Celery's event loop, which may be busy looking
for its broker. Whoever waits for the disk waits once for all that came meanwhile.
"""

from __future__ import annotations

import logging
import os
import pickle
import queue
import socket
import threading
import time
from collections.abc import Callable, Sequence
from uuid import UUID

from django.db import connection

from jobs.engine import executing, finishing, spooling
from jobs.engine.ending import Ending
from jobs.engine.executing import Refusal
from jobs.engine.records import Started, Wanted

logger = logging.getLogger(__name__)

MOST_TOGETHER = 200
"""Ends or starts in one statement."""
MOST_BYTES = 100_000
"""An ending that is larger than this is recorded by the child itself."""
LINGER_SECONDS = 0.01
"""How long the finisher waits for company, when there was some the last time."""
PAUSE_MOST = 2.0

Answer = Callable[[list[Started], list[Refusal]], None]


class Starter(threading.Thread):
    """Starts jobs, as many at once as were asked for meanwhile, and tells `answer`, in its own thread."""

    def __init__(self, worker_id: UUID, answer: Answer) -> None:
        super().__init__(name="jadwal-starter", daemon=True)
        self.worker_id = worker_id
        self.answer = answer
        self.asked: queue.SimpleQueue[Wanted | None] = queue.SimpleQueue()

    def ask(self, wanted: Wanted) -> None:
        """Ask for the start of an attempt."""
        self.asked.put(wanted)

    def stop(self) -> None:
        """Start nothing any more."""
        self.asked.put(None)

    def run(self) -> None:
        """Start what is asked for until told to stop."""
        while (wanted := self._next()) is not None:
            try:
                self.answer(*self._start(wanted))
            except Exception as exc:  # the reconciler sends these messages again
                logger.exception("starting %d job(s) failed", len(wanted))
                self.answer([], [Refusal(one.fence, str(exc)) for one in wanted])
        connection.close()

    def _next(self) -> list[Wanted] | None:
        first = self.asked.get()
        if first is None:
            return None
        batch = [first]
        while len(batch) < MOST_TOGETHER and not self.asked.empty():
            more = self.asked.get()
            if more is None:
                self.asked.put(None)
                break
            batch.append(more)
        return batch

    def _start(self, wanted: Sequence[Wanted]) -> tuple[list[Started], list[Refusal]]:
        """Start them, however long the database is away.

        A start that was committed although its answer was lost is refused the second time; the heart finds
        such an attempt, which nobody runs.
        """
        pause = 0.1
        while True:
            try:
                return executing.start(wanted, worker_id=self.worker_id)
            except finishing.DATABASE_TROUBLE as exc:
                logger.warning("the start of %d job(s) waits for the database: %s", len(wanted), exc)
                connection.close()
                time.sleep(pause)
                pause = min(2 * pause, PAUSE_MOST)


class Finisher(threading.Thread):
    """Records the ends that the pool's children hand over by a socket that they inherit."""

    def __init__(self, worker_id: UUID) -> None:
        super().__init__(name="jadwal-finisher", daemon=True)
        self.worker_id = worker_id
        # One message, one ending: sequenced packets are whole, whoever writes at the same time.
        self.reader, self.writer = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        for end in (self.reader, self.writer):
            end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
        self.flushed: dict[bytes, threading.Event] = {}
        self.busy = False

    def hand_over(self, end: Ending) -> bool:
        """Give an ending to the main process (called in a child); return False if it has to do it itself."""
        packet = pickle.dumps(end, pickle.HIGHEST_PROTOCOL)
        if len(packet) > MOST_BYTES:
            return False
        try:
            self.writer.send(packet)
        except OSError:  # the main process has gone, and so will this one
            return False
        return True

    def flush(self, timeout: float) -> bool:
        """Wait until all that was handed over before is recorded; return False if that takes too long."""
        if not self.is_alive():
            return False
        token = os.urandom(8)
        done = self.flushed[token] = threading.Event()
        self.writer.send(_FLUSH + token)
        try:
            return done.wait(timeout)
        finally:
            self.flushed.pop(token, None)

    def stop(self, timeout: float = 5.0) -> None:
        """Record what is there, and end."""
        if self.is_alive():
            self.writer.send(_STOP)
            self.join(timeout)

    def run(self) -> None:
        """Record what arrives until told to stop."""
        running = True
        while running:
            packets = self._next()
            ends = [pickle.loads(packet) for packet in packets if not packet.startswith(_MARKS)]  # noqa: S301
            if ends:
                self._record(ends)
            for packet in packets:
                if packet.startswith(_FLUSH) and (done := self.flushed.get(packet[len(_FLUSH) :])):
                    done.set()
                running = running and packet != _STOP
        connection.close()

    def _next(self) -> list[bytes]:
        packets = [self.reader.recv(MOST_BYTES)]
        if self.busy:
            time.sleep(LINGER_SECONDS)
        while len(packets) < MOST_TOGETHER:
            try:
                packets.append(self.reader.recv(MOST_BYTES, socket.MSG_DONTWAIT))
            except BlockingIOError:
                break
        self.busy = len(packets) > 1
        return packets

    def _record(self, ends: Sequence[Ending]) -> None:
        for _ in range(2):  # the second time on a new connection: the first one may be that of a restart
            try:
                finishing.record(ends)
                return
            except finishing.DATABASE_TROUBLE as exc:
                logger.warning("%d outcome(s) wait for the database: %s", len(ends), exc)
                connection.close()
            except Exception:
                logger.exception("%d outcome(s) cannot be recorded together", len(ends))
                self._record_singly(ends)
                return
        for end in ends:
            spooling.keep(end, str(self.worker_id))

    def _record_singly(self, ends: Sequence[Ending]) -> None:
        """One that the database refuses must not take the others with it."""
        for end in ends:
            try:
                finishing.record_or_fail(end)
            except finishing.DATABASE_TROUBLE:
                connection.close()
                spooling.keep(end, str(self.worker_id))


_finisher: Finisher | None = None


def open_books(worker_id: UUID) -> Finisher:
    """Make this process's finisher; the children that are forked from now on can hand over to it."""
    global _finisher
    _finisher = Finisher(worker_id)
    return _finisher


def finisher() -> Finisher:
    """Return the finisher of this worker.

    Raises RuntimeError outside a worker.
    """
    if _finisher is None:
        raise RuntimeError("this process is not part of a worker")
    return _finisher


_FLUSH, _STOP = b"flush:", b"stop:"
_MARKS = (_FLUSH, _STOP)  # a pickle begins with 0x80
