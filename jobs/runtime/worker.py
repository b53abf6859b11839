"""A Celery worker's own parts: its identity and heartbeat, its log capture, its way to stop."""

from __future__ import annotations

import logging
import os
import socket
import threading
import time
from typing import Any

from celery import bootsteps
from celery.apps.worker import Worker as CeleryWorker
from celery.apps.worker import _shutdown_handler, on_cold_shutdown
from celery.platforms import EX_OK
from celery.signals import task_unknown, worker_process_init
from celery.worker import state as worker_state
from django.db import connection

from jobs.conf import conf
from jobs.engine import attending, losing, quarantining
from jobs.engine.dispatching import FENCE_HEADER
from jobs.engine.records import Fence
from jobs.runtime import identity, logs, transport
from jobs.runtime.connections import short_connection

logger = logging.getLogger(__name__)


def install(app: Any) -> None:
    """Make this process a worker of the platform. Called once, before the pool is forked."""
    identity.new_worker_id()
    transport.guard()
    task_unknown.connect(_on_unknown_task, weak=False)
    app.steps["worker"].add(Heart)
    worker_process_init.connect(_on_child_start, weak=False)


def _on_child_start(**_: Any) -> None:
    # Whatever connection the main process had open belongs to it: a child makes its own.
    connection.close()
    logs.capture()


def _on_unknown_task(message: Any = None, name: str = "", id: str = "", **_: Any) -> None:
    """A task that this worker does not have: a permanent error of a job, or a message of nobody's."""
    attempt = (message.headers or {}).get(FENCE_HEADER)
    queue = str((message.delivery_info or {}).get("routing_key") or "")
    with short_connection():
        if isinstance(attempt, int):
            losing.fail_unknown(Fence(id, attempt), task=name, queue=queue, worker_id=identity.worker_id())
        else:
            body = message.body if isinstance(message.body, bytes) else str(message.body).encode()
            quarantining.quarantine(body, queue, f"there is no task named {name!r} here")


class Heart(bootsteps.StartStopStep):  # type: ignore[misc]
    """Registers the worker and says that it is alive, from a thread and connection of its own.

    A thread, because a soft shutdown blocks the main loop; a connection of its own, because it must work
    while the main process is busy. It also brings the requests to cancel that a broadcast did not.
    """

    requires = ("celery.worker.components:Pool",)

    def __init__(self, worker: Any, **kwargs: Any) -> None:
        super().__init__(worker, **kwargs)
        self.stopping = threading.Event()
        self.thread: threading.Thread | None = None

    def start(self, worker: Any) -> None:
        """Register before the first message is taken; then beat."""
        if not worker.pool_cls.__module__.endswith("prefork"):
            logger.warning("time limits need the prefork pool: with this one, no job can be stopped")
            logs.capture()
        _until_it_works(lambda: self._register(worker))
        connection.close()
        self.thread = threading.Thread(target=self._beat, args=(worker,), name="jadwal-heart", daemon=True)
        self.thread.start()

    def stop(self, worker: Any) -> None:
        """Say goodbye: what is still active here goes back to its queue without charge."""
        if self.stopping.is_set():
            return
        self.stopping.set()
        if self.thread is not None:
            self.thread.join(timeout=5)
        try:
            attending.stop(identity.worker_id())
        except Exception:  # the database may be gone as well; the lease ends by itself then
            logger.exception("the goodbye was not recorded")
        finally:
            connection.close()

    terminate = stop

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

    def _beat(self, worker: Any) -> None:
        interval = conf().heartbeat.total_seconds()
        while not self.stopping.wait(interval):
            try:
                if not attending.beat(identity.worker_id()):
                    self._register(worker)
                for job_id in attending.cancel_requests(identity.worker_id()):
                    _terminate(worker, job_id)
            except Exception as exc:  # a heart that stops would kill a healthy worker
                logger.warning("heartbeat: %s", exc)
                connection.close()
        connection.close()


def _terminate(worker: Any, job_id: str) -> None:
    request = worker_state.requests.get(job_id)
    if request is not None:
        worker.consumer.call_soon(lambda: request.terminate(worker.pool, signal="SIGTERM"))


def _until_it_works(act: Any, pause: float = 0.5) -> None:
    while True:
        try:
            return act()  # type: ignore[no-any-return]
        except Exception as exc:  # whatever it is, a worker without a database can only wait
            logger.warning("waiting for the database: %s", exc)
            connection.close()
            time.sleep(pause)


class DurableWorker(CeleryWorker):  # type: ignore[misc]
    """A worker whose graceful stop is bounded, and ends as soon as its jobs have."""

    def install_platform_tweaks(self, worker: Any) -> None:
        """Let SIGTERM mean what it means to every supervisor: stop soon, and lose nothing.

        Celery's own SIGTERM waits without limit. Ours is its soft shutdown: jobs have
        `worker_soft_shutdown_timeout` seconds to finish, then they go back to their queue uncharged.
        """
        super().install_platform_tweaks(worker)
        _shutdown_handler(worker, sig="SIGTERM", how="Cold", callback=on_cold_shutdown, exitcode=EX_OK)

    def wait_for_soft_shutdown(self) -> None:
        """Wait until no job runs here, at most `worker_soft_shutdown_timeout` seconds.

        Celery sleeps the whole time, and counts a job as running until its main loop, which is asleep, has
        heard of its end. The rows know better.
        """
        grace = float(self.app.conf.worker_soft_shutdown_timeout or 0)
        end = time.monotonic() + grace
        try:
            running = attending.running(identity.worker_id())
            if running:
                logger.warning("stopping: %d job(s) have %g s to finish", running, grace)
            while running and time.monotonic() < end:
                time.sleep(0.1)
                running = attending.running(identity.worker_id())
        except Exception:
            logger.exception("stopping without asking the database")
        finally:
            connection.close()
