"""The only door for domain apps.

    from celery import shared_task
    from jobs.public import Permanent, context

    @shared_task
    def charge(invoice_id: int) -> None:
        billing.charging.charge(invoice_id, idempotency_key=context().job_id)

Tasks are Celery tasks. This module adds what a task may want to know and to say.
"""

from jobs.engine.context import JobContext, NoJobError, Occasion, context, occasion
from jobs.engine.payload import PayloadError, PayloadTooLarge
from jobs.runtime.bulk import enqueue_many
from jobs.runtime.errors import Permanent, RetryAfter

__all__ = [
    "JobContext",
    "NoJobError",
    "Occasion",
    "PayloadError",
    "PayloadTooLarge",
    "Permanent",
    "RetryAfter",
    "context",
    "enqueue_many",
    "occasion",
]
