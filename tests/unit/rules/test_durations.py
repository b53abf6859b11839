"""Lengths of time, written and read."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.rules import durations


@given(st.timedeltas(min_value=timedelta(0), max_value=timedelta(days=36_500)))
def test_what_is_written_is_read_back_exactly(length: timedelta) -> None:
    assert durations.read(durations.write(length)) == length


@pytest.mark.parametrize(
    ("length", "text"),
    [
        (timedelta(0), "0s"),
        (timedelta(seconds=30), "30s"),
        (timedelta(minutes=90), "1h30m"),
        (timedelta(days=1), "1d"),
        (timedelta(milliseconds=250), "0.25s"),
        (timedelta(hours=1, microseconds=1), "1h0.000001s"),
    ],
)
def test_texts(length: timedelta, text: str) -> None:
    assert durations.write(length) == text
