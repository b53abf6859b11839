"""Who this worker is: one id for each run of a worker's main process, known to its pool children."""

from __future__ import annotations

import uuid

_worker_id: uuid.UUID | None = None


def new_worker_id() -> uuid.UUID:
    """Give this process, and every child it will fork, a new identity."""
    global _worker_id
    _worker_id = uuid.uuid4()
    return _worker_id


def worker_id() -> uuid.UUID:
    """Return the identity of the worker this process belongs to.

    Raises RuntimeError outside a worker.
    """
    if _worker_id is None:
        raise RuntimeError("this process is not part of a worker")
    return _worker_id
