"""The whole life of jobs against a model, in every order that Hypothesis thinks of.

A failure prints the steps that lead to it, as short as they can be made, and how to repeat them.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from jobs.conf import conf
from jobs.engine import pruning, ticking
from jobs.rules import retry
from tests.model import life
from tests.model.clock import movable_clock, set_clock
from tests.model.machine import LifeOfJobs
from tests.model.stage import START, Stage

pytestmark = pytest.mark.django_db(transaction=True)

SHORT = settings(
    max_examples=40,
    stateful_step_count=40,
    deadline=None,
    print_blob=True,
    phases=[Phase.explicit, Phase.reuse, Phase.generate, Phase.shrink],
    suppress_health_check=list(HealthCheck),
)
LONG = settings(SHORT, max_examples=300, stateful_step_count=80)


@pytest.fixture(autouse=True)
def _stage(db: None) -> Iterator[None]:
    with movable_clock():
        set_clock(START)
        Stage.prepare()
        yield


@pytest.mark.timeout(900)  # making a failure short takes minutes
def test_the_life_of_jobs() -> None:
    run_state_machine_as_test(LifeOfJobs, settings=SHORT)


@pytest.mark.full
@pytest.mark.timeout(3_600)
def test_the_life_of_jobs_for_long() -> None:
    run_state_machine_as_test(LifeOfJobs, settings=LONG)


def test_the_numbers_of_the_model_are_those_of_the_engine() -> None:
    """The model has its own, so that a changed number is a change that somebody meant."""
    assert conf().lease == life.LEASE
    assert conf().sweep == life.SWEEP
    assert conf().reconcile == life.RECONCILE
    assert conf().publish_grace == life.GRACE
    assert conf().heartbeat * 2 == life.TRUST
    assert conf().retention == {str(status): kept for status, kept in life.RETENTION.items()}
    assert ticking.HOUSEKEEPING == life.HOUSEKEEPING
    assert retry.POISON_CRASHES == life.POISON
    assert pruning.WORKERS_KEPT == life.WORKERS_KEPT
