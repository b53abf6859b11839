"""Retries, timeouts and crashes (SEMANTICS 25, 26)."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.rules.retry import (
    POISON_CRASHES,
    FailureKind,
    GiveUp,
    RetryAt,
    RetryPolicy,
    backoff,
    decide,
)

pytestmark = pytest.mark.semantics(25)

NOW = datetime(2026, 11, 21, 10, tzinfo=UTC)
PLAIN = RetryPolicy(jitter=False)


def after(kind: FailureKind, attempts: int = 1, crashes: int = 0, **options: object) -> object:
    arguments = {"policy": PLAIN, "random": 0.5, "now": NOW} | options
    policy = arguments.pop("policy")
    return decide(policy, kind=kind, attempts=attempts, crashes=crashes, **arguments)


@pytest.mark.parametrize(("attempts", "seconds"), [(1, 10), (2, 20), (3, 40), (4, 80)])
def test_backoff_doubles(attempts: int, seconds: int) -> None:
    assert after(FailureKind.ERROR, attempts) == RetryAt(NOW + timedelta(seconds=seconds))


def test_the_fifth_error_is_the_last() -> None:
    assert after(FailureKind.ERROR, 5) == GiveUp("exhausted")
    assert after(FailureKind.ERROR, 1, policy=RetryPolicy(max_attempts=1)) == GiveUp("exhausted")


@pytest.mark.semantics(26)
def test_a_timeout_is_an_attempt_that_failed() -> None:
    assert after(FailureKind.TIMEOUT, 2) == RetryAt(NOW + timedelta(seconds=20))
    assert after(FailureKind.TIMEOUT, 5) == GiveUp("exhausted")


def test_a_permanent_error_fails_at_once() -> None:
    assert after(FailureKind.PERMANENT, retry_after=timedelta(seconds=5)) == GiveUp("permanent")


def test_a_crash_runs_again_at_once_until_it_is_poison() -> None:
    decisions = [
        after(FailureKind.CRASH, attempts=9, crashes=count) for count in range(1, POISON_CRASHES + 1)
    ]
    assert decisions == [RetryAt(NOW), RetryAt(NOW), GiveUp("poison")]


def test_retry_after_wins_when_it_is_longer() -> None:
    longer, shorter = timedelta(minutes=3), timedelta(seconds=1)
    assert after(FailureKind.ERROR, retry_after=longer) == RetryAt(NOW + longer)
    assert after(FailureKind.ERROR, retry_after=shorter) == RetryAt(NOW + timedelta(seconds=10))


@given(st.integers(1, 10_000), st.floats(0, 1, exclude_max=True), st.floats(1, 50))
def test_full_jitter_is_between_nothing_and_the_cap(attempts: int, random: float, factor: float) -> None:
    policy = RetryPolicy(max_attempts=20_000, factor=factor)
    decision = after(FailureKind.ERROR, attempts, policy=policy, random=random)
    assert isinstance(decision, RetryAt)
    assert NOW <= decision.at <= NOW + backoff(policy, attempts) <= NOW + policy.cap


@pytest.mark.parametrize(
    "options",
    [{"max_attempts": 0}, {"factor": 0.5}, {"base": timedelta(-1)}, {"cap": timedelta(-1)}],
)
def test_policies_that_cannot_be_followed_are_refused(options: dict[str, object]) -> None:
    with pytest.raises(ValueError):
        RetryPolicy(**options)


def test_no_wait_at_all_can_be_asked_for() -> None:
    at_once = RetryPolicy(base=timedelta(0), jitter=False)
    assert after(FailureKind.ERROR, 3, policy=at_once) == RetryAt(NOW)
