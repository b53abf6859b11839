"""What must not be shown: values whose names say that they are secrets."""

import re
from typing import Any

SENSITIVE = re.compile(
    r"pass(word|wd|phrase)?$|secret|token|api_?key|authorization|credential|private_?key|cvc|card_?number",
    re.IGNORECASE,
)
MASK = "********"


def redact(value: Any) -> Any:
    """Return a copy of a JSON-like value with the values of sensitive keys masked."""
    if isinstance(value, dict):
        return {
            key: MASK if isinstance(key, str) and SENSITIVE.search(key) else redact(item)
            for key, item in value.items()
        }
    if isinstance(value, list | tuple):
        return [redact(item) for item in value]
    return value


def summary(value: Any, length: int = 120) -> str:
    """Return a short redacted representation, for consoles such as Flower."""
    text = repr(redact(value))
    return text if len(text) <= length else text[: length - 1] + "…"
