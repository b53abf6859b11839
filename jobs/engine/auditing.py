"""Who did what: an entry in the audit log for every act of a person, whichever way it came.

An interface says who acts (`acting`); the verbs of the engine say what was done (`record`), in the transaction
that does it, so that there is no act without its entry. What nobody asked for, such as a pause by the
scheduler, leaves none: the ledger of jobs has it. Entries are only added (jobs/migrations).

Rows that are saved one by one are written down by django-auditlog itself; `sign` puts the same name on these.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

from auditlog.models import LogEntry
from django.contrib.contenttypes.models import ContentType
from django.db.models import Model
from django.db.models.signals import pre_save
from django_celery_beat.models import PeriodicTask

from jobs.models import Job
from jobs.rules.redaction import redact_text

BATCH = 500
SHOWN = 2_000
"""Characters of a value that an entry keeps."""


@dataclass(frozen=True, slots=True)
class Actor:
    """A person: a user of the console, or somebody at a command line, who only has a name."""

    name: str
    user_id: int | None = None
    address: str | None = None
    """Where the request came from."""


_actor: ContextVar[Actor | None] = ContextVar("jadwal_actor", default=None)


@contextmanager
def acting(actor: Actor | None) -> Iterator[None]:
    """Let what happens now be done by `actor`; None: by nobody, which leaves no entry."""
    token = _actor.set(actor)
    try:
        yield
    finally:
        _actor.reset(token)


def record(
    instances: Sequence[Model],
    verb: str,
    *,
    changes: Mapping[str, Sequence[Any]] | None = None,
    **data: Any,
) -> None:
    """Write down that whoever acts did `verb` to each of `instances`.

    `changes` are `{column: [before, after]}`; `data` is kept with the entry. Neither may hold secrets: texts
    are masked, and payloads have to be (`redaction.redact`).
    """
    if _actor.get() is None or not instances:
        return
    content_type = ContentType.objects.get_for_model(instances[0])
    _write(
        [(str(one.pk), _name(one)) for one in instances],
        content_type,
        verb,
        {name: [_text(value) for value in pair] for name, pair in (changes or {}).items()},
        {key: redact_text(value) if isinstance(value, str) else value for key, value in data.items()},
    )


def record_jobs(ids: Sequence[str], verb: str, **data: Any) -> None:
    """Write down that whoever acts did `verb` to the jobs with these ids."""
    if _actor.get() is None or not ids:
        return
    names = {key: f"{task} {key}" for key, task in Job.objects.filter(id__in=ids).values_list("id", "task")}
    _write(
        [(key, names.get(key, key)) for key in ids], ContentType.objects.get_for_model(Job), verb, {}, data
    )


def record_queue(queue: str, verb: str, **data: Any) -> None:
    """Write down that whoever acts did `verb` to the jobs of a queue, all at once."""
    if _actor.get() is not None:
        thing = (f"queue:{queue}", f"queue {queue}")
        _write([thing], ContentType.objects.get_for_model(Job), verb, {}, data)


def _write(
    things: Sequence[tuple[str, str]],
    content_type: ContentType,
    verb: str,
    changes: dict[str, list[str]],
    data: dict[str, Any],
) -> None:
    actor = _actor.get()
    if actor is None:
        return
    LogEntry.objects.bulk_create(
        [
            LogEntry(
                content_type=content_type,
                object_pk=key,
                object_id=int(key) if key.isdecimal() and len(key) < 19 else None,
                object_repr=name,
                action=LogEntry.Action.UPDATE,
                changes=changes,
                actor_id=actor.user_id,
                actor_email=actor.name,
                remote_addr=actor.address,
                additional_data={"verb": verb, **data},
            )
            for key, name in things
        ],
        batch_size=BATCH,
    )


def sign(instance: LogEntry, **_: Any) -> None:
    """Put the actor on an entry that django-auditlog is about to add: a receiver of `pre_save`."""
    actor = _actor.get()
    if actor is not None and instance._state.adding:
        instance.actor_id, instance.actor_email = actor.user_id, actor.name
        instance.remote_addr = actor.address


pre_save.connect(sign, sender=LogEntry, dispatch_uid="jobs.auditing.sign")


def _name(instance: Model) -> str:
    return str(instance.name) if isinstance(instance, PeriodicTask) else str(instance)


def _text(value: Any) -> str:
    return redact_text(str(value)[:SHOWN])
