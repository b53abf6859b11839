"""The worker's pool of children: each leads a process group, and nothing of it outlives it."""

from __future__ import annotations

import logging
import os
import resource
import signal
import time
from typing import Any

from celery.concurrency.asynpool import AsynPool
from celery.concurrency.prefork import TaskPool

from jobs.conf import conf
from jobs.runtime.deadlines import Deadlines

logger = logging.getLogger(__name__)

LOOK_SECONDS = 0.5
"""How often the pool looks for dead children, beside being told of them."""


def lead_a_group() -> None:
    """Make this pool child the leader of a group, so that what its tasks start can be ended with it."""
    os.setpgid(0, 0)


def limit_memory() -> None:
    """Bound the memory of this pool child, where the operator wants that (JADWAL_MEMORY_LIMIT_MB).

    RLIMIT_DATA counts what a process can write to and shares with nobody; programs and shared libraries
    do not count. What its tasks start inherits the limit, each process for itself.
    """
    limit = conf().memory_limit
    if limit is not None:
        resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))


def end_group(leader: int) -> None:
    """SIGKILL whatever is left of the group of a pool child that has ended."""
    try:
        os.killpg(leader, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        return
    logger.warning("the pool child %d left processes behind: they are killed", leader)


class GroupPool(AsynPool):  # type: ignore[misc]
    """Celery's pool, which cleans up after children that died, and keeps no timer for what has ended."""

    deadlines: Deadlines | None = None

    def _create_timelimit_handlers(self, hub: Any) -> None:
        """Watch over time limits with one timer (`Deadlines`). Called again when the broker is back."""
        if self.deadlines is None:
            self.deadlines = Deadlines()
        deadlines = self.deadlines

        def arm() -> None:
            moment = deadlines.arm()
            if moment is not None:
                hub.call_at(moment, look)

        def look() -> None:
            for due in deadlines.take_due(time.monotonic()):
                result = self._cache.get(due.job)
                if result is not None:
                    (self.on_soft_timeout if due.soft else self.on_hard_timeout)(result)
            arm()

        def on_timeout_set(result: Any, soft: float | None, hard: float | None) -> None:
            if not result.ready():  # its end may be read before its beginning
                deadlines.begin(result._job, time.monotonic(), soft, hard)
                arm()

        self.on_timeout_set = on_timeout_set
        self.on_timeout_cancel = lambda result: deadlines.end(result._job)

    @property
    def timers(self) -> dict[Any, float]:
        """What the event loop calls from time to time.

        Celery is told of a child's death when its pipes close, and looks at once; but then it may not be a
        zombie yet, and is only found by the next look.
        """
        return {self.maintain_pool: LOOK_SECONDS}

    def _join_exited_workers(self, shutdown: bool = False) -> Any:
        before = self.leaders()
        try:
            return super()._join_exited_workers(shutdown)
        finally:
            for leader in before - self.leaders():
                end_group(leader)

    @classmethod
    def _help_stuff_finish(cls, pool: Any) -> None:
        """Do not wait for what the children have not read: it is nobody's, and its jobs are waiting again."""

    def leaders(self) -> set[int]:
        """Return the process ids of the children."""
        return {child.pid for child in self._pool}


class DurablePool(TaskPool):  # type: ignore[misc]
    """The prefork pool over `GroupPool`."""

    Pool = GroupPool
    no_one_is_awaited = False
    """Whether the ends of all jobs are known, so that a stop need not wait to hear of them."""

    def on_stop(self) -> None:
        """Stop the children, and what they have started."""
        self._and_their_groups(self.on_terminate if self.no_one_is_awaited else super().on_stop)

    def on_terminate(self) -> None:
        """Kill the children, and what they have started."""
        self._and_their_groups(self._kill)

    def _kill(self) -> None:
        if self._pool is not None:
            self._pool._result_handler.terminate()  # else it reads what cancelled jobs may say, for half a second
        super().on_terminate()

    def _and_their_groups(self, act: Any) -> None:
        leaders = self._pool.leaders() if self._pool is not None else set()
        try:
            act()
        finally:
            for leader in leaders:
                end_group(leader)
