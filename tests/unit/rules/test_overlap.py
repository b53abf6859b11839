"""What an occurrence does while another one runs (SEMANTICS 16)."""

import pytest

from jobs.rules.overlap import (
    BUFFER_CAP,
    CancelOthersThenRun,
    Decision,
    Hold,
    OverlapPolicy,
    Run,
    Skip,
    TerminateOthersThenRun,
    decide,
)

pytestmark = pytest.mark.semantics(16)


@pytest.mark.parametrize("policy", list(OverlapPolicy))
def test_alone_it_runs(policy: OverlapPolicy) -> None:
    assert decide(policy, running=0, buffered=0) == Run()


@pytest.mark.parametrize(
    ("policy", "running", "buffered", "expected"),
    [
        ("skip", 1, 0, Skip("overlap")),
        ("buffer_one", 1, 0, Hold()),
        ("buffer_one", 1, 1, Skip("overlap")),
        ("buffer_one", 0, 1, Skip("overlap")),
        ("buffer_all", 1, 0, Hold()),
        ("buffer_all", 0, 1, Hold()),
        ("buffer_all", 1, BUFFER_CAP - 1, Hold()),
        ("buffer_all", 1, BUFFER_CAP, Skip("dropped")),
        ("cancel_other", 1, 0, CancelOthersThenRun()),
        ("terminate_other", 2, 0, TerminateOthersThenRun()),
        ("allow_all", 50, 0, Run()),
    ],
)
def test_decisions(policy: str, running: int, buffered: int, expected: Decision) -> None:
    assert decide(policy, running, buffered) == expected


def test_an_unknown_policy_is_refused() -> None:
    with pytest.raises(ValueError, match="hope"):
        decide("hope", 1, 0)
