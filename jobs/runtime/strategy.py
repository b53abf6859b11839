"""What a worker's main process does with a message before it gives it to the pool."""

from __future__ import annotations

from typing import Any

from celery.worker.strategy import default

from jobs.engine.dispatching import FENCE_HEADER

ETA_HEADER = "jadwal_eta"


def durable(task: Any, app: Any, consumer: Any) -> Any:
    """Celery's default strategy, but no message with a time to come is kept in the worker's memory.

    Such a message is a foreign one (ours have no ETA): it becomes a delayed job.
    """
    handle = default(task, app, consumer)

    def on_message(message: Any, body: Any, ack: Any, reject: Any, callbacks: Any, **kwargs: Any) -> Any:
        headers = message.headers
        if headers and headers.get("eta") and FENCE_HEADER not in headers:
            message.headers = {**headers, ETA_HEADER: headers["eta"], "eta": None}
        return handle(message, body, ack, reject, callbacks, **kwargs)

    return on_message
