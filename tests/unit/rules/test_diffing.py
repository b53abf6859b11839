"""Fire times before and after a change (SEMANTICS 29)."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.rules.crontab import parse_expression
from jobs.rules.diffing import REACH, Difference, compare
from jobs.rules.timing import nominals

START = datetime(2027, 3, 1, tzinfo=UTC)
pytestmark = pytest.mark.semantics(29)

instants = st.lists(st.integers(0, 20_000), unique=True, max_size=40).map(
    lambda found: [START + timedelta(minutes=number) for number in sorted(found)]
)


def differences(before: list[datetime], after: list[datetime]) -> list[Difference]:
    return compare(before, after, day=lambda at: at.date())


@given(instants, instants)
def test_what_is_compared_can_be_put_together_again(before: list[datetime], after: list[datetime]) -> None:
    found = differences(before, after)
    gone = [item.before for item in found if item.before]
    new = [item.after for item in found if item.after]
    assert len(set(gone)) == len(gone)
    assert len(set(new)) == len(new)
    assert (set(before) - set(gone)) | set(new) == set(after)
    assert set(gone) == set(before) - set(after)
    assert set(new) == set(after) - set(before)
    assert [item.at for item in found] == sorted(item.at for item in found)


@given(instants)
def test_the_same_is_no_difference(before: list[datetime]) -> None:
    assert differences(before, before) == []


@given(instants, instants)
def test_back_is_the_mirror_image(before: list[datetime], after: list[datetime]) -> None:
    there = {(item.before, item.after) for item in differences(before, after)}
    assert {(item.after, item.before) for item in differences(after, before)} == there


@given(instants, instants)
def test_what_moved_is_of_one_day_or_near(before: list[datetime], after: list[datetime]) -> None:
    for item in differences(before, after):
        if item.before and item.after:
            assert item.kind == "moved"
            assert item.before.date() == item.after.date() or abs(item.before - item.after) < REACH


def times(text: str, **options: str) -> list[datetime]:
    spec = parse_expression(text, **options)  # type: ignore[arg-type]
    return [nominal.at for nominal in nominals(spec, START, START + timedelta(days=28))]


@pytest.mark.parametrize(
    ("before", "after", "kinds"),
    [
        ("0 1 * * *", "0 5 * * *", {"moved": 28}),
        ("0 1 * * *", "0 1 * * 1-5", {"removed": 8}),
        ("0 1 * * 1-5", "0 1 * * *", {"added": 8}),
        ("0 23 * * *", "0 1 * * *", {"moved": 28}),
        ("0 * * * *", "0 */2 * * *", {"removed": 336}),
        ("0 9 1 * *", "0 9 20 * *", {"removed": 1, "added": 1}),
    ],
)
def test_changes_as_people_see_them(before: str, after: str, kinds: dict[str, int]) -> None:
    found = differences(times(before), times(after))
    assert {kind: sum(item.kind == kind for item in found) for kind in {item.kind for item in found}} == kinds


def test_a_change_of_zone_moves_across_the_clock_change() -> None:
    found = differences(times("30 2 * * *", tz="UTC"), times("30 2 * * *", tz="America/New_York"))
    assert {item.after - item.before for item in found if item.after and item.before} == {
        timedelta(hours=5), timedelta(hours=4, minutes=30), timedelta(hours=4)
    }  # fmt: skip
