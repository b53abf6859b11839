"""Schedules in plain English."""

from datetime import UTC, datetime, timedelta

import pytest

from jobs.rules.crontab import parse_expression
from jobs.rules.describe import describe, duration
from jobs.rules.timing import CalendarIntervalSpec, IntervalSpec, OneShotSpec, SolarSpec, TimingSpec

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("30 2 * * *", "At 02:30 every day"),
        ("* * * * *", "Every minute"),
        ("*/15 * * * *", "Every 15 minutes"),
        ("*/7 * * * *", "Every hour at minutes 0, 7, 14, 21, 28, 35, 42, 49 and 56"),
        ("0 * * * *", "Every hour"),
        ("5 * * * *", "Every hour at minute 5"),
        ("0 */2 * * *", "Every 2 hours"),
        ("30 */6 * * *", "At 00:30, 06:30, 12:30 and 18:30 every day"),
        ("15 */2 * * *", "Every 2 hours at minute 15"),
        ("0 9 * * 1-5", "At 09:00 Monday to Friday"),
        ("0 9,17 * * mon,wed", "At 09:00 and 17:00 every Monday and Wednesday"),
        ("*/5 9-17 * * *", "Every 5 minutes from 09:00 to 17:55"),
        ("0 9-17 * * 1-5", "Every hour from 09:00 to 17:00, Monday to Friday"),
        ("0 18 LW * *", "At 18:00 on the last weekday of the month"),
        ("0 0 L * *", "At 00:00 on the last day of the month"),
        ("0 0 L-3 2 *", "At 00:00 on the last day but 3 of February"),
        ("0 0 15W * *", "At 00:00 on the weekday nearest day 15 of the month"),
        ("0 0 1,15 * *", "At 00:00 on days 1 and 15 of the month"),
        ("0 0 */2 * *", "At 00:00 on every 2 days from day 1 of the month"),
        ("0 0 1 1 *", "At 00:00 on day 1 of January"),
        ("0 0 * 6-8 *", "At 00:00 every day in June to August"),
        (
            "0 0 * * fri#2,monL",
            "At 00:00 on the second Friday and the last Monday of the month",
        ),
        ("0 0 13 * 5", "At 00:00 on day 13 of the month or every Friday"),
    ],
)
def test_cron(text: str, expected: str) -> None:
    spec = parse_expression(text, tz="Europe/Berlin", day_match="vixie")
    assert describe(spec) == f"{expected}, Europe/Berlin"


def test_both_days_at_once() -> None:
    spec = parse_expression("0 0 13 * 5", day_match="and")
    assert describe(spec) == "At 00:00 on day 13 of the month when that is Friday, UTC"


def test_clamped() -> None:
    spec = parse_expression("0 0 31 * *", month_end="clamp")
    assert describe(spec) == "At 00:00 on day 31 (or the last day) of the month, UTC"


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        (IntervalSpec(timedelta(minutes=15), NOON), "Every 15 minutes"),
        (IntervalSpec(timedelta(hours=1), NOON), "Every hour"),
        (IntervalSpec(timedelta(days=1, hours=2), NOON), "Every 1 day and 2 hours"),
        (OneShotSpec(NOON), "Once at 2026-11-21 12:00 UTC"),
        (OneShotSpec(NOON.replace(second=5)), "Once at 2026-11-21 12:00:05 UTC"),
        (SolarSpec("sunset", 52.5, -13.25), "At sunset every day at 52.5°N 13.25°W"),
        (SolarSpec("dawn_civil", -5, 10), "At civil dawn every day at 5°S 10°E"),
        (SolarSpec("solar_noon", 0, 0), "At solar noon every day at 0°N 0°E"),
        (
            CalendarIntervalSpec(2, "month", datetime(2026, 1, 31, 9), "Europe/Berlin"),
            "At 09:00 every 2 months from 2026-01-31, Europe/Berlin",
        ),
    ],
)
def test_others(spec: TimingSpec, expected: str) -> None:
    assert describe(spec) == expected


def test_durations() -> None:
    assert duration(timedelta(milliseconds=500)) == "0.5 seconds"
    assert duration(timedelta(days=2, hours=3, seconds=1)) == "2 days, 3 hours and 1 second"
