"""Whether an item of a queue's list is a message that a worker can take.

One malformed item makes a stock Celery worker exit, and some are put back, so that it crashes again and
again. This is checked before Celery sees the item; what fails is put into quarantine.
"""

from __future__ import annotations

import base64
import binascii
import json
from datetime import datetime
from typing import Any

MOST_BYTES = 10 * 1024 * 1024
CONTENT_TYPE = "application/json"


class MessageProblem(ValueError):
    """An item that is no message; the text says why in a few words."""


def check(item: bytes) -> dict[str, Any]:
    """Return the envelope of a Celery message (protocol 2, JSON) that is right in every part.

    Raises `MessageProblem` for anything else.
    """
    envelope = _json(item, "the item")
    if not isinstance(envelope, dict):
        raise MessageProblem("the item is not a JSON object")
    _check_properties(envelope.get("properties"))
    if envelope.get("content-type") != CONTENT_TYPE:
        raise MessageProblem(f"the content type is {envelope.get('content-type')!r}, not JSON")
    if not isinstance(envelope.get("content-encoding"), str):
        raise MessageProblem("there is no content encoding")
    _check_headers(envelope.get("headers"))
    _check_body(envelope.get("body"), envelope["properties"].get("body_encoding"))
    return envelope


def _json(text: bytes | str, what: str) -> Any:
    if len(text) > MOST_BYTES:
        raise MessageProblem(f"{what} is larger than {MOST_BYTES} bytes")
    try:
        return json.loads(text)
    except RecursionError:
        raise MessageProblem(f"{what} is nested too deeply") from None
    except ValueError as exc:  # bad UTF-8 is one, too
        raise MessageProblem(f"{what} is not JSON: {exc}") from None


def _check_properties(properties: Any) -> None:
    if not isinstance(properties, dict):
        raise MessageProblem("there are no properties")
    info = properties.get("delivery_info")
    if not isinstance(info, dict) or not isinstance(info.get("routing_key"), str):
        raise MessageProblem("there is no delivery info")
    if not isinstance(info.get("exchange"), str):
        raise MessageProblem("there is no exchange")
    if not isinstance(properties.get("delivery_tag"), str):
        raise MessageProblem("there is no delivery tag")
    if not isinstance(properties.get("priority", 0), int | None):
        raise MessageProblem("the priority is not a number")


def _check_headers(headers: Any) -> None:
    if not isinstance(headers, dict):
        raise MessageProblem("there are no headers")
    for name in ("task", "id"):
        if not isinstance(headers.get(name), str) or not headers[name]:
            raise MessageProblem(f"the header {name!r} is not a text")
    _check_limits(headers.get("timelimit"))
    for name in ("eta", "expires"):
        _check_time(name, headers.get(name))
    for name, kind in (("retries", int), ("stamped_headers", list), ("stamps", dict), ("shadow", str)):
        if not isinstance(headers.get(name), kind | None):
            raise MessageProblem(f"the header {name!r} is a {type(headers[name]).__name__}")
    if headers.get("compression"):
        raise MessageProblem("compressed messages are not taken")


def _check_limits(limits: Any) -> None:
    if limits is None:
        return
    if not isinstance(limits, list) or len(limits) != 2:
        raise MessageProblem("the time limits are not a pair")
    if not all(limit is None or (isinstance(limit, int | float) and limit > 0) for limit in limits):
        raise MessageProblem("a time limit is not a number of seconds")


def _check_time(name: str, value: Any) -> None:
    if value is None:
        return
    try:
        datetime.fromisoformat(value)
    except (TypeError, ValueError):
        raise MessageProblem(f"the header {name!r} is not a time: {value!r}") from None


def _check_body(body: Any, encoding: Any) -> None:
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
