"""From a template and a recipient to the words of a mail.

The engine is a bare one: no loaders, no files, no `{% load %}`, so that a text edited in the admin reaches
nothing but its context. HTML is escaped; the subject and the plain text are not HTML and are left as written.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from django.template import Context, Engine
from django.utils import timezone, translation

SUBJECT_MOST = 998
"""A line of a mail is no longer (RFC 5322)."""

_ENGINE = Engine(dirs=[], app_dirs=False, loaders=[], autoescape=True)


class RenderError(ValueError):
    """The text cannot be rendered; the message says why."""


@dataclass(frozen=True, slots=True)
class Reader:
    """What a text may know of the person who reads it."""

    email: str
    name: str = ""
    locale: str = "en"
    time_zone: str = "UTC"


@dataclass(frozen=True, slots=True)
class Words:
    """A rendered mail. `html` is empty for plain text only."""

    subject: str
    text: str
    html: str = ""


def check(source: str) -> None:
    """Raise `RenderError` if the engine cannot read `source`."""
    try:
        _ENGINE.from_string(source)
    except Exception as exc:  # a tag's parser may raise anything about its arguments
        raise RenderError(str(exc)) from exc


def render(
    *,
    subject: str,
    text: str,
    html: str,
    reader: Reader,
    context: Mapping[str, Any],
    scheduled_for: datetime | None,
) -> Words:
    """Render in the reader's language and time zone. Raises `RenderError`."""
    values = {**context, "recipient": reader, "scheduled_for": scheduled_for}
    try:
        with translation.override(reader.locale), timezone.override(ZoneInfo(reader.time_zone)):
            line = " ".join(_fill(subject, values, escape=False).split())  # a header is one line
            if len(line) > SUBJECT_MOST:
                raise RenderError(f"the subject has {len(line)} characters")
            return Words(line, _fill(text, values, escape=False), _fill(html, values, escape=True))
    except Exception as exc:  # whatever a filter or a value of the context raises, it is this text's fault
        raise RenderError(f"{type(exc).__name__}: {exc}") from exc


def _fill(source: str, values: Mapping[str, Any], *, escape: bool) -> str:
    return _ENGINE.from_string(source).render(Context(dict(values), autoescape=escape)) if source else ""
