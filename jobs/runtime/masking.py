"""No secret leaves a process in its log or in an error.

Imports nothing of Django: the logging of a process is set up before its apps are.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

from jobs.rules.redaction import redact_text

Values = Callable[[], Sequence[str]]


def _nothing() -> Sequence[str]:
    return ()


_values: Values = _nothing
"""What gives the secrets that this process holds now; a worker's child sets it (`logs.capture`)."""


def look_for(values: Values) -> None:
    """From now on mask, besides what looks like a secret, what `values` returns (`redaction.forms`)."""
    global _values
    _values = values


class MaskingFormatter(logging.Formatter):
    """A formatter whose lines, tracebacks included, have their secrets masked.

    It formats by itself, or masks what `inner` has formatted.
    """

    def __init__(self, *args: Any, inner: logging.Formatter | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.inner = inner

    def format(self, record: logging.LogRecord) -> str:
        """Return the line of a record, masked."""
        text = self.inner.format(record) if self.inner else super().format(record)
        return redact_text(text, _values())


def install(**_: Any) -> None:
    """Mask the lines of every handler that this process has by now: a receiver of Celery's logging signals."""
    loggers = [logging.getLogger(), *logging.Logger.manager.loggerDict.values()]
    handlers = [one for logger in loggers if isinstance(logger, logging.Logger) for one in logger.handlers]
    for handler in [*handlers, *filter(None, [logging.lastResort])]:
        if not isinstance(handler.formatter, MaskingFormatter):
            handler.setFormatter(MaskingFormatter(inner=handler.formatter))


def mask_exception(exc: BaseException, values: Sequence[str] = ()) -> None:
    """Mask secrets in what an error carries, its causes included, before anybody else has seen it.

    What a task raises is stored, logged, sent to consoles and pickled; each of them reads its arguments and
    attributes. They are changed in place where they are texts, or lists and mappings of texts.
    """
    seen: set[int] = set()
    waiting: list[BaseException | None] = [exc]
    while waiting:
        error = waiting.pop()
        if error is None or id(error) in seen:
            continue
        seen.add(id(error))
        for name, value in [("args", error.args), *getattr(error, "__dict__", {}).items()]:
            masked = _masked(value, values)
            if masked != value:
                with suppress(Exception):  # what cannot be changed is masked where its text is used
                    setattr(error, name, masked)
        inner = [*error.args, *getattr(error, "__dict__", {}).values(), *getattr(error, "exceptions", ())]
        waiting += [error.__cause__, error.__context__]
        waiting += [item for item in inner if isinstance(item, BaseException)]


def _masked(value: Any, values: Sequence[str]) -> Any:
    """Return a text, or a plain list, tuple or dict of texts, masked; anything else as it is."""
    if type(value) is str:
        return redact_text(value, values)
    if type(value) in (list, tuple):
        return type(value)(_masked(item, values) for item in value)
    if type(value) is dict:
        return {key: _masked(item, values) for key, item in value.items()}
    return value
