"""Jitter: stable, bounded, spread (SEMANTICS 12)."""

import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.rules.jitter import offset

pytestmark = pytest.mark.semantics(12)

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)


@given(st.text(), st.datetimes(timezones=st.just(UTC)), st.timedeltas(max_value=timedelta(9999)))
def test_inside_the_window(key: str, nominal: datetime, window: timedelta) -> None:
    found = offset(key, nominal, window)
    assert timedelta(0) <= found < max(window, timedelta(microseconds=1))


def test_known_values_never_change() -> None:
    # A change here moves every jittered schedule of every installation.
    assert offset("billing.close", NOON, timedelta(hours=1)) == timedelta(seconds=1053, microseconds=42367)


def test_spread_over_the_window() -> None:
    window = timedelta(hours=1)
    quarters = [offset(f"schedule-{n}", NOON, window) * 4 // window for n in range(2000)]
    assert all(400 < quarters.count(quarter) < 600 for quarter in range(4))


def test_the_same_in_another_process() -> None:
    code = (
        "from datetime import *; from jobs.rules.jitter import offset;"
        "print(offset('a', datetime(2026, 11, 21, 12, tzinfo=UTC), timedelta(hours=1)))"
    )
    seeds = [dict(os.environ, PYTHONHASHSEED=seed) for seed in ("1", "2")]
    outputs = {subprocess.check_output([sys.executable, "-c", code], env=env) for env in seeds}
    assert outputs == {f"{offset('a', NOON, timedelta(hours=1))}\n".encode()}


def test_the_zone_the_nominal_is_written_in_does_not_matter() -> None:
    window = timedelta(hours=1)
    local = NOON.astimezone()
    assert offset("a", local, window) == offset("a", NOON, window)
