"""Form fields for what people write: lengths of time, wall times, JSON."""

from __future__ import annotations

import json
import re
from datetime import datetime, timedelta
from typing import Any

from django import forms
from unfold.widgets import UnfoldAdminExpandableTextareaWidget, UnfoldAdminTextInputWidget

_UNITS = {"w": 604_800, "d": 86_400, "h": 3_600, "m": 60, "s": 1, "ms": 0.001}
_PART = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|[wdhms])", re.IGNORECASE)
_WALL = "%Y-%m-%dT%H:%M:%S"


def read_duration(text: str) -> timedelta:
    """Return the length of time that `text` says: `30s`, `10m`, `2h`, `1d`, `1h 30m`.

    Raises ValueError with a sentence for a person.
    """
    words = text.strip()
    if words == "0":
        return timedelta(0)
    if not words or _PART.sub("", words).strip():
        raise ValueError(f"{text!r} is not a length of time: write it like 30s, 10m, 2h, 1d or 1h 30m.")
    seconds = sum(float(number) * _UNITS[unit.lower()] for number, unit in _PART.findall(words))
    try:
        return timedelta(seconds=seconds)
    except OverflowError as exc:
        raise ValueError(f"{text!r} is too long.") from exc


def write_duration(length: timedelta | None) -> str:
    """Return a length of time as a person writes it: `1h 30m`."""
    if length is None:
        return ""
    if not length:
        return "0"
    milliseconds = round(length.total_seconds() * 1000)
    parts = []
    for unit, size in (("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)):
        count, milliseconds = divmod(milliseconds, size)
        if count:
            parts.append(f"{count}{unit}")
    return " ".join(parts) or "0"


class DurationTextField(forms.CharField):
    """A length of time, written like `30s`, `10m`, `2h` or `1d`."""

    def __init__(self, *, placeholder: str = "", minimum: timedelta = timedelta(0), **kwargs: Any) -> None:
        kwargs.setdefault("widget", UnfoldAdminTextInputWidget(attrs={"placeholder": placeholder}))
        self.minimum = minimum
        super().__init__(**kwargs)

    def prepare_value(self, value: Any) -> Any:
        """Show a stored length of time as text."""
        return write_duration(value) if isinstance(value, timedelta) else value

    def clean(self, value: Any) -> Any:
        """Return a timedelta, or None where nothing was written."""
        text = super().clean(value)
        if text in self.empty_values:
            return None
        try:
            length = read_duration(text)
        except ValueError as exc:
            raise forms.ValidationError(str(exc)) from exc
        if length < self.minimum:
            raise forms.ValidationError(f"This must be at least {write_duration(self.minimum)}.")
        return length

    def has_changed(self, initial: Any, data: Any) -> bool:
        """Compare lengths of time, not the ways of writing them."""
        try:
            new = read_duration(data) if data else None
        except ValueError:
            return True
        return bool(new != initial)


class WallTimeField(forms.Field):
    """A date and a time without a zone: the form says in which zone they are meant."""

    widget = UnfoldAdminTextInputWidget

    def __init__(self, **kwargs: Any) -> None:
        kwargs.setdefault("widget", UnfoldAdminTextInputWidget(attrs={"type": "datetime-local", "step": "1"}))
        super().__init__(**kwargs)

    def prepare_value(self, value: Any) -> Any:
        """Show a datetime as the browser's own picker wants it."""
        return value.strftime(_WALL) if isinstance(value, datetime) else value

    def to_python(self, value: Any) -> datetime | None:
        """Return a naive datetime."""
        if value in self.empty_values:
            return None
        if isinstance(value, datetime):
            return value.replace(tzinfo=None)
        try:
            return datetime.fromisoformat(str(value).strip()).replace(tzinfo=None)
        except ValueError as exc:
            raise forms.ValidationError("Write a date and a time like 2027-03-14 09:30.") from exc


class JSONTextField(forms.CharField):
    """JSON of one kind, a list or an object, as text; blank means an empty one."""

    def __init__(self, kind: type, **kwargs: Any) -> None:
        self.kind = kind
        empty = "[]" if kind is list else "{}"
        kwargs.setdefault(
            "widget",
            UnfoldAdminExpandableTextareaWidget(
                attrs={"rows": 2, "placeholder": empty, "spellcheck": "false", "class": "jw-mono"}
            ),
        )
        super().__init__(required=False, **kwargs)

    def clean(self, value: Any) -> Any:
        """Return the list or dict."""
        text = super().clean(value)
        if not text:
            return self.kind()
        try:
            found = json.loads(text)
        except json.JSONDecodeError as exc:
            raise forms.ValidationError(
                f"This is not JSON: {exc.msg} at line {exc.lineno}, column {exc.colno}."
            ) from exc
        if not isinstance(found, self.kind):
            example = '["monthly", 3]' if self.kind is list else '{"name": "monthly"}'
            word = "list" if self.kind is list else "object"
            raise forms.ValidationError(f"This must be a JSON {word}, such as {example}.")
        return found
