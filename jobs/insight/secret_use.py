"""Which schedules use secrets, and which of them keep one where everybody with the database can read it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from django.db.models import Q
from django_celery_beat.models import PeriodicTask

from jobs.engine import held_secrets
from jobs.rules import redaction, secret_references

PAYLOAD = ("args", "kwargs", "headers")
WORTH_READING = Q(kwargs__contains=":") | Q(args__contains=":") | Q(headers__contains=":")
"""Only a mapping has keys, and so secrets and references."""


@dataclass(slots=True)
class SecretUse:
    """What was found in the payloads of schedules."""

    literal: dict[str, list[str]] = field(default_factory=dict)
    """By schedule: the places with a secret that is written out, such as `kwargs.password`."""
    named: dict[str, list[str]] = field(default_factory=dict)
    """By schedule: the names of the secrets that it refers to."""

    def not_here(self) -> list[str]:
        """Return the names that this process has no secret for; a worker has its own environment."""
        wanted = {name for names in self.named.values() for name in names}
        return sorted(name for name in wanted if not _is_here(name))


def of_schedules() -> SecretUse:
    """Return what the stored schedules do."""
    found = SecretUse()
    rows = PeriodicTask.objects.filter(WORTH_READING).order_by("name").values_list("name", *PAYLOAD)
    for name, *texts in rows.iterator(chunk_size=2_000):
        payload = dict(zip(PAYLOAD, map(_read, texts), strict=True))
        places = list(redaction.literal_secrets(payload))
        if places:
            found.literal[name] = places
        names = secret_references.names(payload)
        if names:
            found.named[name] = names
    return found


def advice(payloads: Iterable[tuple[str, dict[str, Any]]]) -> Iterator[str]:
    """Yield a sentence for each secret that is written out in `(schedule, its settings by name)`."""
    for name, payload in payloads:
        parts = {key: payload[key] for key in PAYLOAD if key in payload}
        for place in redaction.literal_secrets(parts):
            yield (
                f"{name}: {place} is a secret that is written out. Everybody with the database, or the file, "
                f'can read it: write {{"{secret_references.REFERENCE}": "NAME"}} instead.'
            )


def _is_here(name: str) -> bool:
    try:
        return held_secrets.look_up(name) is not None
    except held_secrets.SecretError:
        return True  # whether it can be read here says nothing about the workers


def _read(text: str) -> Any:
    try:
        return json.loads(text) if text else None
    except ValueError:
        return None  # compiling says so
