"""The Celery application whose tasks are durable.

It imports nothing of Django: the rest of the runtime is named by string and loaded when it is needed.
"""

import inspect
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Self

from celery import Celery
from celery.signals import after_setup_logger, after_setup_task_logger, celeryd_init
from uuid_utils import uuid7

from jobs.runtime import defaults, masking
from jobs.runtime.outbox import PLAIN
from jobs.runtime.settled import RememberedSettings


class _Nobody:
    """A producer of nothing: what it would publish becomes a row, for which no broker need be there."""

    @property
    def connection(self) -> Self:
        return self

    def _reraise_as_library_errors(self) -> AbstractContextManager[None]:
        return nullcontext()


_NOBODY = _Nobody()


class DurableCelery(Celery):  # type: ignore[misc]
    """Celery whose every task call is a row first and a message second."""

    task_cls = "jobs.runtime.task:DurableTask"
    amqp_cls = "jobs.runtime.outbox:DurableAMQP"
    control_cls = "jobs.runtime.control:DurableControl"
    events_cls = "jobs.runtime.events:DurableEvents"

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.on_after_configure.connect(self._settle_configuration, weak=False)
        celeryd_init.connect(self._add_worker_parts, weak=False)
        for logging_is_set_up in (after_setup_logger, after_setup_task_logger):
            logging_is_set_up.connect(masking.install, weak=False)

    def _settle_configuration(self, source: Any, **_: Any) -> None:
        """Put our defaults before Celery's, and let what is looked up be remembered.

        They come after what the project says: `add_defaults` would overrule it.
        """
        from django.core.signals import setting_changed

        source.maps.insert(len(source.maps) - 1, defaults.CELERY)
        RememberedSettings.adopt(source)
        setting_changed.connect(source.forget)

    @property
    def Worker(self) -> Any:  # noqa: N802  (Celery's own name)
        """The worker class of `celery worker`."""
        import django

        django.setup()  # Celery's own set-up of Django comes later, and our class needs the models
        return self.subclass_with_self("jobs.runtime.worker:DurableWorker")

    def _task_from_fun(self, fun: Any, name: str | None = None, base: Any = None, **options: Any) -> Any:
        """Make a task of a function; a base class of the author's own becomes durable."""
        return super()._task_from_fun(fun, name=name, base=base and self._durable(base), **options)

    def register_task(self, task: Any, **options: Any) -> Any:
        """Register a task that is a class, or an instance of one; it becomes durable."""
        if inspect.isclass(task):
            task = task()
        task.__class__ = self._durable(type(task))
        return super().register_task(task, **options)

    def _durable(self, base: type) -> type:
        """Return `base`, or a class with everything of it that is also the task class of this application."""
        if issubclass(base, self.Task):
            return base
        names = {"__module__": base.__module__, "__qualname__": base.__qualname__, "__doc__": base.__doc__}
        return type(base.__name__, (base, self.Task), names)

    def send_task(
        self,
        name: str,
        args: Any = None,
        kwargs: Any = None,
        *others: Any,
        task_id: str | None = None,
        **options: Any,
    ) -> Any:
        """Send a task; an id that nobody chose is a UUIDv7, so that ids sort by time."""
        if not others and self._is_plain(options):
            job_id = self.amqp.store_plain(task_id, name, args, kwargs, **options)
            if job_id is not None:
                result = (options.get("result_cls") or self.AsyncResult)(job_id)
                result.ignored = options.get("ignore_result")
                return result
        if not (options.get("producer") or options.get("connection") or options.get("publisher")):
            options["producer"] = _NOBODY
        return super().send_task(name, args, kwargs, *others, task_id=task_id or str(uuid7()), **options)

    def _is_plain(self, options: dict[str, Any]) -> bool:
        """Whether a call of a task from outside of a task says nothing for which Celery would make a message."""
        return (
            options.get("task_type") is not None
            and all(options[key] is None for key in options.keys() - PLAIN)
            and not self.current_worker_task
        )

    def _add_worker_parts(self, **_: Any) -> None:
        """Make this process a worker: its heartbeat, its logs, its guards."""
        from jobs.runtime import worker

        worker.install(self)
