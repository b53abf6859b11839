"""What people type on the command line: durations, points in time, payloads."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.cli.durations import parse_duration
from jobs.cli.failures import USAGE, Failure
from jobs.cli.instants import parse_instant
from jobs.cli.payloads import parse_args, parse_kwargs
from jobs.insight.formats import compact, instant, plain, seconds


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("30s", timedelta(seconds=30)),
        ("10m", timedelta(minutes=10)),
        ("2h", timedelta(hours=2)),
        ("1d", timedelta(days=1)),
        ("2w", timedelta(weeks=2)),
        ("1h30m", timedelta(minutes=90)),
        ("1.5h", timedelta(minutes=90)),
        ("500ms", timedelta(milliseconds=500)),
        ("90", timedelta(seconds=90)),
        ("0.5", timedelta(seconds=0.5)),
        ("PT10M", timedelta(minutes=10)),
        ("P1DT2H", timedelta(hours=26)),
        ("pt1.5s", timedelta(seconds=1.5)),
        (" 10m ", timedelta(minutes=10)),
    ],
)
def test_durations(text: str, expected: timedelta) -> None:
    assert parse_duration(text, "--every") == expected


@pytest.mark.parametrize(
    "text",
    ["", "x", "10x", "-5m", "1h 30m", "m", "P", "PT", "P1M", "P1Y", "1e3", "nan", "٣s", "9" * 400, "99999d"],
)
def test_what_is_no_duration_is_refused_by_the_name_of_the_flag(text: str) -> None:
    with pytest.raises(Failure, match="--every") as failure:
        parse_duration(text, "--every")
    assert failure.value.returncode == USAGE


def test_zero_is_refused_unless_it_means_something() -> None:
    assert parse_duration("0", "--jitter", zero=True) == timedelta(0)
    with pytest.raises(Failure, match="longer than zero"):
        parse_duration("0s", "--every")


@given(st.timedeltas(min_value=timedelta(seconds=1), max_value=timedelta(days=400)))
def test_a_duration_that_is_shown_can_be_typed(length: timedelta) -> None:
    whole = timedelta(seconds=int(length.total_seconds()))
    assert parse_duration(compact(whole), "--every") == whole


@pytest.mark.parametrize(
    ("text", "tz", "expected"),
    [
        ("2027-01-01T10:00", "UTC", "2027-01-01T10:00:00Z"),
        ("2027-01-01 10:00", "Europe/Berlin", "2027-01-01T09:00:00Z"),
        ("2027-01-01T10:00Z", "Europe/Berlin", "2027-01-01T10:00:00Z"),
        ("2027-01-01T10:00+05:30", "Europe/Berlin", "2027-01-01T04:30:00Z"),
        ("2027-07-01", "America/New_York", "2027-07-01T04:00:00Z"),
    ],
)
def test_instants(text: str, tz: str, expected: str) -> None:
    read = parse_instant(text, "--at", tz=tz)
    assert (instant(read.at), read.note) == (expected, "")


@pytest.mark.semantics(7)
def test_a_wall_time_in_the_gap_is_the_next_valid_one_and_that_is_said() -> None:
    read = parse_instant("2027-03-14T02:30", "--at", tz="America/New_York")
    assert instant(read.at) == "2027-03-14T07:00:00Z"
    assert "does not exist in America/New_York; 03:00" in read.note


@pytest.mark.semantics(7)
def test_a_wall_time_in_the_gap_can_be_refused() -> None:
    with pytest.raises(Failure, match="does not exist"):
        parse_instant("2027-03-14T02:30", "--at", tz="America/New_York", gap="refuse")


def test_a_start_in_the_gap_leaves_out_nothing_that_follows() -> None:
    read = parse_instant("2027-03-14T02:30", "--after", tz="America/New_York", gap="before")
    assert read.at == datetime(2027, 3, 14, 7, tzinfo=UTC) - timedelta(microseconds=1)


@pytest.mark.semantics(7)
def test_a_wall_time_that_happens_twice_is_the_first_and_that_is_said() -> None:
    read = parse_instant("2027-11-07T01:30", "--at", tz="America/New_York")
    assert instant(read.at) == "2027-11-07T05:30:00Z"
    assert "twice" in read.note


@pytest.mark.parametrize("text", ["", "tomorrow", "2027-13-01", "0001-01-01T00:00+14:00", "2027-01-01T25:00"])
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(Failure, match="--at") as failure:
        parse_instant(text, "--at")
    assert failure.value.returncode == USAGE


def test_payloads(tmp_path: Path) -> None:
    assert parse_args('["a", 1]') == ["a", 1]
    assert parse_kwargs('{"note": null}') == {"note": None}
    (tmp_path / "kwargs.json").write_text('{"note": "from a file"}')
    assert parse_kwargs(f"@{tmp_path / 'kwargs.json'}") == {"note": "from a file"}


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("{", "not valid JSON"),
        ("NaN", "NaN is not JSON"),
        ("[" * 100_000, "not valid JSON"),
        ("[1]", "must be a JSON object"),
        ('{"a": "\\u0000"}', "NUL"),
        ("@/nowhere/at/all", "No such file"),
    ],
)
def test_payloads_that_are_refused(text: str, why: str) -> None:
    with pytest.raises(Failure, match=why) as failure:
        parse_kwargs(text)
    assert failure.value.returncode == USAGE


def test_formats() -> None:
    assert instant(datetime(2026, 11, 21, 8, 0, tzinfo=UTC)) == "2026-11-21T08:00:00Z"
    assert instant(datetime(2026, 11, 21, 8, 0, 0, 5, tzinfo=UTC)) == "2026-11-21T08:00:00.000005Z"
    assert instant(None) is None
    assert (seconds(timedelta(minutes=1)), seconds(timedelta(seconds=0.5)), seconds(None)) == (60, 0.5, None)
    assert isinstance(seconds(timedelta(minutes=1)), int)


def test_stored_values_are_shown_without_celerys_markers() -> None:
    stored = {"at": {"__type__": "datetime", "__value__": "2026-11-21T08:00:00+00:00"}, "n": [1, None]}
    assert plain(stored) == {"at": "2026-11-21T08:00:00Z", "n": [1, None]}
