"""Every act twice: the engine's verb and the model's answer, which must be the same."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from django.db import transaction

from jobs.engine import (
    attending,
    cancelling,
    claiming,
    dispatching,
    ending,
    enqueueing,
    executing,
    finishing,
    lifecycle,
    limiting,
    losing,
    pruning,
    recovering,
    replaying,
)
from jobs.engine.ending import LogLine
from jobs.engine.executing import Execution, RetryRequest
from jobs.engine.records import Fence, NewJob
from jobs.engine.ticking import Ticker
from jobs.models import Job as JobRow
from jobs.models import Worker as WorkerRow
from jobs.rules.retry import FailureKind, RetryAt
from jobs.rules.states import Outcome, Reason, Status, Trigger
from tests.jobs import moves
from tests.model.clock import set_clock
from tests.model.life import MAX_ATTEMPTS, Job, Life, Worker
from tests.model.stage import QUEUES, START, Stage
from tests.model.timetable import TASK, Beat, Schedule

AGES_AGO = datetime.fromisoformat("1970-01-01T00:00:00+00:00")


class Acts:
    """The model, the real side, and what can be done to both."""

    def __init__(self) -> None:
        self.life, self.stage = Life(), Stage()
        self.now = START
        set_clock(self.now)
        self.ticker, self.beat = Ticker(), Beat()
        self.schedules: list[Schedule] = []
        self.lines: dict[str, int] = {}
        """Log lines of each job: those of the attempts whose end counted."""
        self.workers: dict[str, str] = {}
        """The last run of the worker of each name."""

    def wait(self, delta: timedelta) -> None:
        self.now += delta
        set_clock(self.now)

    # --- Births and starts --------------------

    def enqueue(
        self, queue: str, eta: timedelta | None, expires: timedelta | None, key: str, most: int | None
    ) -> None:
        new = NewJob(
            id=f"job-{len(self.life.jobs)}-{uuid.uuid4().hex[:6]}",
            task=TASK,
            queue=queue,
            trigger=Trigger.ACTION,
            status=Status.DELAYED if eta else Status.WAITING,
            available_at=self.now + (eta or timedelta(0)),
            deadline_at=self.now + expires if expires else None,
            max_attempts=most,
            concurrency_key=key,
        )
        assert enqueueing.enqueue([new]) == {new.id}
        known = (new.id, new.task, new.queue, new.status, new.available_at)
        assert self.life.born(Job(*known, key=key, deadline_at=new.deadline_at, max_attempts=most), self.now)

    def enqueue_again(self, id: str) -> None:
        """Once more under an id that is known: nothing happens, unless its job has been pruned."""
        if id in self.life.jobs:
            again = NewJob(
                id=id,
                task="other",
                queue="other",
                trigger=Trigger.ACTION,
                status=Status.WAITING,
                available_at=self.now,
            )
            assert enqueueing.enqueue([again]) == set()

    def start(self, id: str, name: str, late: int, right_task: bool, right_queue: bool) -> Execution | None:
        """A message for this job comes: the right one, or a late, early or forged one."""
        job = self.life.jobs.get(id)
        attempt = (job.attempt + 1 if job else 1) + late
        queue = (job.queue if job else QUEUES[0]) if right_queue else "another"
        if (queue, id, attempt) in self.life.messages and right_task:
            return self.deliver((queue, id, attempt), name)
        return self._begin(id, attempt, TASK if right_task else "jobs.other", queue, name)

    def deliver(self, message: tuple[str, str, int], name: str) -> Execution | None:
        """A worker takes a message, whatever has become of its job."""
        self.life.messages.remove(message)
        self.stage.take(message)
        queue, id, attempt = message
        return self._begin(id, attempt, TASK, queue, name)

    def _begin(self, id: str, attempt: int, task: str, queue: str, name: str) -> Execution | None:
        worker = self.workers[name]
        started = executing.begin(
            Fence(id, attempt),
            task=task,
            queue=queue,
            worker_id=uuid.UUID(worker),
            default_limit=60.0,
            default_max_attempts=MAX_ATTEMPTS,
            now=self.now,
        )
        foretold = self.life.begin(id, attempt, task, queue, worker, self.now)
        assert isinstance(started, Execution) == foretold, started
        if not isinstance(started, Execution):
            return None
        assert started.fence == Fence(id, attempt)
        started.logs.append(LogLine(20, "task", "it begins", self.now))
        return started

    # --- Ends, by the right writer or by a late one --------------------

    def _ended(self, execution: Execution, won: bool, foretold: bool) -> None:
        assert won == foretold, f"{execution.fence}: that it counted is {won}"
        if won:
            self.lines[execution.fence.job_id] = self.lines.get(execution.fence.job_id, 0) + 1

    def finish(self, execution: Execution) -> None:
        fence = execution.fence
        won = finishing.complete(execution)
        self._ended(execution, won, self.life.complete(fence.job_id, fence.attempt, self.now))

    def finish_together(self, some: list[Execution]) -> None:
        """A handful of ends in one statement, late ones among them."""
        fences = [execution.fence for execution in some]
        won = {
            fence.job_id
            for fence in lifecycle.end([ending.completed(fence) for fence in fences], now=self.now)
        }
        assert won == {one.job_id for one in fences if self.life.complete(one.job_id, one.attempt, self.now)}

    def fail(self, execution: Execution, kind: FailureKind = FailureKind.ERROR) -> None:
        fence, outcome = execution.fence, Outcome.TIMEOUT if kind is FailureKind.TIMEOUT else Outcome.ERROR
        verdict = execution.judge(kind, now=self.now)
        job = self.life.jobs.get(fence.job_id)
        if job is not None and job.is_running(fence.attempt):
            permanent = kind is FailureKind.PERMANENT
            assert isinstance(verdict, RetryAt) == self.life.will_retry(job, permanent=permanent)
            if isinstance(verdict, RetryAt):
                self._check_backoff(job, verdict.at)
        if isinstance(verdict, RetryAt):
            won = finishing.retry(execution, error="ValueError: no", traceback="...")
            foretold = self.life.retry(fence.job_id, fence.attempt, verdict.at, outcome, self.now)
        else:
            reason = Reason.PERMANENT if kind is FailureKind.PERMANENT else Reason.EXHAUSTED
            won = finishing.fail(execution, error="ValueError: no", traceback="...")
            foretold = self.life.fail(fence.job_id, fence.attempt, reason, outcome, self.now)
        self._ended(execution, won, foretold)

    def _check_backoff(self, job: Job, at: datetime) -> None:
        most = timedelta(seconds=min(10 * 2**job.errors, 3600))
        assert self.now <= at <= self.now + most

    def time_out(self, execution: Execution) -> None:
        """The soft limit, which raises in the task."""
        self.fail(execution, FailureKind.TIMEOUT)

    def fail_for_good(self, execution: Execution) -> None:
        self.fail(execution, FailureKind.PERMANENT)

    def ask_for_another(self, execution: Execution) -> None:
        """The task's own `self.retry()`: no limit of ours is asked."""
        fence, at = execution.fence, self.now + timedelta(minutes=1)
        execution.retry_request = RetryRequest(at, None, None)
        won = finishing.retry(execution, error="Retry", traceback="")
        execution.retry_request = None
        self._ended(execution, won, self.life.retry(fence.job_id, fence.attempt, at, Outcome.RETRY, self.now))

    def interrupt(self, execution: Execution) -> None:
        """A graceful stop of its worker."""
        fence = execution.fence
        with transaction.atomic():
            won = moves.interrupt(fence, now=self.now)
            dispatching.publish_waiting([fence.job_id] if won else [])
        assert won == self.life.interrupt(fence.job_id, fence.attempt, self.now)

    def stop_on_request(self, execution: Execution) -> None:
        fence = execution.fence
        won = lifecycle.cancel_active(fence, error="Cancelled.", now=self.now)
        assert won == self.life.cancel_running(fence.job_id, fence.attempt, self.now)

    def die(self, execution: Execution) -> None:
        """Its process dies, and the worker sees it."""
        fence = execution.fence
        losing.crashed(fence, "The process died.")
        self.life.crash(fence.job_id, fence.attempt, self.now)

    def hard_limit(self, execution: Execution) -> None:
        fence, job = execution.fence, self.life.jobs.get(execution.fence.job_id)
        losing.timed_out(fence, 60.0, MAX_ATTEMPTS)
        if job is None or not job.is_running(fence.attempt):
            return
        if self.life.will_retry(job, permanent=False):
            at = JobRow.objects.get(id=job.id).available_at
            self._check_backoff(job, at)
            self.life.retry(fence.job_id, fence.attempt, at, Outcome.TIMEOUT, self.now)
        else:
            self.life.fail(fence.job_id, fence.attempt, Reason.EXHAUSTED, Outcome.TIMEOUT, self.now)

    # --- What people do --------------------

    def cancel(self, ids: list[str]) -> None:
        assert cancelling.cancel(ids, now=self.now) == self.life.cancel(ids, self.now)

    def replay(self, ids: list[str]) -> None:
        assert sorted(replaying.replay(ids, now=self.now)) == self.life.replay(ids, self.now)

    def discard(self, ids: list[str]) -> None:
        assert sorted(replaying.discard(ids, now=self.now)) == self.life.discard(ids, self.now)

    def limit(self, which: str, most: int | None, rate: float | None) -> None:
        name = f"schedule:{self.schedules[0].pk}" if which == "schedule" else which
        limiting.set_limit(name, max_active=most, max_per_second=rate)
        self.life.set_limit(name, most, rate)

    def pause_queue(self, queue: str) -> None:
        assert limiting.pause_queue(queue) == self.life.pause_queue(queue)

    def resume_queue(self, queue: str) -> None:
        assert limiting.resume_queue(queue) == self.life.resume_queue(queue)

    # --- Workers and messages --------------------

    def worker_starts(self, name: str) -> None:
        """A new run of a worker: an earlier one of its name has ended, whatever it managed to say."""
        earlier = self.life.workers.get(self.workers.get(name, ""))
        if earlier is not None and earlier.stopped_at is None:
            earlier.heartbeat_at = AGES_AGO
        worker_id = uuid.uuid4()
        attending.register(worker_id, name=name, host="test", pid=1, queues=[], concurrency=1, tasks=[])
        started_at = WorkerRow.objects.get(id=worker_id).started_at
        self.workers[name] = str(worker_id)
        self.life.workers[str(worker_id)] = Worker(started_at, self.now)

    def worker_beats(self, name: str) -> None:
        worker = self.life.workers.get(self.workers[name])
        known = worker is not None and worker.stopped_at is None
        assert attending.beat(uuid.UUID(self.workers[name])) == known
        if worker is not None and known:
            worker.heartbeat_at = self.now

    def worker_stops(self, name: str) -> None:
        attending.stop(uuid.UUID(self.workers[name]))
        if worker := self.life.workers.get(self.workers[name]):
            worker.stopped_at = self.now

    def redis_loses(self, queue: str) -> None:
        self.stage.redis.delete(queue)
        self.life.messages = [message for message in self.life.messages if message[0] != queue]

    # --- What a beat does, verb by verb and as a turn --------------------

    def promote(self) -> None:
        assert dispatching.promote_due(self.now) == self.life.promote_due(self.now)

    def release_held(self) -> None:
        assert dispatching.release_held(self.now) == self.life.release_held(self.now)

    def release(self) -> None:
        assert limiting.release(self.now) == self.life.release(self.now)

    def rescue(self) -> None:
        assert recovering.rescue(self.now) == self.life.rescue(self.now)

    def reconcile(self) -> None:
        assert recovering.reconcile(self.now) == self.life.reconcile(self.now)

    def prune(self) -> None:
        assert pruning.prune(self.now) == self.life.prune(self.now)
        self._forget_lines()

    def _forget_lines(self) -> None:
        self.lines = {id: count for id, count in self.lines.items() if id in self.life.jobs}

    def claim(self) -> None:
        taken, ids = self._making(lambda: claiming.claim_due(self.now))
        assert taken == sum(
            schedule.claim(self.life, ids[schedule.pk], self.now) for schedule in self.schedules
        )

    def tick(self) -> None:
        """A whole turn."""
        turn, ids = self._making(lambda: self.ticker.tick(self.now))
        for what, count in self.beat.turn(self.life, self.schedules, ids, self.now).items():
            assert getattr(turn, what) == count, what
        self._forget_lines()

    def _making(self, act: Callable[[], Any]) -> tuple[Any, dict[int, dict[datetime, str]]]:
        """Do `act`; return its answer, and the new rows of each schedule by the nominals they stand for."""
        answer, known = act(), self.life.jobs
        return answer, {
            schedule.pk: {at: id for at, id in self.stage.born_of(schedule.pk).items() if id not in known}
            for schedule in self.schedules
        }
