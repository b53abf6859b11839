"""The parts of a benchmark run. Each yields one record per measurement; contenders take turns in each round."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from benchmarks import crontab_speed, growth, punctuality, queues, schedulers
from benchmarks.bed import Failed, Servers

Record = dict[str, Any]


JOBS = 20_000
"""No-op jobs of a drain."""


@dataclass(frozen=True, slots=True)
class Plan:
    """How much to measure. `contenders`: only these, where any are named."""

    repeats: int = 3
    jobs: int = JOBS
    full: bool = False
    contenders: tuple[str, ...] = ()

    @property
    def partial(self) -> bool:
        """Whether it measures less than the README's table has."""
        return bool(self.contenders) or self.jobs < JOBS

    def chosen(self, *names: str) -> list[str]:
        """Return those of `names` that are wanted."""
        return [name for name in names if not self.contenders or name in self.contenders]


failures: list[str] = []
"""What did not work in this run; it ends with an error then."""


def attempt(measure: Callable[[], Record], number: int) -> Iterator[Record]:
    """Yield the record of one measurement; a failure is told, and the others go on."""
    try:
        yield {"repeat": number, **measure()}
    except Failed as failure:
        failures.append(str(failure))
        print(f"FAILED {failure}", file=sys.stderr, flush=True)


def drain(servers: Servers, plan: Plan) -> Iterator[Record]:
    """Queues: enqueue rates, drain rate, CPU per job and idle latency, with two worker processes."""
    for number in range(plan.repeats):
        for name in plan.chosen(*queues.CONTENDERS):
            contender = queues.Contender(name, servers)
            yield from attempt(lambda one=contender: queues.measure(one, jobs=plan.jobs), number)


def burst(servers: Servers, plan: Plan) -> Iterator[Record]:
    """Schedulers: N schedules due at one second; one beat, and two where they share the work."""
    for count in (1_000, 10_000, 100_000):
        names = ("jadwal", "redbeat") if count > 10_000 and not plan.full else schedulers.CONTENDERS
        contenders = [schedulers.Contender(name, servers) for name in plan.chosen(*names)]
        for contender in contenders:
            if hasattr(contender.module, "arm"):
                contender.do("seed", "burst", count)
        for number in range(plan.repeats):
            for contender in contenders:
                yield from _bursts(contender, count, number, plan)


def _bursts(contender: schedulers.Contender, count: int, number: int, plan: Plan) -> Iterator[Record]:
    own, huge = contender.module.ALL_WORK, count > 10_000
    if huge and not own and number and not plan.full:
        return  # its cost per schedule is that of 10,000: once is enough to see it
    limit = 900.0 if plan.full else 60.0 if own else 25.0
    for beats in (1, 2) if own and count > 1_000 else (1,):
        yield from attempt(lambda: schedulers.burst(contender, count, beats=beats, limit=limit), number)  # noqa: B023


def idle(servers: Servers, plan: Plan) -> Iterator[Record]:
    """Schedulers: an idle turn, an edit, memory and idle CPU, with N schedules."""
    for count in (1_000, 10_000, 100_000, 1_000_000):
        everyone = count == 10_000 or (plan.full and count < 1_000_000)
        names = schedulers.CONTENDERS if everyone else ("jadwal",)
        contenders = [schedulers.Contender(name, servers) for name in plan.chosen(*names)]
        seeded = {contender.name: contender.do("seed", "mix", count) for contender in contenders}
        repeats = 1 if count == 100_000 and not plan.full else plan.repeats
        for number in range(repeats):
            for contender in contenders:
                more = {"schedules": count, **seeded[contender.name]}
                yield from attempt(lambda one=contender, more=more: schedulers.standing(one) | more, number)


def grow(servers: Servers, plan: Plan) -> Iterator[Record]:
    """Pages, commands and engine statements at 10,000 and at 1,000,000 finished jobs."""
    if plan.chosen("jadwal"):
        yield from growth.run(servers, plan.repeats)


def punctual(servers: Servers, plan: Plan) -> Iterator[Record]:
    """How late jobs start, at ten schedules a second."""
    if plan.chosen("jadwal"):
        yield from attempt(lambda: punctuality.figures(seconds=60, rate=10), 0)


def crontab(servers: Servers, plan: Plan) -> Iterator[Record]:
    """Microseconds per next fire time: ours, Celery's, cronsim's, croniter's."""
    for number, record in enumerate(crontab_speed.records()):
        yield {"repeat": number, **record}


PARTS: dict[str, Callable[[Servers, Plan], Iterator[Record]]] = {
    "burst": burst,
    "drain": drain,
    "idle": idle,
    "growth": grow,
    "punctuality": punctual,
    "crontab": crontab,
}
