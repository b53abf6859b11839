"""The repeat rules of iCalendar that holiday and maintenance files use (RFC 5545, 3.3.10).

DAILY, WEEKLY, MONTHLY and YEARLY with INTERVAL, COUNT, UNTIL, BYMONTH, BYMONTHDAY and BYDAY.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Literal, cast

from jobs.rules.cron_days import month_length

Frequency = Literal["DAILY", "WEEKLY", "MONTHLY", "YEARLY"]

MOST_OCCURRENCES = 50_000

_WEEKDAYS = ("MO", "TU", "WE", "TH", "FR", "SA", "SU")
_KNOWN = frozenset({"FREQ", "INTERVAL", "COUNT", "UNTIL", "BYMONTH", "BYMONTHDAY", "BYDAY", "WKST"})


@dataclass(frozen=True, slots=True)
class Recurrence:
    """A parsed RRULE.

    ``weekdays`` are (ordinal, weekday) pairs: Monday is 0; ordinal 0 is every one, 1 the first,
    -1 the last.
    """

    frequency: Frequency
    interval: int = 1
    count: int | None = None
    until: date | None = None
    months: frozenset[int] = frozenset()
    month_days: frozenset[int] = frozenset()
    weekdays: frozenset[tuple[int, int]] = frozenset()
    week_start: int = 0


def parse_rule(text: str) -> Recurrence:
    """Return a rule. Raises ValueError in words that end a sentence."""
    parts = {}
    for part in text.upper().strip(";").split(";"):
        name, _, value = part.partition("=")
        parts[name.strip()] = value.strip()
    unknown = sorted(set(parts) - _KNOWN)
    if unknown:
        raise ValueError(f"its RRULE uses {', '.join(unknown)}, which is not supported.")
    frequency = parts.get("FREQ", "")
    if frequency not in ("DAILY", "WEEKLY", "MONTHLY", "YEARLY"):
        raise ValueError(f"its RRULE has FREQ={frequency}, which is not supported.")
    return Recurrence(
        frequency=cast(Frequency, frequency),
        interval=_positive(parts.get("INTERVAL", "1"), "INTERVAL"),
        count=_positive(parts["COUNT"], "COUNT") if "COUNT" in parts else None,
        until=_until(parts["UNTIL"]) if "UNTIL" in parts else None,
        months=_numbers(parts.get("BYMONTH", ""), "BYMONTH", 1, 12),
        month_days=_numbers(parts.get("BYMONTHDAY", ""), "BYMONTHDAY", -31, 31),
        weekdays=frozenset(_weekday(item) for item in parts.get("BYDAY", "").split(",") if item),
        week_start=_weekday(parts.get("WKST", "MO"))[1],
    )


def occurrences(rule: Recurrence, start: date, horizon: date) -> Iterator[date]:
    """Yield the dates of a rule that starts on a date, up to a horizon, its own end or its count.

    Raises ValueError where there are too many.
    """
    last = min(horizon, rule.until) if rule.until else horizon
    number = 0
    for day in _candidates(rule, start, last):
        if day < start:
            continue
        if day > last or (rule.count is not None and number >= rule.count):
            return
        number += 1
        if number > MOST_OCCURRENCES:
            raise ValueError(f"it repeats more than {MOST_OCCURRENCES} times.")
        yield day


def _candidates(rule: Recurrence, start: date, last: date) -> Iterator[date]:
    """Yield the dates the rule matches, in order, from the period of ``start`` on."""
    if rule.frequency == "DAILY":
        periods = _steps(start, last, rule.interval, 1)
    elif rule.frequency == "WEEKLY":
        monday = start - timedelta(days=(start.weekday() - rule.week_start) % 7)
        periods = _steps(monday, last, rule.interval * 7, 7)
    else:
        periods = _months(rule, start, last)
    for first, length in periods:
        for offset in range(length):
            day = first + timedelta(days=offset)
            if _matches(rule, start, day):
                yield day


def _steps(first: date, last: date, step: int, length: int) -> Iterator[tuple[date, int]]:
    for offset in range(0, (last - first).days + 1, step):
        yield first + timedelta(days=offset), length


def _months(rule: Recurrence, start: date, last: date) -> Iterator[tuple[date, int]]:
    """Yield the months that a YEARLY or MONTHLY rule may touch."""
    yearly = rule.frequency == "YEARLY"
    for index in range(start.year * 12 + (0 if yearly else start.month - 1), last.year * 12 + 12):
        year, month = index // 12, index % 12 + 1
        distance = year - start.year if yearly else index - (start.year * 12 + start.month - 1)
        if distance % rule.interval == 0:
            yield date(year, month, 1), month_length(year, month)


def _matches(rule: Recurrence, start: date, day: date) -> bool:
    if rule.months and day.month not in rule.months:
        return False
    if rule.month_days and not rule.month_days & {day.day, day.day - _length(day) - 1}:
        return False
    if rule.weekdays:
        return any(_is_weekday(rule, day, *weekday) for weekday in rule.weekdays)
    if rule.month_days or rule.frequency == "DAILY":
        return True
    if rule.frequency == "WEEKLY":
        return day.weekday() == start.weekday()
    # What the rule does not say, the start does.
    same_month = rule.frequency == "MONTHLY" or bool(rule.months) or day.month == start.month
    return same_month and day.day == start.day


def _is_weekday(rule: Recurrence, day: date, ordinal: int, weekday: int) -> bool:
    if day.weekday() != weekday:
        return False
    if ordinal == 0 or rule.frequency in ("DAILY", "WEEKLY"):
        return True
    if rule.frequency == "MONTHLY" or rule.months:
        position, length = day.day, _length(day)
    else:
        first = date(day.year, 1, 1)
        position = (day - first).days + 1
        length = (date(day.year, 12, 31) - first).days + 1
    return ordinal in ((position - 1) // 7 + 1, -((length - position) // 7 + 1))


def _length(day: date) -> int:
    return month_length(day.year, day.month)


def _positive(text: str, name: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise ValueError(f"its RRULE has {name}={text}, which is not a number above zero.")
    return int(text)


def _numbers(text: str, name: str, low: int, high: int) -> frozenset[int]:
    items = [item for item in text.split(",") if item]
    for item in items:
        if not re.fullmatch(r"[+-]?\d{1,2}", item) or not low <= int(item) <= high or not int(item):
            raise ValueError(f"its RRULE has {name}={text}, which is not understood.")
    return frozenset(int(item) for item in items)


def _weekday(text: str) -> tuple[int, int]:
    found = re.fullmatch(r"([+-]?\d{1,2})?([A-Z]{2})", text.strip())
    if found is None or found[2] not in _WEEKDAYS:
        raise ValueError(f"its RRULE has the weekday {text}, which is not understood.")
    return int(found[1] or 0), _WEEKDAYS.index(found[2])


def _until(text: str) -> date:
    found = re.match(r"(\d{4})(\d\d)(\d\d)", text)
    if found is None:
        raise ValueError(f"its RRULE has UNTIL={text}, which is not a date.")
    return date(int(found[1]), int(found[2]), int(found[3]))
