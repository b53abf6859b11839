"""Lengths of time as people type them: `30s`, `10m`, `1h30m`, `PT10M`, or plain seconds."""

from __future__ import annotations

import re
from datetime import timedelta

from jobs.cli.failures import usage

UNITS = {"ms": 0.001, "s": 1, "m": 60, "h": 3_600, "d": 86_400, "w": 604_800}
LONGEST = timedelta(days=36_500)

_WORDS = re.compile(r"(?:\d+(?:\.\d+)?(?:ms|s|m|h|d|w))+", re.ASCII)
_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d|w)", re.ASCII)
_SECONDS = re.compile(r"\d+(?:\.\d+)?", re.ASCII)
_ISO = re.compile(
    r"P(?:(?P<w>\d+(?:\.\d+)?)W)?(?:(?P<d>\d+(?:\.\d+)?)D)?"
    r"(?:T(?=\d)(?:(?P<h>\d+(?:\.\d+)?)H)?(?:(?P<m>\d+(?:\.\d+)?)M)?(?:(?P<s>\d+(?:\.\d+)?)S)?)?",
    re.ASCII,
)


def parse_duration(text: str, flag: str, *, zero: bool = False) -> timedelta:
    """Return the length of time that `text` says.

    Raises `Failure` (usage) naming `flag`; for nothing at all too, unless `zero` is allowed.
    """
    length = _parse(text.strip())
    if length is None:
        raise usage(
            f"{flag} {text!r} is not a length of time: use 30s, 10m, 2h, 1d, 1h30m, PT10M or seconds."
        )
    if length > LONGEST:
        raise usage(f"{flag} {text!r} is longer than a hundred years.")
    if not length and not zero:
        raise usage(f"{flag} must be longer than zero.")
    return length


def _parse(text: str) -> timedelta | None:
    try:
        if _SECONDS.fullmatch(text):
            return timedelta(seconds=float(text))
        if _WORDS.fullmatch(text.lower()):
            parts = _PART.findall(text.lower())
            return timedelta(seconds=sum(float(number) * UNITS[unit] for number, unit in parts))
        found = _ISO.fullmatch(text.upper())
        if found is None or not any(found.groupdict().values()):
            return None
        parts = [(number, unit) for unit, number in found.groupdict().items() if number]
        return timedelta(seconds=sum(float(number) * UNITS[unit] for number, unit in parts))
    except OverflowError:
        return LONGEST + timedelta(days=1)
