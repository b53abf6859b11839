"""The Celery application whose tasks are durable.

It imports nothing of Django: the rest of the runtime is named by string and loaded when it is needed.
"""

from typing import Any

from celery import Celery
from celery.signals import celeryd_init
from uuid_utils import uuid7


class DurableCelery(Celery):  # type: ignore[misc]
    """Celery whose every task call is a row first and a message second."""

    task_cls = "jobs.runtime.task:DurableTask"
    amqp_cls = "jobs.runtime.outbox:DurableAMQP"

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        celeryd_init.connect(self._add_worker_parts, weak=False)

    @property
    def Worker(self) -> Any:  # noqa: N802  (Celery's own name)
        """The worker class of `celery worker`."""
        import django

        django.setup()  # Celery's own set-up of Django comes later, and our class needs the models
        return self.subclass_with_self("jobs.runtime.worker:DurableWorker")

    def send_task(self, name: str, *args: Any, task_id: str | None = None, **options: Any) -> Any:
        """Send a task; an id that nobody chose is a UUIDv7, so that ids sort by time."""
        return super().send_task(name, *args, task_id=task_id or str(uuid7()), **options)

    def _add_worker_parts(self, **_: Any) -> None:
        """Make this process a worker: its heartbeat, its logs, its guards."""
        from jobs.runtime import worker

        worker.install(self)
