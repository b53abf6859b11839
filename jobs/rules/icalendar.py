"""Reading the days of an iCalendar (.ics) file: text in, dates out (SEMANTICS 13, RFC 5545).

Every local date that an event touches counts. The repeat rules that holiday files use are
expanded (`recurrence`); one that is not understood is refused rather than half read.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from jobs.rules import zones
from jobs.rules.pieces import CalendarError
from jobs.rules.recurrence import Recurrence, occurrences, parse_rule

HORIZON = date(2099, 12, 31)
"""Rules that repeat without an end are expanded up to here."""

MOST_DATES = 50_000

_DURATION = re.compile(
    r"P(?:(?P<weeks>\d+)W)?(?:(?P<days>\d+)D)?"
    r"(?:T(?:(?P<hours>\d+)H)?(?:(?P<minutes>\d+)M)?(?:(?P<seconds>\d+)S)?)?"
)


@dataclass(frozen=True, slots=True)
class _Property:
    """One content line: ``NAME;PARAM=x:value``."""

    name: str
    parameters: tuple[tuple[str, str], ...]
    value: str

    def parameter(self, name: str) -> str | None:
        return dict(self.parameters).get(name)


@dataclass(frozen=True, slots=True)
class _Event:
    """A VEVENT: first and last local date of its first occurrence, and how it repeats."""

    first: date
    last: date
    rule: Recurrence | None
    extra: frozenset[date]
    without: frozenset[date]


def parse_ics(text: str, *, tz: str = "UTC", horizon: date = HORIZON) -> frozenset[date]:
    """Return every local date that an event of an iCalendar text touches.

    Times in UTC are read in zone ``tz``; other times keep the date they are written with. Raises
    CalendarError in one sentence.
    """
    zone = zones.load(tz)
    dates: set[date] = set()
    for number, properties in enumerate(_events(text), start=1):
        try:
            event = _event(properties, zone)
            dates.update(_days(event, horizon) if event else ())
        except (ValueError, OverflowError) as error:
            message = f"Event {number} of the .ics file cannot be read: {error}"
            raise CalendarError(message) from error
        if len(dates) > MOST_DATES:
            raise CalendarError(f"The .ics file has more than {MOST_DATES} dates.")
    if not dates:
        raise CalendarError("The .ics file has no event with a date.")
    return frozenset(dates)


def _events(text: str) -> Iterator[list[_Property]]:
    """Yield the properties of each VEVENT, those of its alarms left out."""
    open_components: list[str] = []
    properties: list[_Property] = []
    for line in _unfold(text):
        item = _property(line)
        if item.name == "BEGIN":
            open_components.append(item.value.upper())
            if open_components[-1] == "VEVENT":
                properties = []
        elif item.name == "END":
            if not open_components or open_components.pop() != item.value.upper():
                raise CalendarError(f"The .ics file is damaged: END:{item.value} closes nothing.")
            if item.value.upper() == "VEVENT":
                yield properties
        elif open_components and open_components[-1] == "VEVENT":
            properties.append(item)
    if open_components:
        raise CalendarError(f"The .ics file is cut off: {open_components[-1]} is not closed.")


def _unfold(text: str) -> list[str]:
    """Return the content lines; a line that begins with a blank continues the one before."""
    lines: list[str] = []
    for line in text.removeprefix("\ufeff").splitlines():
        if line[:1] in (" ", "\t") and lines:
            lines[-1] += line[1:]
        elif line.strip():
            lines.append(line)
    if not lines or lines[0].strip().upper() != "BEGIN:VCALENDAR":
        raise CalendarError("This is no iCalendar file: it does not begin with BEGIN:VCALENDAR.")
    return lines


def _property(line: str) -> _Property:
    # A colon inside quotes belongs to a parameter.
    found = re.fullmatch(r'([\w-]+)((?:;[\w-]+=(?:"[^"]*"|[^";:,]|,)*)*):(.*)', line, re.DOTALL)
    if found is None:
        raise CalendarError(f"The .ics file has a line that is not understood: {line[:60]!r}.")
    parameters = tuple(
        (name.upper(), value.strip('"')) for name, value in re.findall(r';([\w-]+)=("[^"]*"|[^;]*)', found[2])
    )
    return _Property(found[1].upper(), parameters, found[3].strip())


def _event(properties: list[_Property], zone: ZoneInfo) -> _Event | None:
    single = {item.name: item for item in properties}
    cancelled = "STATUS" in single and single["STATUS"].value.upper() == "CANCELLED"
    if cancelled:
        return None
    if "DTSTART" not in single:
        raise ValueError("it has no DTSTART.")
    if sum(item.name == "RRULE" for item in properties) > 1:
        raise ValueError("it has more than one RRULE.")
    start = _moment(single["DTSTART"].value, zone)
    end = _end(start, single, zone)
    rule = parse_rule(single["RRULE"].value) if "RRULE" in single else None
    return _Event(
        _date(start),
        _last_date(start, end),
        rule,
        _listed(properties, "RDATE", zone),
        _listed(properties, "EXDATE", zone),
    )


def _end(start: date, single: dict[str, _Property], zone: ZoneInfo) -> date:
    """Return the exclusive end; a date without one lasts a day, a time no time at all."""
    if "DTEND" in single:
        end = _moment(single["DTEND"].value, zone)
        if isinstance(end, datetime) != isinstance(start, datetime):
            raise ValueError("DTSTART and DTEND are not both dates or both times.")
    elif "DURATION" in single:
        end = start + _duration(single["DURATION"].value)
    else:
        return start if isinstance(start, datetime) else start + timedelta(days=1)
    if end < start:
        raise ValueError("it ends before it starts.")
    return end


def _duration(text: str) -> timedelta:
    found = _DURATION.fullmatch(text.removeprefix("+"))
    if found is None or not any(found.groups()):
        raise ValueError(f"the DURATION {text!r} is not understood.")
    return timedelta(**{unit: int(count) for unit, count in found.groupdict("0").items()})


def _last_date(start: date, end: date) -> date:
    """Return the last date before an exclusive end, but never one before the start."""
    if isinstance(end, datetime):
        return max((end - timedelta(microseconds=1)).date(), _date(start))
    return max(end - timedelta(days=1), start)


def _listed(properties: list[_Property], name: str, zone: ZoneInfo) -> frozenset[date]:
    values = [item.value.split(",") for item in properties if item.name == name]
    # A period, "start/end", counts as its start.
    starts = [text.partition("/")[0] for texts in values for text in texts]
    return frozenset(_date(_moment(start, zone)) for start in starts)


def _moment(text: str, zone: ZoneInfo) -> date:
    """Return a DATE, or a DATE-TIME as a naive local datetime."""
    found = re.fullmatch(r"(\d{4})(\d\d)(\d\d)(?:T(\d\d)(\d\d)(\d\d)(Z?))?", text.strip())
    if found is None:
        raise ValueError(f"{text!r} is not a date or a time.")
    day = date(int(found[1]), int(found[2]), int(found[3]))
    if found[4] is None:
        return day
    # RFC 5545 allows a leap second, Python does not.
    clock = time(int(found[4]), int(found[5]), min(int(found[6]), 59))
    moment = datetime.combine(day, clock)
    if found[7]:
        return moment.replace(tzinfo=UTC).astimezone(zone).replace(tzinfo=None)
    return moment


def _date(moment: date) -> date:
    return moment.date() if isinstance(moment, datetime) else moment


def _days(event: _Event, horizon: date) -> Iterator[date]:
    """Yield each date of each occurrence of an event."""
    length = (event.last - event.first).days + 1
    if length > MOST_DATES:
        raise ValueError(f"it lasts {length} days.")
    starts = {event.first} | event.extra
    if event.rule is not None:
        starts.update(occurrences(event.rule, event.first, horizon))
    for start in sorted(starts - event.without):
        for day in range(length):
            yield start + timedelta(days=day)
