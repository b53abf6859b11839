"""A Celery worker's own parts: its identity and heartbeat, its log capture, its way to stop."""

from __future__ import annotations

import logging
import time
from typing import Any

from celery import bootsteps
from celery.apps.worker import Worker as CeleryWorker
from celery.apps.worker import _shutdown_handler, on_cold_shutdown
from celery.concurrency.prefork import TaskPool
from celery.platforms import EX_OK
from celery.signals import task_unknown, worker_process_init
from django.db import connection

from jobs.engine import attending, losing, quarantining
from jobs.engine.dispatching import FENCE_HEADER
from jobs.engine.records import Fence
from jobs.runtime import identity, intake, ledger, logs, pool, transport
from jobs.runtime.connections import short_connection
from jobs.runtime.heart import Heart

logger = logging.getLogger(__name__)


def install(app: Any) -> None:
    """Make this process a worker of the platform. Called once, before the pool is forked."""
    ledger.open_books(identity.new_worker_id())
    transport.guard()
    task_unknown.connect(_on_unknown_task, weak=False)
    app.steps["worker"].update((Heart, Scribe))
    worker_process_init.connect(_on_child_start, weak=False)


def _on_child_start(**_: Any) -> None:
    # Whatever connection the main process had open belongs to it: a child makes its own. It is dropped, not
    # closed: closing would say goodbye to the server in the main process's name.
    connection.connection = None
    intake.use(None)
    pool.lead_a_group()
    pool.limit_memory()
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


class Scribe(bootsteps.StartStopStep):  # type: ignore[misc]
    """Starts and records jobs for the pool's children, where the pool is one of processes."""

    requires = ("celery.worker.components:Pool",)

    def start(self, worker: Any) -> None:
        """Take messages from now on."""
        finisher = ledger.finisher()
        finisher.start()
        if not issubclass(worker.pool_cls, TaskPool) or worker.hub is None:
            return
        starter = ledger.Starter(identity.worker_id(), lambda *answer: taking.answered(*answer))
        taking = intake.Intake(worker, starter, finisher)
        starter.start()
        worker.hub.call_repeatedly(
            intake.PATIENCE_SECONDS / 2,
            lambda: taking.give_back_since(time.monotonic() - intake.PATIENCE_SECONDS),
        )
        intake.use(taking)

    def stop(self, worker: Any) -> None:
        """Take nothing any more; what the children still hand over is recorded until the worker has ended."""
        taking = intake.current()
        if taking is not None and not taking.closed:
            taking.close()

    terminate = stop


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
        taking = intake.current()
        if taking is not None and not taking.closed:
            taking.close()
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
            self.pool.no_one_is_awaited = True
            connection.close()

    def _shutdown(self, warm: bool = True) -> None:
        """Stop all parts; then, when no child can have anything to tell any more, say goodbye."""
        try:
            super()._shutdown(warm)
        finally:
            ledger.finisher().stop()
            heart = getattr(self, "heart", None)
            if heart is not None:
                heart.goodbye()
