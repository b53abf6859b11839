"""Arguments of tasks as people type them: JSON, or `@file` with JSON in it."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any, NoReturn

from jobs.cli.failures import usage
from jobs.engine import payload


def parse_args(text: str) -> list[Any]:
    """Return positional arguments. Raises `Failure` (usage)."""
    value = _parse(text, "--args")
    if not isinstance(value, list):
        raise usage("--args must be a JSON list, such as '[\"report\", 7]'.")
    return value


def parse_kwargs(text: str) -> dict[str, Any]:
    """Return keyword arguments. Raises `Failure` (usage)."""
    value = _parse(text, "--kwargs")
    if not isinstance(value, dict):
        raise usage('--kwargs must be a JSON object, such as \'{"note": "hello"}\'.')
    return value


def _parse(text: str, flag: str) -> Any:
    try:
        return payload.encode(json.loads(_read(text, flag), parse_constant=_refuse))
    except payload.PayloadError as error:
        raise usage(f"{flag}: {error}") from error
    except (ValueError, RecursionError) as error:
        raise usage(f"{flag} is not valid JSON: {error}.") from error


def _read(text: str, flag: str) -> str:
    if not text.startswith("@"):
        return text
    if text == "@-":
        return sys.stdin.read()
    try:
        return Path(text[1:]).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
        raise usage(f"{flag}: the file {text[1:]!r} cannot be read: {reason}.") from error


def _refuse(word: str) -> NoReturn:
    raise ValueError(f"{word} is not JSON")
