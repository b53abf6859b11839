"""Names in payloads."""

from __future__ import annotations

from typing import Any

import pytest

from jobs.rules.templating import fill, names_in

VALUES: dict[str, Any] = {"attempt": 2, "scheduled_for": "2026-03-10T12:01:00Z", "last_result": None}

pytestmark = pytest.mark.semantics(27)


@pytest.mark.parametrize(
    ("payload", "filled"),
    [
        ("for {{ scheduled_for }}", "for 2026-03-10T12:01:00Z"),
        ("{{scheduled_for}}!", "2026-03-10T12:01:00Z!"),
        ("{{ attempt }}", 2),
        ("attempt {{ attempt }}", "attempt 2"),
        ("{{ last_result }}", None),
        ("[{{ last_result }}]", "[]"),
        ({"a": ["{{ attempt }}", 1, None]}, {"a": [2, 1, None]}),
        ({"{{ attempt }}": "x"}, {"{{ attempt }}": "x"}),
        ("{{ other }} {{ attempt.real }} {{ }}", "{{ other }} {{ attempt.real }} {{ }}"),
        ("{ attempt }", "{ attempt }"),
        (7, 7),
    ],
)
def test_names_are_filled_in(payload: Any, filled: Any) -> None:
    assert fill(payload, VALUES.__getitem__) == filled


def test_a_value_is_not_read_again() -> None:
    assert fill("{{ schedule }}", {"schedule": "{{ attempt }}"}.__getitem__) == "{{ attempt }}"


def test_only_what_is_mentioned_is_asked_for() -> None:
    assert names_in({"a": "{{ attempt }}", "b": ["{{ job_id }}"], "c": 1}) == {"attempt", "job_id"}
