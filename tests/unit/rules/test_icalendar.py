"""Importing the dates of .ics files (SEMANTICS 13)."""

from datetime import date

import pytest

from jobs.rules.calendars import CalendarError, parse_ics

pytestmark = pytest.mark.semantics(13)


def ics(*events: str) -> str:
    body = "".join(f"BEGIN:VEVENT\r\n{event}\r\nEND:VEVENT\r\n" for event in events)
    return f"BEGIN:VCALENDAR\r\nVERSION:2.0\r\n{body}END:VCALENDAR\r\n"


def days(*texts: str) -> frozenset[date]:
    return frozenset(date.fromisoformat(text) for text in texts)


YEARS = date(2028, 12, 31)


@pytest.mark.parametrize(
    ("event", "expected"),
    [
        ("DTSTART;VALUE=DATE:20261225", days("2026-12-25")),
        (
            "DTSTART;VALUE=DATE:20261224\r\nDTEND;VALUE=DATE:20261227",
            days("2026-12-24", "2026-12-25", "2026-12-26"),
        ),
        ("DTSTART;VALUE=DATE:20261225\r\nDURATION:P2D", days("2026-12-25", "2026-12-26")),
        ("DTSTART;TZID=Europe/Berlin:20261225T230000", days("2026-12-25")),
        (
            "DTSTART:20261225T230000\r\nDTEND:20261226T010000",
            days("2026-12-25", "2026-12-26"),
        ),
        ("DTSTART:20261225T220000\r\nDTEND:20261226T000000", days("2026-12-25")),
        # UTC times are read in the zone asked for: Berlin.
        ("DTSTART:20261225T233000Z\r\nDURATION:PT15M", days("2026-12-26")),
        ('DTSTART;X="a:b;c";VALUE=DATE:2026\r\n 1225\r\nSUMMARY:Folded', days("2026-12-25")),
        (
            "DTSTART;VALUE=DATE:20261225\r\nBEGIN:VALARM\r\nDURATION:P9D\r\nEND:VALARM",
            days("2026-12-25"),
        ),
        (
            "DTSTART;VALUE=DATE:20261225\r\nRRULE:FREQ=YEARLY",
            days("2026-12-25", "2027-12-25", "2028-12-25"),
        ),
        (
            "DTSTART;VALUE=DATE:20240229\r\nRRULE:FREQ=YEARLY;UNTIL=20300101",
            days("2024-02-29", "2028-02-29"),
        ),
        (
            "DTSTART;VALUE=DATE:20261225\r\nRRULE:FREQ=YEARLY;INTERVAL=2",
            days("2026-12-25", "2028-12-25"),
        ),
        (
            "DTSTART;VALUE=DATE:20261225\r\nRRULE:FREQ=YEARLY;COUNT=2",
            days("2026-12-25", "2027-12-25"),
        ),
        (
            "DTSTART;VALUE=DATE:20261126\r\nRRULE:FREQ=YEARLY;BYMONTH=11;BYDAY=4TH",
            days("2026-11-26", "2027-11-25", "2028-11-23"),
        ),
        (
            "DTSTART;VALUE=DATE:20270531\r\nRRULE:FREQ=YEARLY;BYMONTH=5;BYDAY=-1MO",
            days("2027-05-31", "2028-05-29"),
        ),
        (
            "DTSTART;VALUE=DATE:20260101\r\nRRULE:FREQ=YEARLY;BYMONTH=1,5;BYMONTHDAY=1;COUNT=3",
            days("2026-01-01", "2026-05-01", "2027-01-01"),
        ),
        (
            "DTSTART;VALUE=DATE:20260105\r\nRRULE:FREQ=YEARLY;BYDAY=1MO;COUNT=2",
            days("2026-01-05", "2027-01-04"),
        ),
        (
            "DTSTART;VALUE=DATE:20261130\r\nRRULE:FREQ=MONTHLY;BYMONTHDAY=-1;COUNT=3",
            days("2026-11-30", "2026-12-31", "2027-01-31"),
        ),
        (
            "DTSTART;VALUE=DATE:20261103\r\nRRULE:FREQ=WEEKLY;INTERVAL=2;BYDAY=TU,FR;COUNT=3",
            days("2026-11-03", "2026-11-06", "2026-11-17"),
        ),
        (
            "DTSTART;VALUE=DATE:20261103\r\nRRULE:FREQ=DAILY;INTERVAL=3;UNTIL=20261109T000000Z",
            days("2026-11-03", "2026-11-06", "2026-11-09"),
        ),
        (
            "DTSTART;VALUE=DATE:20261225\r\nRDATE;VALUE=DATE:20270105,20270106",
            days("2026-12-25", "2027-01-05", "2027-01-06"),
        ),
        (
            "DTSTART;VALUE=DATE:20261225\r\nRRULE:FREQ=YEARLY\r\nEXDATE;VALUE=DATE:20271225",
            days("2026-12-25", "2028-12-25"),
        ),
    ],
)
def test_events(event: str, expected: frozenset[date]) -> None:
    assert parse_ics(ics(event), tz="Europe/Berlin", horizon=YEARS) == expected


def test_cancelled_events_do_not_count() -> None:
    text = ics("DTSTART;VALUE=DATE:20261225", "STATUS:CANCELLED\r\nDTSTART;VALUE=DATE:20261226")
    assert parse_ics(text) == days("2026-12-25")


def test_unix_line_ends_and_a_byte_order_mark() -> None:
    text = "\ufeff" + ics("DTSTART;VALUE=DATE:20261225").replace("\r\n", "\n")
    assert parse_ics(text) == days("2026-12-25")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "does not begin with BEGIN:VCALENDAR"),
        ("hello", "does not begin with BEGIN:VCALENDAR"),
        (ics(), "no event with a date"),
        (ics("SUMMARY:No date"), "Event 1 .* it has no DTSTART"),
        (ics("DTSTART:tomorrow"), "'tomorrow' is not a date or a time"),
        (ics("DTSTART;VALUE=DATE:20261301"), "Event 1 .* month must be in 1..12"),
        (ics("DTSTART;VALUE=DATE:20261225\r\nDTEND;VALUE=DATE:20261224"), "ends before it starts"),
        (ics("DTSTART;VALUE=DATE:20261225\r\nDTEND:20261226T000000"), "not both dates"),
        (ics("DTSTART;VALUE=DATE:20261225\r\nDURATION:P"), "DURATION 'P' is not understood"),
        (ics("DTSTART;VALUE=DATE:20261225\r\nRRULE:FREQ=HOURLY"), "FREQ=HOURLY, .* not supported"),
        (ics("DTSTART;VALUE=DATE:20261225\r\nRRULE:FREQ=YEARLY;BYSETPOS=1"), "uses BYSETPOS"),
        (ics("DTSTART;VALUE=DATE:20261225\r\nRRULE:FREQ=YEARLY;COUNT=0"), "COUNT=0"),
        (ics("DTSTART;VALUE=DATE:20261225\r\nRRULE:FREQ=YEARLY;BYDAY=XX"), "weekday XX"),
        (ics("DTSTART;VALUE=DATE:00010101\r\nRRULE:FREQ=DAILY"), "repeats more than"),
        (ics("DTSTART;VALUE=DATE:00010101\r\nDTEND;VALUE=DATE:20260101"), "lasts 739616 days"),
        ("BEGIN:VCALENDAR\r\nBEGIN:VEVENT\r\nDTSTART:20260101", "cut off: VEVENT is not closed"),
        ("BEGIN:VCALENDAR\r\nEND:VEVENT", "END:VEVENT closes nothing"),
        (ics("no colon here"), "a line that is not understood: 'no colon here'"),
    ],
)
def test_refusals_are_one_sentence(text: str, reason: str) -> None:
    with pytest.raises(CalendarError, match=reason) as caught:
        parse_ics(text)
    assert "\n" not in str(caught.value)
