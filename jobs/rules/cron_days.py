"""Which days of a month a cron schedule chooses (SEMANTICS 2, 3, 4).

A month has only 28 shapes: four lengths times seven weekdays it may start on. The chosen days of
each shape are kept as a bit mask (bit 1 is the first of the month), so a search is a table lookup.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date

from jobs.rules.cron_fields import MonthDays, WeekDays

LENGTHS = (0, 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)
"""Days per month number, outside leap years."""

SHORTEST = 28
SUNDAY, SATURDAY = 0, 6

_WHOLE_MONTH = (1 << 32) - 2


@dataclass(frozen=True, slots=True)
class DayTable:
    """The chosen days of each shape of month: ``masks[length - 28][weekday of the first]``."""

    masks: tuple[tuple[int, ...], ...]

    def ever(self, months: Iterable[int]) -> bool:
        """Return whether any day of these months is ever chosen (SEMANTICS 5).

        Every shape of every month occurs within the 400 years of the calendar, so no search.
        """
        lengths = {LENGTHS[month] for month in months} | ({29} if 2 in months else set())
        return any(mask for length in lengths for mask in self.masks[length - SHORTEST])

    def in_month(self, year: int, month: int) -> int:
        """Return the mask of the chosen days of one month."""
        first = date(year, month, 1).toordinal()
        return self.masks[month_length(year, month) - SHORTEST][first % 7]


def month_length(year: int, month: int) -> int:
    """Return the number of days of a month."""
    if month == 2 and year % 4 == 0 and (year % 100 != 0 or year % 400 == 0):
        return 29
    return LENGTHS[month]


def day_table(month_days: MonthDays, week_days: WeekDays, *, either: bool, clamp: bool) -> DayTable:
    """Return the table of two day fields.

    ``either`` joins them by OR instead of AND; ``clamp`` moves days a month lacks to its last.
    """
    rows = []
    for length in range(SHORTEST, 32):
        row = []
        for first in range(7):
            by_month = _month_mask(month_days, length, first, clamp=clamp)
            by_week = _week_mask(week_days, length, first)
            row.append(by_month | by_week if either else by_month & by_week)
        rows.append(tuple(row))
    return DayTable(tuple(rows))


def _month_mask(wanted: MonthDays, length: int, first: int, *, clamp: bool) -> int:
    mask = 0
    for day in wanted.days:
        if day <= length:
            mask |= 1 << day
        elif clamp:
            mask |= 1 << length
    for back in wanted.from_last:
        if back < length:
            mask |= 1 << (length - back)
    for day in wanted.nearest:
        if day <= length or clamp:
            mask |= 1 << _nearest_weekday(min(day, length), length, first)
    if wanted.last_weekday:
        mask |= 1 << _nearest_weekday(length, length, first)
    return mask


def _nearest_weekday(day: int, length: int, first: int) -> int:
    """Return the Monday-to-Friday nearest to a day, never leaving its month."""
    weekday = (first + day - 1) % 7
    if weekday == SATURDAY:
        return day - 1 if day > 1 else day + 2
    if weekday == SUNDAY:
        return day + 1 if day < length else day - 2
    return day


def _week_mask(wanted: WeekDays, length: int, first: int) -> int:
    mask = 0
    for weekday in wanted.days:
        mask |= _every_week(weekday, first)
    for weekday, number in wanted.nth:
        mask |= 1 << (1 + (weekday - first) % 7 + 7 * (number - 1))
    mask &= (1 << (length + 1)) - 1
    for weekday in wanted.last:
        days = _every_week(weekday, first) & ((1 << (length + 1)) - 1)
        mask |= 1 << (days.bit_length() - 1)
    return mask


def _every_week(weekday: int, first: int) -> int:
    """Return the mask of days 1, 8, 15, 22, 29 moved to the given weekday."""
    return (0x20408102 << ((weekday - first) % 7)) & _WHOLE_MONTH
