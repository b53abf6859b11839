"""What happens when Celery would publish a task: a job row is written instead.

This is the one place through which every call passes in Celery: `.delay()`, `apply_async`, `send_task`,
chains, groups, chords, links, `self.retry()` and `self.replace()`. By then Celery has worked out the
message (options, routes, canvas, stamps); we store it.
"""

from __future__ import annotations

from datetime import UTC, datetime
from numbers import Real
from typing import Any

from celery import signals
from celery.app.amqp import AMQP
from celery.app.routes import MapRoute, Router
from celery.utils.time import maybe_iso8601

from jobs.rules.redaction import summary

CANVAS = ("callbacks", "errbacks", "chain", "chord")
"""What Celery puts beside the arguments in a message body."""

NOT_STORED = frozenset(
    {"lang", "task", "id", "eta", "expires", "retries", "timelimit", "argsrepr", "kwargsrepr", "origin"}
)
"""Headers that have a column of their own, or that are made anew for each message."""


_USUAL = {"ignore_result": False, "replaced_task_nesting": 0}

_WITHOUT_EFFECT = frozenset(
    {"producer", "publisher", "serializer", "delivery_mode", "immediate", "mandatory"}
)
"""What a call may say of its message, which is ours, and not the caller's."""
PLAIN = _WITHOUT_EFFECT | {
    "task_type",
    "result_cls",
    "ignore_result",
    "priority",
    "time_limit",
    "soft_time_limit",
}
"""What a call may say without being more than plain (`DurableAMQP.store_plain`)."""


class RememberingRouter(Router):  # type: ignore[misc]
    """Celery's router, which remembers where a task goes of which a call says nothing.

    It does while all routes are maps, which look at the name alone. Celery makes another when the routes change.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._known: dict[tuple[str, str], dict[str, Any]] = {}
        self._remembers = all(isinstance(route, MapRoute) for route in self.routes)

    def usual(self, name: str, args: Any, kwargs: Any, task_type: Any) -> dict[str, Any]:
        """Return the route of a call without options."""
        if not self._remembers:
            return self.route({}, name, args, kwargs, task_type)  # type: ignore[no-any-return]
        key = (name, self.app.conf.task_default_queue)
        if key not in self._known:
            self._known[key] = self.route({}, name, args, kwargs, task_type)
        return self._known[key]


class DurableAMQP(AMQP):  # type: ignore[misc]
    """AMQP whose `send_task_message` stores a job."""

    def Router(self, queues: Any = None, create_missing: bool | None = None) -> RememberingRouter:  # noqa: N802
        """Return the router of the routes as they are now."""
        create_missing = self.app.either("task_create_missing_queues", create_missing)
        return RememberingRouter(self.routes, queues or self.queues, create_missing, app=self.app)

    def as_task_v2(
        self,
        task_id: str,
        name: str,
        args: Any = None,
        kwargs: Any = None,
        countdown: float | None = None,
        eta: Any = None,
        group_id: str | None = None,
        group_index: int | None = None,
        expires: Any = None,
        *others: Any,
        **options: Any,
    ) -> Any:
        """Make a message; what is said in seconds from now counts from the database's now, not from ours."""
        if countdown or isinstance(expires, Real):
            options.setdefault("now", _now())
        for shown in ("argsrepr", "kwargsrepr"):
            options.setdefault(shown, "")  # made anew for each message, without secrets
        return super().as_task_v2(
            task_id, name, args, kwargs, countdown, eta, group_id, group_index, expires, *others, **options
        )

    def _create_task_sender(self) -> Any:
        return self.store_task

    def store_task(
        self,
        producer: Any,
        name: str,
        message: Any,
        queue: Any = None,
        routing_key: str | None = None,
        headers: dict[str, Any] | None = None,
        priority: int | None = None,
        **options: Any,
    ) -> None:
        """Store the job that `message` describes; it is published when the transaction commits.

        Who listens to Celery's signals of publishing is told before and after it, and may add headers before.
        """
        head, properties, body, sent = message
        if headers:
            head.update(headers)
        target = self._queue_name(queue, routing_key)
        said = {"sender": name, "body": body, "headers": head, "exchange": "", "routing_key": target}
        signals.before_task_publish.send(
            **said, declare=[], properties=properties, retry_policy=options.get("retry_policy")
        )
        self._store_message(name, target, head, properties, body, priority)
        signals.after_task_publish.send(**said)
        if sent:
            self._tell_consoles(sent, target, body)

    def _tell_consoles(self, sent: dict[str, Any], queue: str, body: Any) -> None:
        """Tell consoles of a call, once it has committed, where `task_send_sent_event` wants that."""
        from django.db import transaction

        args, kwargs = _concealed(*body[:2])
        event = {**sent, "queue": queue, "exchange": "", "routing_key": queue}
        event |= {"args": summary(args), "kwargs": summary(kwargs)}

        def tell() -> None:
            with self.app.producer_pool.acquire(block=True) as producer:
                self._event_dispatcher.publish("task-sent", event, producer)

        transaction.on_commit(tell, robust=True)

    def _store_message(
        self,
        name: str,
        target: str,
        head: dict[str, Any],
        properties: dict[str, Any],
        body: Any,
        priority: int | None,
    ) -> None:
        from jobs.engine import enqueueing, executing

        args, kwargs, embed = body
        if properties.get("reply_to") == self.app.thread_oid:
            del properties["reply_to"]  # nobody listens there: results are rows
        args, kwargs, stored = _concealed(args, kwargs, stored_headers(head, embed, properties))
        running = executing.current(head["id"])
        if running is not None and head["retries"]:
            running.retry_request = _retry_request(running, head, args, kwargs, stored)
            return
        if running is not None:
            running.replacement = executing.Replacement(name, target, *_encoded(args, kwargs, stored))
            return
        hard, soft = head.get("timelimit") or (None, None)
        enqueueing.action(
            task=name,
            queue=target,
            job_id=head["id"],
            args=args,
            kwargs=kwargs,
            headers=stored,
            eta=as_time(head["eta"]),
            expires=as_time(head["expires"]),
            priority=priority,
            time_limit=hard,
            soft_time_limit=soft,
        )

    def store_plain(
        self,
        task_id: str | None,
        name: str,
        args: Any,
        kwargs: Any,
        *,
        task_type: Any,
        ignore_result: bool | None = None,
        priority: int | None = None,
        time_limit: float | None = None,
        soft_time_limit: float | None = None,
        **_: Any,
    ) -> str | None:
        """Store the job of a call that says no more than `PLAIN`, as `store_task` would, in half the time.

        Celery need not make a message of it: no options, no canvas, no stamps, nobody who listens, and no task
        that calls. Returns the job's id; None, and stores nothing, where there is more to it after all.
        """
        from jobs.engine import enqueueing, executing

        watched = signals.before_task_publish.receivers or signals.after_task_publish.receivers
        if watched or self.app.conf.task_send_sent_event:
            return None
        route = self.router.usual(name, args, kwargs, task_type)
        if (
            executing.current() is not None
            or route.keys() != {"queue"}
            or not isinstance(args or (), list | tuple)
            or not isinstance(kwargs or {}, dict)
        ):
            return None
        return enqueueing.action(
            task=name,
            queue=self._queue_name(route["queue"], None),
            job_id=task_id,
            args=args or (),
            kwargs=kwargs or {},
            headers={"ignore_result": True} if ignore_result else {},
            priority=priority,
            time_limit=time_limit,
            soft_time_limit=soft_time_limit,
        )

    def _queue_name(self, queue: Any, routing_key: str | None) -> str:
        if queue is None:
            return routing_key or str(self.app.conf.task_default_queue)
        return str(getattr(queue, "name", queue))


def _now() -> datetime:
    """Return the database's time: within a job without a query, for its transaction may have failed."""
    from jobs.engine import executing
    from jobs.engine.clock import database_now

    running = executing.current()
    return database_now() if running is None else running.now()


def _concealed(*parts: Any) -> Any:
    """Return parts of a call with references in the place of the running job's secrets: they are stored."""
    from jobs.engine import executing

    running = executing.current()
    return parts if running is None else map(running.concealed, parts)


def stored_headers(head: dict[str, Any], embed: dict[str, Any], properties: dict[str, Any]) -> dict[str, Any]:
    """Return what of a message must come back when the job runs: canvas, stamps, custom headers.

    What a message says by itself if nothing is stored is left out: rows are many.
    """
    usual = {**_USUAL, "root_id": head["id"]}
    kept = {
        key: value
        for key, value in head.items()
        if key not in NOT_STORED and value not in (None, {}, []) and value != usual.get(key)
    }
    kept.update({key: embed[key] for key in CANVAS if embed and embed.get(key)})
    if properties.get("reply_to"):
        kept["reply_to"] = properties["reply_to"]
    return kept


def as_time(value: Any) -> datetime | None:
    """Return a header's time as an aware datetime."""
    if value is None:
        return None
    time: datetime = maybe_iso8601(value)
    return time if time.tzinfo else time.replace(tzinfo=UTC)


def _encoded(args: Any, kwargs: Any, headers: dict[str, Any]) -> Any:
    from jobs.engine import payload

    return payload.encode_call(args, kwargs, headers)


def _retry_request(
    running: Any, head: dict[str, Any], args: Any, kwargs: Any, headers: dict[str, Any]
) -> Any:
    from jobs.engine import executing

    stored_args, stored_kwargs, _ = _encoded(args, kwargs, headers)
    return executing.RetryRequest(as_time(head["eta"]) or running.now(), stored_args, stored_kwargs)
