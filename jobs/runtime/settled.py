"""Celery's configuration, remembered: a key is looked up in the project's settings once."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

from celery.app.defaults import find
from celery.app.utils import Settings

_UNKNOWN = object()


def _forgetful(name: str) -> Callable[..., Any]:
    """Return the method `name` of Celery's class, after which nothing is remembered."""
    original = getattr(Settings, name)

    def changed(self: RememberedSettings, *args: Any, **kwargs: Any) -> Any:
        self.forget()  # whoever is told of the change during it, such as Celery's routes, reads what is new
        try:
            return original(self, *args, **kwargs)
        finally:
            self.forget()

    return changed


_find = cache(find)


class RememberedSettings(Settings):  # type: ignore[misc]
    """Celery's settings, but one look-up costs less than a microsecond instead of twenty.

    Celery asks the project's settings under three names, each time, and a call such as `task.delay()` asks for
    eight of them. Whatever changes the configuration through its own methods is seen at once, and so are
    Django's `override_settings` and its kind (`forget` hears of them).
    """

    _remembered: dict[str, Any]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.__dict__["_remembered"] = {}  # an attribute would be a setting
        super().__init__(*args, **kwargs)

    @classmethod
    def adopt(cls, settings: Settings) -> None:
        """Make `settings`, which others may hold already, one that remembers."""
        settings.__dict__["_remembered"] = {}
        object.__setattr__(settings, "__class__", cls)  # Celery's own would make a setting of that name

    def forget(self, **_: Any) -> None:
        """Look everything up anew (also a receiver of Django's `setting_changed`)."""
        self._remembered.clear()

    def __getitem__(self, key: str) -> Any:
        found = self._remembered.get(key, _UNKNOWN)
        if found is _UNKNOWN:
            found = super().__getitem__(key)
            self._remembered[key] = found
        return found

    def find_option(self, name: str, namespace: str = "") -> Any:
        """Return where an option stands, which is looked for once. Raises KeyError for an unknown one."""
        return _find(name, namespace)

    __setitem__ = _forgetful("__setitem__")
    __delitem__ = _forgetful("__delitem__")
    pop = _forgetful("pop")
    clear = _forgetful("clear")
    update = _forgetful("update")
    add_defaults = _forgetful("add_defaults")
    swap_with = _forgetful("swap_with")
