"""From messages to requests: a worker starts the jobs it has been told of, many in one statement.

A message of ours is a hint, of which only the headers count. It becomes a wish (`Wanted`); the starter asks
the ledger; what has started is given to the pool, with its row. Messages of other programs, tasks with a rate
limit and other pools go Celery's own way, and the pool's child asks the ledger itself.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from celery import signals
from celery.app import trace as celery_trace
from celery.worker import state as worker_state

from jobs.engine import ending
from jobs.engine.dispatching import FENCE_HEADER
from jobs.engine.executing import Refusal
from jobs.engine.records import Fence, Started, Wanted
from jobs.runtime.ledger import Finisher, Starter
from jobs.runtime.request import DurableRequest

logger = logging.getLogger(__name__)

STARTED_HEADER = "jadwal_started"
"""Where a request carries its row to the pool's child."""

AHEAD_SECONDS = 0.02
"""How much work a worker starts ahead of its children: what they do in this time."""
MOST_AHEAD = 16
"""Jobs ahead of one child, at most."""
PATIENCE_SECONDS = 1.0
"""What no child has taken for so long is given back."""
FLUSH_SECONDS = 5.0


@dataclass(slots=True)
class Hint:
    """A message as far as Celery's request looks at it. There is nothing to acknowledge: the row counts."""

    headers: dict[str, Any]
    delivery_info: dict[str, Any]
    properties: dict[str, Any]
    body: Any = ([], {}, None)
    payload: Any = ([], {}, None)
    content_type: str | None = None
    content_encoding: str | None = None


@dataclass(slots=True)
class Lookahead:
    """How many jobs to have ready for each child: many when they take microseconds, none when they take long.

    What is started ahead of time is out of other workers' reach, so it must be little in time, not in number.
    """

    seconds: float = 1.0
    """How long jobs take, as a moving average; before the first one, as if they took long."""

    def observe(self, seconds: float) -> None:
        """Take note of a job's run time."""
        self.seconds += 0.1 * (seconds - self.seconds)

    @property
    def per_child(self) -> int:
        """Jobs to have ready for each child, beside the one that it runs."""
        return min(MOST_AHEAD, int(AHEAD_SECONDS / max(self.seconds, 1e-6)))


@dataclass(slots=True)
class Intake:
    """The messages that a worker has taken, as requests that wait for their start."""

    worker: Any
    starter: Starter
    finisher: Finisher
    requests: dict[Fence, StartedRequest] = field(default_factory=dict)
    """What waits for the starter's answer."""
    lookahead: Lookahead = field(default_factory=Lookahead)
    open: bool = True
    closed: bool = False

    def room(self) -> int:
        """Return how many more messages may be taken now: none until there is room for several at once.

        Short jobs are taken in handfuls, when half of those ahead are done; a child that is free and has
        nothing ahead of it never waits for that.
        """
        if not self.open:
            return 0
        children: int = self.worker.max_concurrency or self.worker.pool.num_processes
        ahead = self.lookahead.per_child * children
        room = children + ahead - len(worker_state.reserved_requests) - len(self.requests)
        return room if room > ahead // 2 else 0

    def takes(self, headers: Mapping[str, Any]) -> bool:
        """Whether the message with these headers is one for here; else Celery's own way is."""
        task = self.worker.app.tasks.get(headers["task"])
        return (
            isinstance(headers.get(FENCE_HEADER), int)
            and task is not None
            and not task.rate_limit
            and headers["id"] not in worker_state.revoked
            and not (headers.get("stamped_headers") and worker_state.revoked_stamps)
        )

    def take(self, headers: dict[str, Any], queue: str, properties: dict[str, Any]) -> None:
        """Take a message; a second one for the same attempt has nothing to say."""
        fence = Fence(headers["id"], headers[FENCE_HEADER])
        if fence in self.requests or _is_here(fence):
            return
        info = {**properties.get("delivery_info", {}), "routing_key": queue, "redelivered": False}
        self.starter.ask(wanted(fence, self.worker.app.tasks[headers["task"]], queue))
        self.requests[fence] = self._request(Hint(headers, info, properties))  # while the starter asks

    def answered(self, started: list[Started], refused: list[Refusal]) -> None:
        """Hand the starter's answer to the main loop (called in the starter's thread)."""
        if self.open:
            self.worker.hub.call_soon(self._deliver, started, refused)
        else:
            self.requests.clear()
            self._give_back([one.fence for one in started])

    def _deliver(self, started: list[Started], refused: list[Refusal]) -> None:
        for refusal in refused:
            logger.info("message for job %s starts nothing: %s", refusal.fence.job_id, refusal.why)
            self.requests.pop(refusal.fence, None)
        for one in started:
            request = self.requests.pop(one.fence, None)
            if request is not None:
                request.begin(one)
                self._receive(request)

    def _request(self, hint: Hint) -> StartedRequest:
        """Return what Celery's default strategy makes of a message."""
        app, consumer = self.worker.app, self.worker.consumer
        request = StartedRequest(
            hint,
            app=app,
            hostname=consumer.hostname,
            eventer=consumer.event_dispatcher,
            task=app.tasks[hint.headers["task"]],
            body=hint.body,
            headers=hint.headers,
            decoded=True,
        )
        request.lookahead = self.lookahead
        return request

    def _receive(self, request: StartedRequest) -> None:
        """Do what Celery's default strategy does with a request, for a job that has started."""
        if logger.isEnabledFor(logging.INFO):
            _announce(request)
        consumer = self.worker.consumer
        signals.task_received.send(sender=consumer, request=request)
        request.send_event(
            "task-received",
            name=request.name,
            args=request.argsrepr,
            kwargs=request.kwargsrepr,
            root_id=request.root_id,
            parent_id=request.parent_id,
            retries=request.request_dict.get("retries", 0),
        )
        worker_state.task_reserved(request)
        consumer.on_task_request(request)

    def close(self) -> None:
        """Take nothing any more; what no child has yet goes back to its queue, uncharged."""
        self.closed = True
        self.pause()
        self.starter.stop()
        self.finisher.flush(FLUSH_SECONDS)

    def pause(self) -> None:
        """Take nothing for now; what no child has yet goes back to its queue."""
        self.open = False
        self.give_back_since(math.inf)

    def resume(self) -> None:
        """Take messages again, unless it is closed."""
        self.open = not self.closed

    def give_back_since(self, moment: float) -> None:
        """Give back the jobs that wait for a child since before `moment` (CLOCK_MONOTONIC, in seconds).

        They were started because jobs were short; then one was long.
        """
        if self.worker.semaphore is None:
            return
        waiting = self.worker.semaphore._waiting
        for entry in list(waiting):
            request = entry[1][0] if entry[1] else None
            if isinstance(request, StartedRequest) and request.taken_at < moment:
                waiting.remove(entry)
                worker_state.task_ready(request)
                self._give_back([request.fence])

    def _give_back(self, fences: list[Fence]) -> None:
        for fence in fences:
            self.finisher.hand_over(ending.interrupted(fence))


def wanted(fence: Fence, task: Any, queue: str) -> Wanted:
    """Return what is asked of the ledger to start this attempt of a task."""
    return Wanted(fence, task.name, queue, float(task.time_limit or task.app.conf.task_time_limit))


def _is_here(fence: Fence) -> bool:
    """Whether this worker has the attempt: the database may have forgotten its start in a crash."""
    request = worker_state.requests.get(fence.job_id)
    return request is not None and request.fence == fence


def _announce(request: Any) -> None:
    context = {
        "id": request.id,
        "name": request.name,
        "args": request.argsrepr,
        "kwargs": request.kwargsrepr,
        "eta": None,
    }
    logging.getLogger("celery.worker.strategy").info(
        celery_trace.LOG_RECEIVED, context, extra={"data": context}
    )


class StartedRequest(DurableRequest):
    """The request of a job that this worker starts."""

    lookahead: Lookahead
    taken_at: float
    """When it was started here (CLOCK_MONOTONIC, in seconds)."""

    def begin(self, started: Started) -> None:
        """Take note that it has started: the pool's child gets the row with it."""
        self.request_dict[STARTED_HEADER] = started
        self.taken_at = time.monotonic()

    def on_success(self, failed__retval__runtime: Any, **kwargs: Any) -> Any:
        """Take note of how long it ran."""
        runtime = failed__retval__runtime[2]
        if runtime is not None:  # Celery measures successes only
            self.lookahead.observe(runtime)
        return super().on_success(failed__retval__runtime, **kwargs)


_intake: Intake | None = None


def use(intake: Intake | None) -> None:
    """Let this process's messages go through `intake`."""
    global _intake
    _intake = intake


def current() -> Intake | None:
    """Return the intake of this process, None where there is none."""
    return _intake
