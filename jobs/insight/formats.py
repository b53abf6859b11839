"""How values look in documents: times in RFC 3339 and UTC, durations in seconds."""

from __future__ import annotations

import json
from datetime import date, datetime, timedelta
from typing import Any

from kombu.utils import json as kombu_json

from jobs.rules.instants import rfc3339


def instant(moment: datetime | None) -> str | None:
    """Return `2026-11-21T08:00:00Z`, with a fraction only where there is one."""
    return None if moment is None else rfc3339(moment)


def seconds(length: timedelta | None) -> float | int | None:
    """Return a duration in seconds: a whole number where it is one."""
    return None if length is None else number(length.total_seconds())


def number(value: float) -> float | int:
    """Return 30 for 30.0."""
    return int(value) if float(value).is_integer() else value


def compact(length: timedelta) -> str:
    """Return a duration as people type it: `1h30m`, `10m`, `0.5s`."""
    left = length.total_seconds()
    if left % 1:
        return f"{left:g}s"
    text = ""
    for unit, size in (("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1)):
        count, left = divmod(left, size)
        text += f"{int(count)}{unit}" if count else ""
    return text or "0s"


def plain(value: Any) -> Any:
    """Return stored arguments or a result without Celery's type markers: dates and ids become text."""
    return json.loads(json.dumps(kombu_json.loads(json.dumps(value)), default=_text))


def _text(value: object) -> str:
    if isinstance(value, datetime):
        return (instant(value) if value.tzinfo else value.isoformat()) or ""
    if isinstance(value, date):
        return value.isoformat()
    return str(value)
