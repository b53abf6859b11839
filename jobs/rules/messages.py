"""Whether an item of a queue's list is a message that a worker can take.

One malformed item makes a stock Celery worker exit, and some are put back, so that it crashes again and
again. This is checked before Celery sees the item; what fails is put into quarantine.
"""

from __future__ import annotations

import base64
import binascii
import json
import math
from datetime import datetime
from typing import Any

MOST_BYTES = 1024 * 1024
"""The payload of a message, unless the caller says what a job may carry."""
HEADERS = 64 * 1024
WRITTEN = 4
"""An item takes at most so many times its payload: JSON escapes non-ASCII letters, and base64 adds a third.
This only keeps what is hopeless from being read; the payload itself is measured when its job is made."""
CONTENT_TYPE = "application/json"
ENCODINGS = ("utf-8", "utf8", "us-ascii", "ascii")
LONGEST = {"id": 155, "task": 200, "queue": 200}
"""Characters that a job's row has room for."""
OWN_MARKS = frozenset({"jadwal_eta", "jadwal_started"})
"""What a worker notes among the headers of a message that it has taken."""
EMPTY_BODY = base64.b64encode(b"[[], {}, {}]").decode()
"""The body of our own messages, whose arguments are in the job's row."""
MOST_COUNT = 2**31 - 1
LONGEST_LIMIT = 10 * 366 * 86_400.0
"""Seconds: a time limit that is longer is no time limit."""


class MessageProblem(ValueError):
    """An item that is no message; the text says why in a few words."""


def check(item: bytes, *, most: int = MOST_BYTES) -> dict[str, Any]:
    """Return the envelope of a Celery message (protocol 2, JSON) that is right in every part.

    `most` is how many bytes the payload of a job may have. Raises `MessageProblem` for anything else.
    """
    longest = WRITTEN * most + HEADERS
    if len(item) > longest:
        raise MessageProblem(f"the item has {len(item)} bytes, and {longest} is the most")
    envelope = _json(item, "the item")
    if not isinstance(envelope, dict):
        raise MessageProblem("the item is not a JSON object")
    _check_properties(envelope.get("properties"))
    if envelope.get("content-type") != CONTENT_TYPE:
        raise MessageProblem(f"the content type is {envelope.get('content-type')!r}, not JSON")
    if str(envelope.get("content-encoding")).lower() not in ENCODINGS:
        raise MessageProblem(f"the content encoding is {envelope.get('content-encoding')!r:.50}, not UTF-8")
    _check_headers(envelope.get("headers"))
    _check_body(envelope.get("body"), envelope["properties"].get("body_encoding"))
    return envelope


def _json(text: bytes, what: str) -> Any:
    try:
        found = _decoder.decode(text.decode())
        plain = json.dumps(found, ensure_ascii=False) if b"\\u" in text else ""
    except RecursionError:
        raise MessageProblem(f"{what} is nested too deeply") from None
    except ValueError as exc:  # bad UTF-8 is one, too
        raise MessageProblem(f"{what} is not JSON: {exc}") from None
    _check_letters(plain, what)
    return found


def _finite(number: str) -> float:
    found = float(number)
    if not math.isfinite(found):
        raise ValueError(f"{number} is no number of JSON")
    return found


_decoder = json.JSONDecoder(parse_constant=_finite, parse_float=_finite)
"""It is kept: `loads` would make one for each message."""


def _check_letters(plain: str, what: str) -> None:
    """Refuse what JSON can escape, and neither Redis nor PostgreSQL can hold."""
    if "\\u0000" in plain.replace("\\\\", ""):
        raise MessageProblem(f"{what} holds a NUL character")
    try:
        plain.encode()
    except UnicodeEncodeError:
        raise MessageProblem(f"{what} holds half of a surrogate pair") from None


def _check_properties(properties: Any) -> None:
    if not isinstance(properties, dict):
        raise MessageProblem("there are no properties")
    info = properties.get("delivery_info")
    if not isinstance(info, dict) or not isinstance(info.get("routing_key"), str):
        raise MessageProblem("there is no delivery info")
    _check_length("queue", info["routing_key"])
    if not isinstance(info.get("exchange"), str):
        raise MessageProblem("there is no exchange")
    if not isinstance(properties.get("delivery_tag"), str):
        raise MessageProblem("there is no delivery tag")
    for name in ("priority", "delivery_mode"):
        if not isinstance(properties.get(name), int | None):
            raise MessageProblem(f"the {name} is not a number")
    for name in ("correlation_id", "reply_to"):
        if not isinstance(properties.get(name), str | None):
            raise MessageProblem(f"the {name} is not a text")


def _check_headers(headers: Any) -> None:
    if not isinstance(headers, dict):
        raise MessageProblem("there are no headers")
    for name in ("task", "id"):
        if not isinstance(headers.get(name), str) or not headers[name]:
            raise MessageProblem(f"the header {name!r} is not a text")
        _check_length(name, headers[name])
    _check_limits(headers.get("timelimit"))
    for name in ("eta", "expires"):
        _check_time(name, headers.get(name))
    for name in OWN_MARKS & headers.keys():
        raise MessageProblem(f"the header {name!r} is not for messages: a worker writes it for itself")
    for name in ("retries", "jadwal_attempt", "group_index", "replaced_task_nesting"):
        _check_count(name, headers.get(name))
    for name, kind in _KINDS.items():
        if not isinstance(headers.get(name), kind | None):
            raise MessageProblem(f"the header {name!r} is a {type(headers[name]).__name__}")
    if not all(isinstance(stamp, str) for stamp in headers.get("stamped_headers") or ()):
        raise MessageProblem("the stamped headers are not all texts")
    if headers.get("compression"):
        raise MessageProblem("compressed messages are not taken")


_KINDS: dict[str, type] = {
    "stamped_headers": list,
    "stamps": dict,
    "shadow": str,
    "root_id": str,
    "parent_id": str,
    "group": str,
    "origin": str,
    "argsrepr": str,
    "kwargsrepr": str,
}


def _check_length(name: str, text: str) -> None:
    if len(text) > LONGEST[name]:
        raise MessageProblem(f"the {name} has {len(text)} characters, and {LONGEST[name]} is the most")


def _check_count(name: str, value: Any) -> None:
    if value is None:
        return
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= MOST_COUNT:
        raise MessageProblem(f"the header {name!r} is not a number that counts")


def _check_limits(limits: Any) -> None:
    if limits is None:
        return
    if not isinstance(limits, list) or len(limits) != 2:
        raise MessageProblem("the time limits are not a pair")
    if not all(limit is None or _is_a_limit(limit) for limit in limits):
        raise MessageProblem("a time limit is not a number of seconds")


def _is_a_limit(limit: Any) -> bool:
    return isinstance(limit, int | float) and 0 < limit <= LONGEST_LIMIT


def _check_time(name: str, value: Any) -> None:
    if value is None:
        return
    try:
        datetime.fromisoformat(value)
    except (TypeError, ValueError):
        raise MessageProblem(f"the header {name!r} is not a time: {value!r}") from None


def _check_body(body: Any, encoding: Any) -> None:
    if body == EMPTY_BODY and encoding == "base64":
        return
    if not isinstance(body, str):
        raise MessageProblem("the body is not a text")
    if encoding not in (None, "base64"):
        raise MessageProblem(f"the body encoding {encoding!r} is unknown")
    try:
        raw = base64.b64decode(body, validate=True) if encoding == "base64" else body.encode()
    except (binascii.Error, ValueError) as exc:
        raise MessageProblem(f"the body is not base64: {exc}") from None
    content = _json(raw, "the body")
    if not isinstance(content, list) or len(content) != 3:
        raise MessageProblem("the body is not [args, kwargs, embed]")
    args, kwargs, embed = content
    if not isinstance(args, list) or not isinstance(kwargs, dict) or not isinstance(embed, dict | None):
        raise MessageProblem("the body is not [list, object, object]")
