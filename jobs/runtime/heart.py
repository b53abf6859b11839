"""The heart of a worker: it says that the worker is alive, and compares what runs with the ledger.

A thread, because a soft shutdown blocks the main loop; a connection of its own, because it must work while
the main process is busy.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

from celery import bootsteps
from celery.concurrency.prefork import TaskPool
from celery.worker import state as worker_state
from django.db import connection

from jobs.conf import conf
from jobs.engine import attending, finishing, lifecycle, losing
from jobs.engine.attending import Look
from jobs.runtime import identity, intake, ledger, logs
from jobs.runtime.intake import StartedRequest
from jobs.runtime.request import DurableRequest

logger = logging.getLogger(__name__)

FLUSH_SECONDS = 5.0


class Heart(bootsteps.StartStopStep):  # type: ignore[misc]
    """Registers the worker, and beats.

    With each beat it records outcomes that were kept on disk, stops what somebody wants stopped, and puts
    right what the ledger and this process do not agree on: an attempt that is no longer ours is killed (the
    worker was silent for its lease, and another has the job), one that nobody runs counts as a crash.
    """

    requires = ("celery.worker.components:Pool",)

    def __init__(self, worker: Any, **kwargs: Any) -> None:
        super().__init__(worker, **kwargs)
        self.stopping = threading.Event()
        self.thread: threading.Thread | None = None
        self.seen = Look()
        worker.heart = self

    def start(self, worker: Any) -> None:
        """Register before the first message is taken; then beat."""
        if not issubclass(worker.pool_cls, TaskPool):
            logger.warning("time limits need the prefork pool: with this one, no job can be stopped")
            logs.capture()
        _until_it_works(lambda: self._register(worker))
        connection.close()
        self.thread = threading.Thread(target=self._run, args=(worker,), name="jadwal-heart", daemon=True)
        self.thread.start()

    def stop(self, worker: Any) -> None:
        """Beat on: the pool, which stops after this, may still have jobs. `goodbye` is the end."""

    terminate = stop

    def goodbye(self) -> None:
        """Stop beating and say so: what is still active here goes back to its queue without charge."""
        if self.thread is None or self.stopping.is_set():
            return
        self.stopping.set()
        self.thread.join(timeout=5)
        try:
            attending.stop(identity.worker_id())
        except Exception:  # the database may be gone as well; the lease ends by itself then
            logger.exception("the goodbye was not recorded")
        finally:
            connection.close()

    def _register(self, worker: Any) -> None:
        attending.register(
            identity.worker_id(),
            name=worker.hostname,
            host=socket.gethostname(),
            pid=os.getpid(),
            queues=sorted(worker.app.amqp.queues.consume_from),
            concurrency=worker.concurrency or 1,
            tasks=sorted(name for name in worker.app.tasks if not name.startswith("celery.")),
        )

    def _run(self, worker: Any) -> None:
        interval = conf().heartbeat.total_seconds()
        first = True
        while first or not self.stopping.wait(interval):
            try:
                self.beat(worker, everything=first)
                first = False
            except Exception as exc:  # a heart that stops would kill a healthy worker
                logger.warning("heartbeat: %s", exc)
                connection.close()
                self.stopping.wait(min(1.0, interval))
        connection.close()

    def beat(self, worker: Any, *, everything: bool = False) -> None:
        """Do one beat. `everything`: record also what workers that are gone have left on disk."""
        if not attending.beat(identity.worker_id()):
            self._register(worker)
        # Before the comparison: an outcome on disk is not an attempt that nobody runs.
        finishing.replay_spool(str(identity.worker_id()), everything=everything)
        running = {request.fence: request for request in _running()}
        taking = intake.current()
        waiting = tuple(taking.requests) if taking is not None else ()
        # Ends that the children have handed over, but that are not in the ledger yet, are nobody's loss.
        if not ledger.finisher().flush(FLUSH_SECONDS):
            return
        started = {fence for fence, request in running.items() if isinstance(request, StartedRequest)}
        look = attending.look(identity.worker_id(), (*running, *waiting), started=started)
        for fence, request in running.items():
            if fence.job_id in look.to_cancel:
                _terminate(worker, request)
        _start_again([running[fence] for fence in look.forgotten])
        for fence in look.lost & self.seen.lost & running.keys():
            _kill(running[fence])
        for fence in look.orphans & self.seen.orphans:
            losing.crashed(fence, "Its worker does not run it any more.")
        self.seen = look


def _running() -> Iterator[DurableRequest]:
    """Yield what this worker has taken: given to a child, or about to be."""
    yield from list(worker_state.requests.values())


def _terminate(worker: Any, request: DurableRequest) -> None:
    worker.consumer.call_soon(lambda: request.terminate(worker.pool, signal="SIGTERM"))


def _start_again(requests: list[DurableRequest]) -> None:
    """Start once more what runs here all the while: the database crashed before the starts were on its disk."""
    wanted = [
        intake.wanted(request.fence, request.task, request.delivery_info["routing_key"])
        for request in requests
    ]
    for one in lifecycle.start(
        wanted, worker_id=identity.worker_id(), margin=conf().lease, within_limits=True
    ):
        logger.warning(
            "the start of job %s attempt %d was forgotten, and is recorded again",
            one.fence.job_id,
            one.fence.attempt,
        )


def _kill(request: DurableRequest) -> None:
    """End an attempt that another worker has taken over; its late finish would change nothing."""
    logger.error(
        "job %s attempt %d is no longer ours: this worker was silent for its lease. It is stopped here",
        request.fence.job_id,
        request.fence.attempt,
    )
    if (
        request.worker_pid and request in worker_state.active_requests
    ):  # else the child has another job by now
        with suppress(ProcessLookupError):
            os.kill(request.worker_pid, signal.SIGKILL)


def _until_it_works(act: Callable[[], None], pause: float = 0.5) -> None:
    while True:
        try:
            return act()
        except Exception as exc:  # whatever it is, a worker without a database can only wait
            logger.warning("waiting for the database: %s", exc)
            connection.close()
            time.sleep(pause)
