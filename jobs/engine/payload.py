"""How arguments are written into a job row and read back: Celery's own JSON, type markers included.

kombu's encoder turns a datetime, UUID or Decimal into a marked object, and its decoder turns it back, so a
task receives what it would have received over the wire.

Arguments and results have a most. What is larger belongs into a file or a table, and its id into the job:
rows that are read at every start, and messages of other programs, stay small.
"""

import json
import re
from collections.abc import Iterable
from datetime import datetime
from typing import Any

from kombu.utils import json as kombu_json

from jobs.conf import conf

_EMPTY = "[]"
"""As long as `{}`: the size is all that is asked of it."""

_LITTLE = 4_096
"""Bytes that little arguments never take, however many of their characters are escaped."""
_LONG = 2**63

REPLACED = "[Jadwal did not store this result: "
"""How the text begins that stands for a result that is larger than the most."""

_NUL = re.compile(r"(?<!\\)(?:\\\\)*\\u0000")
"""An escaped NUL in a JSON text, and not an escaped backslash before `u0000`."""

Call = tuple[list[Any], dict[str, Any], dict[str, Any]]
"""Positional arguments, keyword arguments and headers of a job, as plain JSON types."""


class PayloadError(ValueError):
    """Arguments that cannot be stored; the message says which and why."""


class PayloadTooLarge(PayloadError):
    """Arguments, with their headers, that are larger than JADWAL_MAX_PAYLOAD_BYTES."""


def encode(value: Any) -> Any:
    """Return `value` as plain JSON types.

    Raises `PayloadError` for what JSON, or PostgreSQL's jsonb, cannot hold. The size is not looked at.
    """
    return json.loads(_text(value))


def encode_call(args: Iterable[Any], kwargs: dict[str, Any], headers: dict[str, Any]) -> Call:
    """Return what a job is born with as plain JSON types.

    Raises `PayloadError` for what cannot be stored, `PayloadTooLarge` for what is more than the most.
    """
    positional = list(args)
    if not kwargs and not headers and _is_little(positional):
        return positional, kwargs, headers
    parts = (positional, kwargs, headers)
    texts = [_text(part) if part else _EMPTY for part in parts]
    found = tuple(json.loads(text) if part else part for text, part in zip(texts, parts, strict=True))
    if sum(map(len, texts)) > conf().max_payload_bytes:  # with escapes, so at least what is stored
        check_size(*found)
    return found  # type: ignore[return-value]


def _is_little(args: list[Any]) -> bool:
    """Whether arguments are few, short and themselves in JSON, as most are: ids, names, numbers. They need no trial."""
    return len(args) <= 8 and all(map(_is_short, args)) and conf().max_payload_bytes >= _LITTLE


def _is_short(value: Any) -> bool:
    kind = type(value)  # not its parents: a subclass may be written otherwise
    if kind is str:
        return len(value) <= 64 and value.isascii() and "\0" not in value
    return value is None or kind is bool or (kind is int and -_LONG < value < _LONG)


def check_size(*parts: Any) -> None:
    """Raise `PayloadTooLarge` if plain JSON values are, together, more than a job may carry."""
    size, most = sum(map(size_of, parts)), conf().max_payload_bytes
    if size > most:
        raise PayloadTooLarge(
            f"The payload is too large: arguments and headers take {size:,} bytes as JSON, and "
            f"{most:,} is the most (JADWAL_MAX_PAYLOAD_BYTES); store the data elsewhere and pass its id."
        )


def size_of(value: Any) -> int:
    """Return the bytes that a plain JSON value takes as PostgreSQL writes it."""
    return len(json.dumps(value, ensure_ascii=False, default=str).encode("utf-8", "surrogatepass"))


def storable_result(result: Any, *, handed_on: bool = False) -> Any:
    """Return what is stored as the result of a task that returned `result`.

    That is the result itself, unless its JSON is larger than JADWAL_MAX_RESULT_BYTES: then it is a text
    that says so, beginning with `REPLACED`, and the job is completed all the same. A result that other work
    is to read from there (`handed_on`: a member of a chord) is never replaced: then this raises
    `PayloadTooLarge`. What JSON cannot hold is returned as it is: that is for the backend to refuse.
    """
    if result is None or isinstance(result, bool | int | float):
        return result
    try:
        size = len(_text(result))
        if size > conf().max_result_bytes:
            size = size_of(json.loads(_text(result)))
    except PayloadError:
        return result
    most = conf().max_result_bytes
    if size <= most:
        return result
    why = f"it takes {size:,} bytes as JSON, and {most:,} is the most (JADWAL_MAX_RESULT_BYTES)"
    if handed_on:
        raise PayloadTooLarge(f"The result is too large to be handed on: {why}; store it and return its id.")
    return f"{REPLACED}{why}.]"


def decode(text: str | None) -> Any:
    """Return the Python value of a stored JSON text; None for none."""
    return None if text is None else _decoder.decode(text)


def document(value: Any) -> str:
    """Return the JSON text of already encoded values; datetimes become ISO 8601."""
    return _encoder.encode(value)


def _text(value: Any) -> str:
    try:
        text = _marking_encoder.encode(value)
    except (TypeError, ValueError) as exc:
        raise PayloadError(f"The arguments cannot be stored as JSON: {exc}.") from exc
    except RecursionError as exc:
        raise PayloadError("The arguments cannot be stored as JSON: they are nested too deeply.") from exc
    if "\\u0000" in text and _NUL.search(text):
        raise PayloadError("The arguments hold a NUL character, which the database cannot store.")
    if "\\ud" in text:  # half of a pair, or an emoji
        _check_pairs(text)
    return text


def _check_pairs(text: str) -> None:
    try:
        json.dumps(json.loads(text), ensure_ascii=False).encode()
    except UnicodeEncodeError as exc:
        raise PayloadError(
            "The arguments hold half of a surrogate pair, which the database cannot store."
        ) from exc


def _plain(value: object) -> str:
    if isinstance(value, datetime):
        return value.isoformat()
    raise TypeError(f"cannot store {type(value).__name__} in a job: {value!r}")


_encoder = json.JSONEncoder(default=_plain)
_marking_encoder = kombu_json.JSONEncoder(allow_nan=False)
_decoder = json.JSONDecoder(object_hook=kombu_json.object_hook)
"""They are kept: `dumps` and `loads` would make one each time."""
