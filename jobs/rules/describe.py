"""A schedule in plain English, for lists, previews and explanations."""

from collections.abc import Iterable
from datetime import timedelta

from jobs.rules import zones
from jobs.rules.cron_fields import (
    HOUR,
    MINUTE,
    MONTH_OF_YEAR,
    Field,
    MonthDays,
    WeekDays,
    expand,
    expand_month_days,
    expand_week_days,
    starts_with_star,
)
from jobs.rules.crontab import CronSpec
from jobs.rules.timing import (
    CalendarIntervalSpec,
    IntervalSpec,
    OneShotSpec,
    SolarSpec,
    TimingSpec,
)

WEEKDAYS = ("Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday")
MONTHS = (
    "January", "February", "March", "April", "May", "June", "July", "August", "September",
    "October", "November", "December",
)  # fmt: skip
_ORDINALS = ("first", "second", "third", "fourth", "fifth")
_UNITS = (("day", 86_400), ("hour", 3_600), ("minute", 60), ("second", 1))
_MOST_TIMES = 4
"""Clock times that are listed one by one; more are said as hours and minutes."""


def describe(spec: TimingSpec) -> str:
    """Return one phrase without a full stop: "At 02:30 every day, Europe/Berlin"."""
    match spec:
        case CronSpec():
            return f"{_cron(spec)}, {spec.tz}"
        case IntervalSpec():
            return f"Every {duration(spec.every)}"
        case OneShotSpec():
            seconds = ":%S" if spec.at.second else ""
            return f"Once at {spec.at:%Y-%m-%d %H:%M{seconds}} UTC"
        case SolarSpec():
            return _solar(spec)
        case CalendarIntervalSpec():
            return _calendar_interval(spec)


def duration(length: timedelta) -> str:
    """Return a length of time in words: "15 minutes", "1 day and 2 hours", "hour" for one."""
    if length % timedelta(seconds=1):
        return f"{length.total_seconds():g} seconds"
    left = length.days * zones.DAY + length.seconds
    parts = []
    for unit, size in _UNITS:
        count, left = divmod(left, size)
        if count:
            parts.append(f"{count} {unit}{'s' * (count > 1)}")
    text = join(parts)
    return text.removeprefix("1 ") if len(parts) == 1 else text


def join(items: Iterable[str], word: str = "and") -> str:
    """Return "a", "a and b" or "a, b and c"."""
    *start, last = items
    return f"{', '.join(start)} {word} {last}" if start else last


def _cron(spec: CronSpec) -> str:
    time, days = _times(spec), _days(spec)
    if days == "every day" and time.startswith("Every"):
        return time
    return f"{time} {days}" if time.startswith("At") else f"{time}, {days}"


def _times(spec: CronSpec) -> str:
    hours, minutes = sorted(expand(HOUR, spec.hour)), sorted(expand(MINUTE, spec.minute))
    if len(hours) * len(minutes) <= _MOST_TIMES:
        return "At " + join(f"{hour:02}:{minute:02}" for hour in hours for minute in minutes)
    if len(hours) == 24:
        return _within_the_hour(minutes)
    if len(minutes) == 1 and (step := _step(hours, HOUR)):
        return f"Every {step} hours at minute {minutes[0]}" if minutes[0] else f"Every {step} hours"
    return f"{_within_the_hour(minutes)} {_hours(hours, minutes)}"


def _within_the_hour(minutes: list[int]) -> str:
    if len(minutes) == 60:
        return "Every minute"
    if step := _step(minutes, MINUTE):
        return f"Every {step} minutes"
    if minutes == [0]:
        return "Every hour"
    word = "minute" if len(minutes) == 1 else "minutes"
    return f"Every hour at {word} {_ranges(minutes)}"


def _hours(hours: list[int], minutes: list[int]) -> str:
    if hours == list(range(hours[0], hours[-1] + 1)):
        return f"from {hours[0]:02}:{minutes[0]:02} to {hours[-1]:02}:{minutes[-1]:02}"
    return f"in the hours {_ranges(hours, 2)}"


def _step(numbers: list[int], field: Field) -> int:
    """Return n where the numbers are every n-th of the whole field, from its start; else 0."""
    span = field.high - field.low + 1
    if len(numbers) < 2:
        return 0
    step = numbers[1] - numbers[0]
    regular = step > 1 and numbers == list(range(field.low, field.high + 1, step))
    return step if regular and span % step == 0 else 0


def _day_step(days: list[int]) -> int:
    """Return n where the days are every n-th of a month from the first, and many; else 0."""
    step = days[1] - days[0] if len(days) > _MOST_TIMES else 0
    return step if step > 1 and days == list(range(1, 32, step)) else 0


def _days(spec: CronSpec) -> str:
    by_month = _month_days(spec) if spec.day_of_month.strip() != "*" else ""
    by_week = _week_days(expand_week_days(spec.day_of_week))
    if by_week == "every day":
        by_week = ""
    months = sorted(expand(MONTH_OF_YEAR, spec.month_of_year))
    of_months = "the month" if len(months) == 12 else _names(months, MONTHS, 1)
    either = spec.day_match == "vixie" and not (
        starts_with_star(spec.day_of_month) or starts_with_star(spec.day_of_week)
    )
    if by_month and by_week:
        text = f"on {by_month} of {of_months}"
        if either:
            return f"{text} or {by_week}"
        return f"{text} when that is {by_week.removeprefix('on ').removeprefix('every ')}"
    if by_month:
        return f"on {by_month} of {of_months}"
    if by_week.startswith("on the"):
        return f"{by_week} of {of_months}"
    text = by_week or "every day"
    return text if len(months) == 12 else f"{text} in {of_months}"


def _month_days(spec: CronSpec) -> str:
    wanted: MonthDays = expand_month_days(spec.day_of_month)
    parts = []
    if wanted.days and (step := _day_step(sorted(wanted.days))):
        parts.append(f"every {step} days from day 1")
    elif wanted.days:
        word = "day" if len(wanted.days) == 1 else "days"
        parts.append(f"{word} {_ranges(sorted(wanted.days))}")
    parts += [f"the weekday nearest day {day}" for day in sorted(wanted.nearest)]
    if wanted.last_weekday:
        parts.append("the last weekday")
    for back in sorted(wanted.from_last, reverse=True):
        parts.append(f"the last day but {back}" if back else "the last day")
    text = join(parts)
    beyond_february = any(day > 28 for day in wanted.days | wanted.nearest)
    if spec.month_end == "clamp" and beyond_february:
        text += " (or the last day)"
    return text


def _week_days(wanted: WeekDays) -> str:
    parts = []
    if len(wanted.days) == 7:
        return "every day"
    if wanted.days == frozenset({1, 2, 3, 4, 5}):
        parts.append("Monday to Friday")
    elif wanted.days:
        parts.append(join(WEEKDAYS[day] for day in _monday_first(wanted.days)))
    special = [f"{_ORDINALS[number - 1]} {WEEKDAYS[day]}" for day, number in sorted(wanted.nth)]
    special += [f"last {WEEKDAYS[day]}" for day in _monday_first(wanted.last)]
    if special:
        named = [f"the {item}" for item in special]
        return "on " + join([*named, *(f"every {part}" for part in parts)])
    return parts[0] if wanted.days == frozenset({1, 2, 3, 4, 5}) else f"every {parts[0]}"


def _monday_first(days: frozenset[int]) -> list[int]:
    return sorted(days, key=lambda day: (day - 1) % 7)


def _ranges(numbers: list[int], width: int = 1) -> str:
    """Return "1", "1 and 2" or "1-5, 7 and 9-12", each number padded to a width."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    parts: list[str] = []
    for run in runs:
        texts = [f"{number:0{width}}" for number in run]
        parts += texts if len(texts) < 3 else [f"{texts[0]}-{texts[-1]}"]
    return join(parts)


def _names(numbers: list[int], names: tuple[str, ...], low: int) -> str:
    if len(numbers) > 2 and numbers == list(range(numbers[0], numbers[-1] + 1)):
        return f"{names[numbers[0] - low]} to {names[numbers[-1] - low]}"
    return join(names[number - low] for number in numbers)


def _solar(spec: SolarSpec) -> str:
    north = f"{abs(spec.latitude):g}°{'N' if spec.latitude >= 0 else 'S'}"
    east = f"{abs(spec.longitude):g}°{'E' if spec.longitude >= 0 else 'W'}"
    part, _, kind = spec.event.partition("_")
    name = {"solar_noon": "solar noon"}.get(spec.event, f"{kind} {part}".strip())
    return f"At {name} every day at {north} {east}"


def _calendar_interval(spec: CalendarIntervalSpec) -> str:
    unit = spec.unit if spec.every == 1 else f"{spec.every} {spec.unit}s"
    since = f"{spec.anchor:%Y-%m-%d}"
    return f"At {spec.anchor:%H:%M} every {unit} from {since}, {spec.tz}"
