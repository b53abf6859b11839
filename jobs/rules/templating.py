"""Names in a schedule's payload: `{{ scheduled_for }}` and the like (SEMANTICS 27).

Only whole names of `NAMES` are filled in; there are no expressions, so a payload can do nothing but name.
Other names stay as they are: they may be meant for the task, as in the text of a mail.
"""

import re
from collections.abc import Callable, Iterator
from typing import Any

NAMES = (
    "job_id",
    "schedule",
    "scheduled_for",
    "previous_scheduled_for",
    "attempt",
    "trigger",
    "last_result",
)
_PLACE = re.compile(r"\{\{\s*(\w+)\s*\}\}")


def names_in(payload: Any) -> set[str]:
    """Return the names that the texts of a JSON-like payload mention."""
    return {name for text in _texts(payload) for name in _PLACE.findall(text)}


def fill(payload: Any, value_of: Callable[[str], Any]) -> Any:
    """Return a copy of `payload` with its names filled in.

    A text that is nothing but one name becomes the value itself, so that a number stays a number; within a
    longer text it becomes words. Names that are unknown stay as they are.
    """
    if isinstance(payload, str):
        whole = _PLACE.fullmatch(payload.strip())
        if whole and whole[1] in NAMES:
            return value_of(whole[1])
        return _PLACE.sub(lambda place: _words(place, value_of), payload)
    if isinstance(payload, dict):
        return {key: fill(value, value_of) for key, value in payload.items()}
    if isinstance(payload, list):
        return [fill(item, value_of) for item in payload]
    return payload


def _words(place: re.Match[str], value_of: Callable[[str], Any]) -> str:
    if place[1] not in NAMES:
        return place[0]
    value = value_of(place[1])
    return "" if value is None else str(value)


def _texts(payload: Any) -> Iterator[str]:
    if isinstance(payload, str):
        yield payload
    elif isinstance(payload, dict):
        for value in payload.values():
            yield from _texts(value)
    elif isinstance(payload, list):
        for item in payload:
            yield from _texts(item)
