"""Environment variables as settings: read one by one, and every bad one told of at once.

A value is taken as it is: nothing in it is looked up or replaced, as it may be a password.
"""

from __future__ import annotations

import builtins
import math
import os
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import environ
from django.core.exceptions import ImproperlyConfigured

T = TypeVar("T")

TRUE, FALSE = ("true", "on", "yes", "y", "1", "ok"), ("false", "off", "no", "n", "0", "")


class Variables:
    """Typed values of variables. A bad one counts as not set, until `refuse_bad_ones` is called."""

    def __init__(self, variables: Mapping[builtins.str, builtins.str] = os.environ) -> None:
        self.variables = variables
        self.problems: builtins.list[builtins.str] = []

    def str(self, name: builtins.str, default: builtins.str) -> builtins.str:
        """Return a text."""
        return self.variables.get(name, default)

    def list(self, name: builtins.str, default: builtins.list[builtins.str]) -> builtins.list[builtins.str]:
        """Return words separated by commas."""
        if name not in self.variables:
            return default
        return [word.strip() for word in self.variables[name].split(",") if word.strip()]

    def bool(self, name: builtins.str, default: builtins.bool) -> builtins.bool:
        """Return yes or no, in one of the usual words."""
        return self._read(name, default, _yes_or_no, "True or False")

    def int(self, name: builtins.str, default: builtins.int) -> builtins.int:
        """Return a whole number."""
        return self._read(name, default, int, "a whole number")

    def float(self, name: builtins.str, default: builtins.float) -> builtins.float:
        """Return a number."""
        return self._read(name, default, _finite, "a number")

    def db_url(self, name: builtins.str, default: builtins.str) -> dict[builtins.str, Any]:
        """Return the settings of a database by its address."""
        read = self._read(name, None, _database, "an address such as postgres://user:password@host:5432/name")
        return _database(default) if read is None else read

    def email_url(self, name: builtins.str, default: builtins.str) -> dict[builtins.str, Any]:
        """Return the settings of a mail server by its address."""
        read = self._read(name, None, _mail, "an address such as smtp+tls://user:password@host:587")
        return _mail(default) if read is None else read

    def _read(
        self, name: builtins.str, default: T, read: Callable[[builtins.str], T], wanted: builtins.str
    ) -> T:
        text = self.variables.get(name, "").strip()
        if not text:
            return default
        try:
            return read(text)
        except (ValueError, KeyError, TypeError, ImproperlyConfigured):
            # Of an address nothing is repeated: it has a password in it.
            said = "" if name.endswith("_URL") else f", not {text!r}"
            self.problems.append(f"{name} must be {wanted}{said}")
            return default

    def refuse_bad_ones(self) -> None:
        """Raise ImproperlyConfigured, naming all, if a variable that was read is bad."""
        if self.problems:
            raise ImproperlyConfigured("; ".join(self.problems) + ".")


def _yes_or_no(text: str) -> bool:
    word = text.lower()
    if word not in TRUE + FALSE:
        raise ValueError(text)
    return word in TRUE


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(text)
    return number


def _database(text: str) -> dict[str, Any]:
    found: dict[str, Any] = environ.Env.db_url_config(text)
    if not found.get("ENGINE", "").endswith("postgresql") or not found.get("NAME"):
        raise ValueError("PostgreSQL is the only database")
    return found


def _mail(text: str) -> dict[str, Any]:
    found: dict[str, Any] = environ.Env.email_url_config(text)
    return found
