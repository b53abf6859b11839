"""Messages that no worker can make sense of: kept, and visible, instead of crashing workers."""

from __future__ import annotations

import logging

from django.db import DatabaseError, InterfaceError

from jobs.engine.lifecycle import storable
from jobs.models import Quarantine
from jobs.rules.redaction import redact_text

logger = logging.getLogger(__name__)

MOST_KEPT = 20_000
"""Characters of an item that are kept."""


def quarantine(item: bytes, queue: str, problem: str) -> None:
    """Keep `item` for a person to look at. Never raises: a worker must not die of rubbish."""
    body = storable(redact_text(item[:MOST_KEPT].decode("utf-8", "backslashreplace")))
    logger.error("a message of queue %s goes into quarantine: %s", queue, problem)
    try:
        Quarantine.objects.create(queue=queue[:200], body=body, problem=problem[:500])
    except (DatabaseError, InterfaceError) as exc:
        logger.error("the quarantine is out of reach (%s); the message was: %.1000s", exc, body)
