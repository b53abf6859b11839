"""Cycles between schedules are refused (SEMANTICS 23)."""

import pytest

from jobs.rules.dependencies import DependencyCycle, check, find_cycle

pytestmark = pytest.mark.semantics(23)


@pytest.mark.parametrize(
    "after",
    [
        {},
        {"a": ["b"], "b": ["c"], "c": []},
        {"a": ["b", "c"], "b": ["d"], "c": ["d"], "d": []},
        {"report": ["an-unknown-schedule"]},
        {str(number): [str(number + 1)] for number in range(5000)},
    ],
)
def test_no_cycle(after: dict[str, list[str]]) -> None:
    check(after)


@pytest.mark.parametrize(
    ("after", "cycle", "message"),
    [
        ({"a": ["a"]}, ("a",), "The schedule 'a' cannot run after itself."),
        (
            {"a": ["b"], "b": ["c"], "c": ["a"]},
            ("a", "b", "c"),
            "These schedules would wait for each other for ever: a after b after c after a.",
        ),
        (
            {"a": ["b"], "b": ["c"], "c": ["b"]},
            ("b", "c"),
            "These schedules would wait for each other for ever: b after c after b.",
        ),
    ],
)
def test_cycles(after: dict[str, list[str]], cycle: tuple[str, ...], message: str) -> None:
    assert find_cycle(after) == cycle
    with pytest.raises(DependencyCycle) as caught:
        check(after)
    assert str(caught.value) == message
    assert caught.value.cycle == cycle
