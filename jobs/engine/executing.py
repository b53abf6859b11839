"""Starting one attempt: a message becomes an `Execution`, or is refused.

The runtime runs the task and hands the outcome to exactly one verb of `finishing`.
"""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any
from uuid import UUID

from django.db import transaction

from jobs.conf import conf
from jobs.engine import (
    aftermath,
    ending,
    held_secrets,
    lifecycle,
    limiting,
    payload,
    permitting,
    quarantining,
)
from jobs.engine.clock import database_now
from jobs.engine.ending import Ending, LogLine
from jobs.engine.records import Fence, NewJob, Started, Wanted
from jobs.models import Job
from jobs.rules import redaction, secret_references
from jobs.rules import retry as retry_rules
from jobs.rules.retry import FailureKind, GiveUp, RetryAt, RetryPolicy
from jobs.rules.states import Outcome, Reason, Status, Trigger

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Refusal:
    """A message that starts nothing, and why."""

    fence: Fence
    why: str


@dataclass(slots=True)
class RetryRequest:
    """What a task's own `self.retry()` asked for."""

    at: datetime
    args: list[Any] | None
    kwargs: dict[str, Any] | None


@dataclass(slots=True)
class Replacement:
    """What a task's `self.replace()` asked for: other work under the same id."""

    task: str
    queue: str
    args: list[Any]
    kwargs: dict[str, Any]
    headers: dict[str, Any]

    def as_work(self) -> dict[str, Any]:
        """Return it as columns of a job."""
        return asdict(self)


@dataclass(slots=True)
class Execution:
    """One attempt while it runs in this process."""

    started: Started = field(repr=False)
    default_max_attempts: int
    worker_id: str = ""
    began: float = field(default_factory=time.monotonic)
    logs: list[LogLine] = field(default_factory=list)
    retry_request: RetryRequest | None = None
    replacement: Replacement | Ending | None = None
    """Other work for this job; or its end, with the jobs that take its place."""
    retries_used_up: bool = False
    """Whether the task's own `self.retry()` has given up: then nobody tries again."""
    verdict: RetryAt | GiveUp | None = None
    kind: FailureKind = FailureKind.ERROR
    callbacks: list[Any] = field(default_factory=list)
    """Links of a task that has returned: signatures that take its result."""
    chain: list[Any] = field(default_factory=list)
    """The rest of its chain; the next step is the last."""
    ending: Ending | None = None
    """How it ended; None while it runs."""
    hand_over: Callable[[Ending], bool] | None = None
    """Who records a plain end for this process, together with others; returns False if it cannot."""
    entered: bool = False
    secrets: Mapping[str, str] = field(default_factory=dict, repr=False)
    """The secrets among its arguments, by name: to be shown and stored nowhere."""
    problem: str = ""
    """Why the task must not be entered, in a sentence: a secret is missing. Empty where it may."""
    _hidden: tuple[str, ...] | None = field(default=None, repr=False)

    @property
    def settled(self) -> bool:
        """Whether its end is known."""
        return self.ending is not None

    def now(self) -> datetime:
        """Return the database's time, without asking it: when the attempt began there, and how long ago."""
        elapsed = timedelta(seconds=time.monotonic() - self.began)
        return (self.started.started_at or datetime.now(UTC)) + elapsed

    @property
    def fence(self) -> Fence:
        return self.started.fence

    @property
    def secret_values(self) -> tuple[str, ...]:
        """What no text about this attempt may show, for `redaction.redact_text`."""
        if self._hidden is None:
            own = redaction.sensitive_values([self.started.args, self.started.kwargs])
            held = (value for value in self.secrets.values() if len(value) >= redaction.SHORTEST_SECRET)
            self._hidden = redaction.forms([*own, *held])
        return self._hidden

    def concealed(self, value: Any) -> Any:
        """Return what the task hands back as it may be stored: with references in the place of secrets."""
        return redaction.conceal(value, self.secrets, self.secret_values) if self.secrets else value

    def mask(self, end: Ending) -> None:
        """Mask what an end says in words: it is about to be stored, in the database or on disk."""
        values = self.secret_values
        end.error, end.traceback = (
            redaction.redact_text(text, values) for text in (end.error, end.traceback)
        )
        for row in end.results:
            if row["traceback"]:
                row["traceback"] = redaction.redact_text(row["traceback"], values)
            for column in ("result", "task_args", "task_kwargs", "meta"):
                if row[column]:  # JSON, which has to stay JSON
                    row[column] = redaction.without(row[column], values)

    @property
    def policy(self) -> RetryPolicy:
        """The retry policy: the schedule's, completed by the task's."""
        own = self.started.backoff or {}
        default = RetryPolicy()
        return RetryPolicy(
            max_attempts=self.started.max_attempts or self.default_max_attempts,
            base=timedelta(seconds=own["base"]) if "base" in own else default.base,
            factor=own.get("factor", default.factor),
            cap=timedelta(seconds=own["cap"]) if "cap" in own else default.cap,
        )

    def replaced_by(self, call: Callable[[], Any]) -> Ending:
        """Return the end of an attempt whose place is taken by the jobs that `call` makes."""
        end = ending.completed(self.fence, outcome=Outcome.IGNORED)
        with ending.collecting(end):
            call()
        return end

    def judge(
        self, kind: FailureKind, retry_after: timedelta | None = None, *, now: datetime | None = None
    ) -> RetryAt | GiveUp:
        """Decide what becomes of the job after this attempt failed, and remember it."""
        self.kind = kind
        if self.retries_used_up:
            self.verdict = GiveUp("exhausted")
            return self.verdict
        self.verdict = retry_rules.decide(
            self.policy,
            kind=kind,
            attempts=self.started.errors + 1,
            crashes=self.started.crashes,
            now=now or self.now(),
            random=random.random(),  # noqa: S311  (spreads load; guards nothing)
            retry_after=retry_after,
        )
        return self.verdict


_current: ContextVar[Execution | None] = ContextVar("jadwal_execution", default=None)


def current(job_id: str | None = None) -> Execution | None:
    """Return the execution of this process; None when there is none, or none of `job_id`."""
    execution = _current.get()
    if execution is None or (job_id is not None and execution.fence.job_id != job_id):
        return None
    return execution


_entered: dict[str, Execution] = {}
"""The executions of this process, for its other threads: a context is not theirs."""


def enter(execution: Execution) -> object:
    """Make `execution` the current one; hand the returned token to `leave`."""
    _entered[execution.fence.job_id] = execution
    return _current.set(execution)


def leave(token: Any) -> None:
    """Undo `enter`."""
    execution = _current.get()
    if execution is not None:
        _entered.pop(execution.fence.job_id, None)
    _current.reset(token)


def secret_values() -> tuple[str, ...]:
    """Return what no text of this process may show: the secrets of what runs in it now."""
    running = list(_entered.values())
    if len(running) == 1:
        return running[0].secret_values
    return tuple(value for execution in running for value in execution.secret_values)


def begin(
    fence: Fence,
    *,
    task: str,
    queue: str,
    worker_id: UUID,
    default_limit: float,
    default_max_attempts: int,
    now: datetime | None = None,
) -> Execution | Refusal:
    """Start an attempt if this message may; say why not otherwise."""
    wanted = Wanted(fence, task, queue, default_limit)
    started, refused = start([wanted], worker_id=worker_id, now=now)
    if refused:
        return refused[0]
    return execution_of(started[0], default_max_attempts, worker_id)


def execution_of(started: Started, default_max_attempts: int, worker_id: UUID) -> Execution:
    """Return what runs of a job that has started: its payload read and filled in."""
    filled = held_secrets.fill(started.decoded())
    return Execution(
        filled.started,
        default_max_attempts,
        str(worker_id),
        secrets=filled.secrets,
        problem=filled.problem,
    )


def start(
    wanted: Sequence[Wanted], *, worker_id: UUID, now: datetime | None = None
) -> tuple[list[Started], list[Refusal]]:
    """Start the attempts that these messages may start; return them, and why the others may not.

    A message may start a job only if the row is waiting for this attempt, and names this task and this
    queue. So a duplicate, a late or a forged message does nothing.
    """
    begin_these = partial(lifecycle.start, worker_id=worker_id, margin=conf().lease, now=now)
    started = begin_these(wanted)
    won = {one.fence for one in started}
    refused = []
    for one in wanted:
        if one.fence in won:
            won.discard(one.fence)  # a second copy of the message is refused
            continue
        alone = limiting.start_within(one.fence, partial(_start_alone, one, begin_these), now=now)
        if isinstance(alone, Started):
            started.append(alone)
        else:
            refused.append(Refusal(one.fence, alone or _why_not(one.fence, one.task, one.queue)))
    return started, refused


def _start_alone(one: Wanted, begin_these: Callable[..., list[Started]]) -> Started | None:
    return next(iter(begin_these([one], within_limits=True)), None)


def _why_not(fence: Fence, task: str, queue: str) -> str:
    job = Job.objects.filter(id=fence.job_id).first()
    if job is None:
        return "no such job"
    if job.status == Status.WAITING and job.deadline_at and job.deadline_at <= database_now():
        with transaction.atomic():
            aftermath.revoked(lifecycle.skip([job.id], Reason.EXPIRED), "expired")
        return "its start deadline has passed: skipped as expired"
    if (job.task, job.queue) != (task, queue):
        return f"the job is {job.task} on {job.queue}, the message says {task} on {queue}"
    return f"the job is {job.status}, attempt {job.attempt}; the message is for attempt {fence.attempt}"


def adopt(
    *,
    job_id: str,
    task: str,
    queue: str,
    args: Sequence[Any],
    kwargs: dict[str, Any],
    headers: dict[str, Any],
    eta: datetime | None = None,
    expires: datetime | None = None,
    priority: int | None = None,
    limits: Sequence[float | None] | None = None,
) -> Fence | None:
    """Make a job of a message from another program; None if it is not to be started now.

    A message with a time to come becomes a delayed job. One whose id is known already starts nothing
    new: the job is what its row says. One that may not be taken goes into quarantine: it names a task of
    Celery itself, or carries what a job cannot. `limits` are the hard and the soft one, in seconds.
    """
    problem = permitting.why_not_adopted(task)
    if secret_references.names([list(args), kwargs, headers]):
        problem = problem or "a message of another program may not name a secret"
    try:
        stored_args, stored_kwargs, stored_headers = payload.encode_call(args, kwargs, headers)
    except payload.PayloadError as exc:
        problem = problem or str(exc)
    if problem:
        said = repr([task, args, kwargs]).encode("utf-8", "backslashreplace")
        quarantining.quarantine(said, queue, problem)
        return None
    now = database_now()
    later = eta is not None and eta > now
    hard, soft = limits or (None, None)
    job = NewJob(
        id=job_id,
        task=task,
        queue=queue,
        trigger=Trigger.FOREIGN,
        status=Status.DELAYED if later else Status.WAITING,
        available_at=eta if later and eta else now,
        args=stored_args,
        kwargs=stored_kwargs,
        headers=stored_headers,
        deadline_at=expires,
        priority=priority,
        time_limit=hard,
        soft_time_limit=soft,
    )
    new = lifecycle.birth([job])
    if not new:
        logger.info("message for job %s starts nothing: there is such a job, and it names no attempt", job_id)
    return Fence(job_id, 1) if new and not later else None
