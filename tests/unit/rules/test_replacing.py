"""Ids of jobs that stand in the place of others."""

import pytest

from jobs.rules.replacing import predecessors_of, successor_of


def test_a_successor_knows_in_whose_place_it_is() -> None:
    first = successor_of("a", 0)
    second = successor_of(first, 1)
    assert predecessors_of("a") == []
    assert predecessors_of(first) == ["a"]
    assert predecessors_of(second) == [first, "a"]


@pytest.mark.parametrize("chosen", ["", "a~1", "~replacement-1", "a~replacement-", "a~replacement-x"])
def test_an_id_that_somebody_chose_is_nobodys_successor(chosen: str) -> None:
    assert predecessors_of(chosen) == []
