"""A local day begins and ends where its zone says, also when the clocks change."""

from __future__ import annotations

from datetime import UTC, date, datetime

import pytest

from billing.money import money, written
from billing.periods import LocalDay, day_before


@pytest.mark.parametrize(
    ("day", "zone", "start", "hours"),
    [
        ("2026-03-28", "Europe/Berlin", "2026-03-27T23:00", 24),
        ("2026-03-29", "Europe/Berlin", "2026-03-28T23:00", 23),
        ("2026-10-25", "Europe/Berlin", "2026-10-24T22:00", 25),
        ("2026-03-29", "Asia/Beirut", "2026-03-28T22:00", 23),  # midnight does not exist: the day begins at 1
        ("2026-10-24", "Asia/Beirut", "2026-10-23T21:00", 25),  # the clock goes back over midnight
        ("2026-11-01", "America/Havana", "2026-11-01T04:00", 25),  # midnight comes twice
        ("2026-06-01", "Pacific/Kiritimati", "2026-05-31T10:00", 24),
    ],
)
def test_the_bounds_of_a_day(day: str, zone: str, start: str, hours: int) -> None:
    period = LocalDay(date.fromisoformat(day), zone)
    assert period.start == datetime.fromisoformat(start).replace(tzinfo=UTC)
    assert (period.end - period.start).total_seconds() == hours * 3600


@pytest.mark.parametrize(
    ("instant", "zone", "day"),
    [
        ("2026-03-29T23:00", "Europe/Berlin", "2026-03-29"),  # 01:00 on the 30th there
        ("2026-03-29T21:59", "Europe/Berlin", "2026-03-28"),  # 23:59 on the 29th
        ("2026-03-30T00:30", "America/New_York", "2026-03-28"),
        ("2026-01-01T00:00", "UTC", "2025-12-31"),
    ],
)
def test_the_day_before_is_the_zones(instant: str, zone: str, day: str) -> None:
    at = datetime.fromisoformat(instant).replace(tzinfo=UTC)
    assert day_before(at, zone) == LocalDay(date.fromisoformat(day), zone)


@pytest.mark.parametrize(
    ("minor", "currency", "text"),
    [
        (123450, "EUR", "1,234.50 EUR"),
        (1234, "JPY", "1,234 JPY"),
        (1234567, "KWD", "1,234.567 KWD"),
        (-5, "USD", "-0.05 USD"),
        (9007199254740993, "EUR", "90,071,992,547,409.93 EUR"),
    ],
)
def test_minor_units_are_written_exactly(minor: int, currency: str, text: str) -> None:
    assert written(minor, currency) == text
    assert money(minor, currency).get_amount_in_sub_unit() == minor
