"""Lengths of time as people write them: `30s`, `10m`, `1h30m`, `PT10M`, or plain seconds."""

import re
from datetime import timedelta

UNITS = {"ms": 0.001, "s": 1, "m": 60, "h": 3_600, "d": 86_400, "w": 604_800}
LONGEST = timedelta(days=36_500)
EXAMPLES = "30s, 10m, 2h, 1d, 1h30m, PT10M or seconds"

_WORDS = re.compile(r"(?:\d+(?:\.\d+)?(?:ms|s|m|h|d|w))+", re.ASCII)
_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d|w)", re.ASCII)
_SECONDS = re.compile(r"\d+(?:\.\d+)?", re.ASCII)
_ISO = re.compile(
    r"P(?:(?P<w>\d+(?:\.\d+)?)W)?(?:(?P<d>\d+(?:\.\d+)?)D)?"
    r"(?:T(?=\d)(?:(?P<h>\d+(?:\.\d+)?)H)?(?:(?P<m>\d+(?:\.\d+)?)M)?(?:(?P<s>\d+(?:\.\d+)?)S)?)?",
    re.ASCII,
)


def read(text: str) -> timedelta | None:
    """Return the length that `text` says; None when it says none. One past `LONGEST` is too long."""
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


def write(length: timedelta) -> str:
    """Return the exact text of a length that is not negative: `read` gives the same length back."""
    left = length.days * 86_400 + length.seconds
    text = ""
    for unit in ("d", "h", "m"):
        count, left = divmod(left, int(UNITS[unit]))
        text += f"{count}{unit}" if count else ""
    if length.microseconds:
        return f"{text}{left}.{length.microseconds:06}".rstrip("0") + "s"
    return text + (f"{left}s" if left or not text else "")
