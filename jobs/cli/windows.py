"""Days and hours as people type them: dates, ranges of dates, and weekly windows (`mon-fri 09:00-17:00`)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import date, time, timedelta
from typing import Any

from jobs.cli.failures import usage

WEEKDAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
MOST_DATES = 50_000

_HOURS = re.compile(r"(\d{1,2}:\d{2})\s*-\s*(\d{1,2}:\d{2})", re.ASCII)


def parse_dates(texts: Sequence[str], flag: str) -> list[str]:
    """Return the dates that are listed, as ISO text in order: `2026-12-25`, or `2026-12-24..2026-12-26`.

    Raises `Failure` (usage) naming `flag`.
    """
    found: set[date] = set()
    for text in (part.strip() for item in texts for part in item.split(",")):
        first, _, last = text.partition("..")
        try:
            start, end = date.fromisoformat(first), date.fromisoformat(last or first)
        except ValueError as error:
            raise usage(
                f"{flag} {text!r} is not a date: write 2026-12-25 or 2026-12-24..2026-12-26."
            ) from error
        days = (end - start).days
        if not 0 <= days < MOST_DATES:
            raise usage(f"{flag} {text!r} is no range of dates: the first comes first.")
        found.update(start + timedelta(days=n) for n in range(days + 1))
    return [day.isoformat() for day in sorted(found)]


def parse_windows(texts: Sequence[str], flag: str) -> list[dict[str, Any]]:
    """Return weekly windows as they are stored. Raises `Failure` (usage) naming `flag`."""
    return [_window(text, flag) for text in texts]


def _window(text: str, flag: str) -> dict[str, Any]:
    words = text.strip().lower()
    hours = _HOURS.search(words)
    days = _days(words[: hours.start()] if hours else words)
    if days is None or (hours and words[hours.end() :].strip()):
        raise usage(
            f'{flag} {text!r} is not understood: write "mon-fri 09:00-17:00", "sat,sun" or "22:00-06:00".'
        )
    try:
        start, end = (_time(one) for one in hours.groups()) if hours else ("00:00", "00:00")
    except ValueError as error:
        raise usage(f"{flag} {text!r}: the hours go from 00:00 to 24:00.") from error
    return {"days": days, "start": start, "end": end}


def _days(words: str) -> list[int] | None:
    words = words.strip().strip(",")
    if words in ("", "daily", "all", "every day"):
        return list(range(1, 8))
    days: set[int] = set()
    for part in words.replace(",", " ").split():
        first, _, last = part.partition("-")
        numbers = [_weekday(word) for word in (first, last or first)]
        if None in numbers:
            return None
        low, high = (int(number or 0) for number in numbers)
        span = range(low, high + 1) if low <= high else [*range(low, 8), *range(1, high + 1)]
        days.update(span)
    return sorted(days)


def _weekday(word: str) -> int | None:
    found = [n for n, name in enumerate(WEEKDAYS, start=1) if word[:3] == name and word.isalpha()]
    return found[0] if found else None


def _time(text: str) -> str:
    if text == "24:00":
        return "00:00"
    hour, minute = text.split(":")
    return time(int(hour), int(minute)).isoformat("minutes")


def window_text(window: dict[str, Any]) -> str:
    """Return a stored window as people type it."""
    days = sorted(window["days"])
    whole = days == list(range(days[0], days[-1] + 1)) and len(days) > 1
    named = [WEEKDAYS[day - 1] for day in days]
    text = "daily" if len(days) == 7 else f"{named[0]}-{named[-1]}" if whole else ",".join(named)
    hours = f"{window['start'][:5]}-{window['end'][:5]}"
    return text if hours == "00:00-00:00" else f"{text} {hours}"
