"""How arguments are written into a job row and read back: Celery's own JSON, type markers included.

kombu's encoder turns a datetime, UUID or Decimal into a marked object, and its decoder turns it back, so a
task receives what it would have received over the wire.
"""

import json
from datetime import datetime
from typing import Any

from kombu.utils import json as kombu_json


class PayloadError(ValueError):
    """Arguments that cannot be stored; the message says which and why."""


def encode(value: Any) -> Any:
    """Return `value` as plain JSON types.

    Raises `PayloadError` for what JSON, or PostgreSQL's jsonb, cannot hold.
    """
    try:
        text = kombu_json.dumps(value, allow_nan=False)
    except (TypeError, ValueError) as exc:
        raise PayloadError(f"The arguments cannot be stored as JSON: {exc}.") from exc
    if "\\u0000" in text:
        raise PayloadError("The arguments hold a NUL character, which the database cannot store.")
    return json.loads(text)


def decode(text: str | None) -> Any:
    """Return the Python value of a stored JSON text; None for none."""
    return None if text is None else kombu_json.loads(text)


def document(value: Any) -> str:
    """Return the JSON text of already encoded values; datetimes become ISO 8601."""
    return json.dumps(value, default=_plain)


def _plain(value: object) -> str:
    if isinstance(value, datetime):
        return value.isoformat()
    raise TypeError(f"cannot store {type(value).__name__} in a job: {value!r}")
