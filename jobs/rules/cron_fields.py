"""The grammar of one cron field: text in, numbers out (SEMANTICS 2).

Celery's syntax is accepted: names, lists, ranges, steps and ranges that wrap (``22-2``), plus
``7`` for Sunday and the day extensions ``L``, ``L-n``, ``LW``, ``nW``, ``d#n`` and ``dL``.
"""

import re
from dataclasses import dataclass


class CronError(ValueError):
    """A cron expression that cannot be accepted; the message is one sentence for a person."""


@dataclass(frozen=True, slots=True)
class Field:
    """One position of a cron expression: its name, its inclusive bounds and its words.

    ``alias`` is a number accepted beside the bounds (7 for Sunday); it means ``low``.
    """

    name: str
    low: int
    high: int
    words: tuple[str, ...] = ()
    alias: int | None = None


_MONTHS = (
    "january", "february", "march", "april", "may", "june", "july", "august", "september",
    "october", "november", "december",
)  # fmt: skip
_WEEKDAYS = ("sunday", "monday", "tuesday", "wednesday", "thursday", "friday", "saturday")

MINUTE = Field("minute", 0, 59)
HOUR = Field("hour", 0, 23)
DAY_OF_MONTH = Field("day of month", 1, 31)
MONTH_OF_YEAR = Field("month", 1, 12, _MONTHS)
DAY_OF_WEEK = Field("day of week", 0, 6, _WEEKDAYS, alias=7)

_NUMBER = re.compile(r"[0-9]{1,4}")
_WORD = re.compile(r"[a-z]{3,}", re.IGNORECASE)
_LAST_MINUS = re.compile(r"L-([0-9]{1,2})", re.IGNORECASE)
_NEAREST = re.compile(r"([0-9]{1,2})W", re.IGNORECASE)
_NTH = re.compile(r"([0-9a-z]+)#([0-9]+)", re.IGNORECASE)
_LAST_OF = re.compile(r"([0-9]|[a-z]{3,}?)L", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class MonthDays:
    """What a day-of-month field asks for, before any month is known.

    ``days`` are plain numbers, ``from_last`` counts back from the last day (``L`` is 0),
    ``nearest`` are the ``nW`` days, ``last_weekday`` is ``LW``.
    """

    days: frozenset[int]
    from_last: frozenset[int] = frozenset()
    nearest: frozenset[int] = frozenset()
    last_weekday: bool = False


@dataclass(frozen=True, slots=True)
class WeekDays:
    """What a day-of-week field asks for; 0 is Sunday.

    ``nth`` are the (weekday, n) pairs of ``d#n``, ``last`` the weekdays of ``dL``.
    """

    days: frozenset[int]
    nth: frozenset[tuple[int, int]] = frozenset()
    last: frozenset[int] = frozenset()


def starts_with_star(text: str) -> bool:
    """Return whether vixie cron would set its "star" flag for this field (SEMANTICS 3, 7)."""
    return text.lstrip().startswith("*")


def expand(field: Field, text: str) -> frozenset[int]:
    """Return the numbers a field without day extensions stands for.

    Raises CronError.
    """
    numbers: set[int] = set()
    for part in _parts(field, text):
        numbers.update(_expand_part(field, part, text))
    return frozenset(numbers)


def expand_month_days(text: str) -> MonthDays:
    """Return what a day-of-month field asks for, ``L``, ``L-n``, ``LW`` and ``nW`` included.

    Raises CronError.
    """
    field = DAY_OF_MONTH
    days: set[int] = set()
    from_last: set[int] = set()
    nearest: set[int] = set()
    last_weekday = False
    for part in _parts(field, text):
        if part.upper() == "L":
            from_last.add(0)
        elif part.upper() == "LW":
            last_weekday = True
        elif found := _LAST_MINUS.fullmatch(part):
            from_last.add(_days_before_last(int(found[1]), text))
        elif found := _NEAREST.fullmatch(part):
            nearest.add(_number(field, found[1], text))
        else:
            days.update(_expand_part(field, part, text))
    return MonthDays(frozenset(days), frozenset(from_last), frozenset(nearest), last_weekday)


def expand_week_days(text: str) -> WeekDays:
    """Return what a day-of-week field asks for, ``d#n`` and ``dL`` included.

    Raises CronError.
    """
    field = DAY_OF_WEEK
    days: set[int] = set()
    nth: set[tuple[int, int]] = set()
    last: set[int] = set()
    for part in _parts(field, text):
        if found := _NTH.fullmatch(part):
            nth.add((_weekday(found[1], text), _week_number(int(found[2]), text)))
        elif part.upper() == "L":
            raise _error(field, text, "L needs a weekday before it here, such as 5L or friL")
        elif found := _LAST_OF.fullmatch(part):
            last.add(_weekday(found[1], text))
        else:
            days.update(_weekday_range(part, text))
    return WeekDays(frozenset(days), frozenset(nth), frozenset(last))


def _parts(field: Field, text: str) -> list[str]:
    parts = [part.strip() for part in text.split(",")]
    if "" in parts:
        reason = "it is empty" if not text.strip() else "a part of its list is empty"
        raise _error(field, text, reason)
    return parts


def _expand_part(field: Field, part: str, text: str) -> list[int]:
    """Return the numbers of one part: ``*``, ``5``, ``1-5``, each range with an optional step."""
    body, slash, step_text = part.partition("/")
    if body == "*":
        numbers = list(range(field.low, field.high + 1))
    elif "-" in body:
        first, _, last = body.partition("-")
        numbers = _wrapping_range(field, _number(field, first, text), _number(field, last, text))
    elif slash:
        # Celery refuses it too; cron programs that accept it disagree on what it means.
        reason = f"a step needs a range or * before it, such as {body}-{field.high}/{step_text}"
        raise _error(field, text, reason)
    else:
        numbers = [_number(field, body, text)]
    return numbers[:: _step(field, step_text, text)] if slash else numbers


def _weekday_range(part: str, text: str) -> list[int]:
    """Return one part of the day-of-week field; a range may end on 7 (``5-7`` is Fri-Sun)."""
    return [day % 7 for day in _expand_part(DAY_OF_WEEK, part, text)]


def _wrapping_range(field: Field, first: int, last: int) -> list[int]:
    """Return first..last, passing the top of the field where last is the smaller, as Celery."""
    if first == field.alias and last != field.alias:
        first = field.low
    if last >= first:
        return list(range(first, last + 1))
    return [*range(first, field.high + 1), *range(field.low, last + 1)]


def _number(field: Field, token: str, text: str) -> int:
    if _NUMBER.fullmatch(token):
        number = int(token)
        if number == field.alias:
            return number
        if number > field.high:
            raise _error(field, text, f"{number} is above {field.alias or field.high}")
        if number < field.low:
            raise _error(field, text, f"{number} is below {field.low}")
        return number
    if field.words and _WORD.fullmatch(token):
        for index, word in enumerate(field.words):
            if word.startswith(token.lower()):
                return field.low + index
    raise _error(field, text, f"{token!r} is not a {'name or ' if field.words else ''}number")


def _weekday(token: str, text: str) -> int:
    return _number(DAY_OF_WEEK, token, text) % 7


def _step(field: Field, token: str, text: str) -> int:
    if not _NUMBER.fullmatch(token):
        raise _error(field, text, f"the step {token!r} is not a number")
    if int(token) == 0:
        raise _error(field, text, "a step of 0 never fires")
    return int(token)


def _week_number(number: int, text: str) -> int:
    if not 1 <= number <= 5:
        reason = f"no month has a weekday number {number}, so it never fires (use 1 to 5)"
        raise _error(DAY_OF_WEEK, text, reason)
    return number


def _days_before_last(count: int, text: str) -> int:
    if count > 30:
        raise _error(DAY_OF_MONTH, text, f"no month has {count + 1} days, so it never fires")
    return count


def _error(field: Field, text: str, reason: str) -> CronError:
    return CronError(f"The {field.name} field {text!r} is not valid: {reason}.")
