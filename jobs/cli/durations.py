"""Lengths of time as people type them: `30s`, `10m`, `1h30m`, `PT10M`, or plain seconds."""

from __future__ import annotations

from datetime import timedelta

from jobs.cli.failures import usage
from jobs.rules import durations
from jobs.rules.durations import LONGEST


def parse_duration(text: str, flag: str, *, zero: bool = False) -> timedelta:
    """Return the length of time that `text` says.

    Raises `Failure` (usage) naming `flag`; for nothing at all too, unless `zero` is allowed.
    """
    length = durations.read(text.strip())
    if length is None:
        raise usage(f"{flag} {text!r} is not a length of time: use {durations.EXAMPLES}.")
    if length > LONGEST:
        raise usage(f"{flag} {text!r} is longer than a hundred years.")
    if not length and not zero:
        raise usage(f"{flag} must be longer than zero.")
    return length
