"""Calling things by the names people use, whatever their model is called.

The names of django-celery-beat's models cannot be changed without a migration of that app.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any


class Named:
    """A model's options under other names; everything else is the model's own."""

    def __init__(self, options: Any, singular: str, plural: str) -> None:
        self._options = options
        self.verbose_name = singular
        self.verbose_name_plural = plural
        self.app_config = SimpleNamespace(verbose_name="Jadwal", label=options.app_label)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._options, name)

    def __str__(self) -> str:
        return str(self._options)


class Titled:
    """A row under another title; everything else is the row's own."""

    def __init__(self, row: Any, title: str, options: Any) -> None:
        self._row = row
        self._title = title
        self._meta = options

    def __getattr__(self, name: str) -> Any:
        return getattr(self._row, name)

    def __str__(self) -> str:
        return self._title


def heading(text: str) -> str:
    """Return a title that unfold's header, which capitalises titles, leaves as it is: names are names."""
    return f"\u2060{text}"
