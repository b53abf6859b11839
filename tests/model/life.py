"""The life of jobs as a few rules in plain Python: what the database must look like after every act.

Written from what is promised, not from the engine: it shares the words of `rules.states` with it, and
nothing else. Every method is one act; it says what the act must answer, and changes the model.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta

from jobs.rules.states import Hold, Outcome, Reason, Status

LEASE = timedelta(seconds=45)
SWEEP = timedelta(seconds=5)
RECONCILE = timedelta(seconds=10)
TRUST = timedelta(seconds=20)
"""How long the database has to answer before silence proves that a worker is dead."""
GRACE = timedelta(seconds=5)
"""How old a waiting job is before its message is looked for."""
HOUSEKEEPING = timedelta(seconds=60)
DEFAULT_LIMIT = timedelta(seconds=60)
MAX_ATTEMPTS = 3
POISON = 3
RETENTION = {
    Status.COMPLETED: timedelta(days=7),
    Status.CANCELLED: timedelta(days=30),
    Status.SKIPPED: timedelta(days=30),
    Status.FAILED: timedelta(days=90),
}
WORKERS_KEPT = timedelta(days=7)
PENDING = (Status.DELAYED, Status.WAITING)
LIVE = (*PENDING, Status.ACTIVE)


@dataclass(frozen=True)
class Attempt:
    """One that has ended."""

    number: int
    started_at: datetime
    finished_at: datetime
    outcome: str


@dataclass
class Job:
    """What is known of a job; the fields are those of its row."""

    id: str
    task: str
    queue: str
    status: Status
    available_at: datetime
    key: str = ""
    schedule: int | None = None
    scheduled_for: datetime | None = None
    skipped_count: int | None = None
    reason: str = ""
    hold: str = ""
    deadline_at: datetime | None = None
    max_attempts: int | None = None
    attempt: int = 0
    errors: int = 0
    crashes: int = 0
    worker: str | None = None
    started_at: datetime | None = None
    expected_end_at: datetime | None = None
    finished_at: datetime | None = None
    published_at: datetime | None = None
    cancel_requested_at: datetime | None = None
    attempts: list[Attempt] = field(default_factory=list)

    def is_running(self, attempt: int) -> bool:
        return self.status is Status.ACTIVE and self.attempt == attempt

    def wait(self, now: datetime) -> None:
        self.status, self.hold, self.published_at = Status.WAITING, "", now

    def end(self, status: Status, reason: Reason | str, now: datetime) -> None:
        self.status, self.reason, self.hold, self.finished_at = status, str(reason), "", now
        self.cancel_requested_at = None


@dataclass
class Worker:
    """When it was last heard of."""

    started_at: datetime
    heartbeat_at: datetime
    stopped_at: datetime | None = None

    @property
    def last_heard_of(self) -> datetime:
        return max(self.started_at, self.heartbeat_at, self.stopped_at or self.started_at)

    def is_alive(self, now: datetime) -> bool:
        return self.stopped_at is None and now - self.heartbeat_at < LEASE


@dataclass
class Limit:
    """How many may run at once, and how many may start in a second."""

    name: str
    most: int | None = None
    rate: float | None = None
    next_start_at: datetime | None = None
    before_pause: int | None = None

    def covers(self, job: Job) -> bool:
        return self.name in (
            f"queue:{job.queue}",
            f"key:{job.key}" if job.key else None,
            f"schedule:{job.schedule}" if job.schedule is not None else None,
        )


class Life:
    """All jobs, workers, limits and messages."""

    def __init__(self) -> None:
        self.jobs: dict[str, Job] = {}
        self.workers: dict[str, Worker] = {}
        self.limits: dict[str, Limit] = {}
        self.messages: list[tuple[str, str, int]] = []
        """What Redis holds: queue, job, attempt."""

    def of(self, *statuses: Status) -> list[Job]:
        return [job for job in self.jobs.values() if job.status in statuses]

    def publish(self, job: Job) -> None:
        self.messages.append((job.queue, job.id, job.attempt + 1))

    # --- Birth --------------------

    def born(self, job: Job, now: datetime) -> bool:
        """A new row; one whose id is known already changes nothing."""
        if job.id in self.jobs:
            return False
        self.jobs[job.id] = job
        if job.status is Status.WAITING:
            job.published_at = now
            self.publish(job)
        if job.status is Status.SKIPPED:
            job.finished_at = now
        return True

    # --- Start --------------------

    def begin(self, id: str, attempt: int, task: str, queue: str, worker: str, now: datetime) -> bool:
        """A message comes to a worker; return whether the job starts."""
        job = self.jobs.get(id)
        if job is None:
            return False
        fits = job.status is Status.WAITING and job.attempt == attempt - 1
        limits = [limit for _, limit in sorted(self.limits.items()) if limit.covers(job)]
        if fits and limits and not self._has_room(job, limits, now):
            return False
        in_time = job.deadline_at is None or job.deadline_at > now
        if fits and in_time and (job.task, job.queue) == (task, queue):
            self._start(job, limits, worker, now)
            return True
        if job.status is Status.WAITING and not in_time:
            job.end(Status.SKIPPED, Reason.EXPIRED, now)
        return False

    def _has_room(self, job: Job, limits: list[Limit], now: datetime) -> bool:
        """Whether its limits let it start; if not it is put off, and nothing is charged."""
        for limit in limits:
            if limit.most is not None and sum(map(limit.covers, self.of(Status.ACTIVE))) >= limit.most:
                job.status, job.hold, job.available_at = Status.DELAYED, Hold.CONCURRENCY, now
                job.published_at = None
                return False
        early = max((limit.next_start_at for limit in limits if limit.next_start_at), default=now)
        if early > now:
            job.status, job.available_at, job.published_at = Status.DELAYED, early, None
            return False
        return True

    def _start(self, job: Job, limits: list[Limit], worker: str, now: datetime) -> None:
        job.status, job.attempt, job.worker, job.started_at = Status.ACTIVE, job.attempt + 1, worker, now
        job.expected_end_at = now + DEFAULT_LIMIT + LEASE
        for limit in limits:
            if limit.rate:
                limit.next_start_at = now + timedelta(seconds=1 / limit.rate)

    # --- The end of an attempt --------------------

    def _end(self, id: str, attempt: int, outcome: Outcome, now: datetime) -> Job | None:
        """Close the attempt; None for a late writer, who changes nothing."""
        job = self.jobs.get(id)
        if job is None or not job.is_running(attempt):
            return None
        assert job.started_at is not None
        job.attempts.append(Attempt(attempt, job.started_at, now, str(outcome)))
        job.worker = job.expected_end_at = None
        return job

    def _go_on(self, job: Job, now: datetime, *, at: datetime | None = None) -> None:
        """It is to run again; but what somebody wanted stopped stops here."""
        if at is not None:
            job.status, job.available_at = Status.DELAYED, at
        if job.cancel_requested_at is not None:
            job.end(Status.CANCELLED, Reason.CANCELLED, now)
        elif at is None:
            job.wait(now)
            self.publish(job)

    def complete(self, id: str, attempt: int, now: datetime) -> bool:
        if job := self._end(id, attempt, Outcome.COMPLETED, now):
            job.end(Status.COMPLETED, "", now)
        return job is not None

    def will_retry(self, job: Job, *, permanent: bool) -> bool:
        """Whether a failure now would leave it another attempt."""
        return not permanent and job.errors + 1 < (job.max_attempts or MAX_ATTEMPTS)

    def retry(self, id: str, attempt: int, at: datetime, outcome: Outcome, now: datetime) -> bool:
        """It runs again, not before `at`; the attempt is charged."""
        if job := self._end(id, attempt, outcome, now):
            job.errors += 1
            self._go_on(job, now, at=at)
        return job is not None

    def fail(self, id: str, attempt: int, reason: Reason, outcome: Outcome, now: datetime) -> bool:
        if job := self._end(id, attempt, outcome, now):
            job.errors += 1
            job.end(Status.FAILED, reason, now)
        return job is not None

    def crash(self, id: str, attempt: int, now: datetime) -> bool:
        """Its worker is gone: counted apart from errors, and the third time is the last."""
        if job := self._end(id, attempt, Outcome.CRASH, now):
            job.crashes += 1
            if job.crashes >= POISON:
                job.end(Status.FAILED, Reason.POISON, now)
            else:
                self._go_on(job, now)
        return job is not None

    def interrupt(self, id: str, attempt: int, now: datetime) -> bool:
        if job := self._end(id, attempt, Outcome.INTERRUPTED, now):
            self._go_on(job, now)
        return job is not None

    def cancel_running(self, id: str, attempt: int, now: datetime) -> bool:
        if job := self._end(id, attempt, Outcome.CANCELLED, now):
            job.end(Status.CANCELLED, Reason.CANCELLED, now)
        return job is not None

    # --- What people do --------------------

    def cancel(self, ids: list[str], now: datetime) -> tuple[int, int]:
        pending = [job for job in self.of(*PENDING) if job.id in ids]
        for job in pending:
            job.end(Status.CANCELLED, Reason.CANCELLED, now)
        running = [job for job in self.of(Status.ACTIVE) if job.id in ids]
        for job in running:
            job.cancel_requested_at = now
        return len(pending), len(running)

    def replay(self, ids: list[str], now: datetime) -> list[str]:
        dead = [job for job in self.of(Status.FAILED) if job.id in ids]
        for job in dead:
            job.reason, job.errors, job.crashes, job.finished_at, job.deadline_at = "", 0, 0, None, None
            job.available_at = now
            job.wait(now)
            self.publish(job)
        return sorted(job.id for job in dead)

    def discard(self, ids: list[str], now: datetime) -> list[str]:
        dead = [job for job in self.of(Status.FAILED) if job.id in ids]
        for job in dead:
            job.end(Status.CANCELLED, Reason.DISCARDED, now)
        return sorted(job.id for job in dead)

    def set_limit(self, name: str, most: int | None, rate: float | None) -> None:
        if most is None and rate is None:
            self.limits.pop(name, None)
            return
        limit = self.limits.setdefault(name, Limit(name))
        limit.most, limit.rate, limit.before_pause = most, rate, None

    def pause_queue(self, queue: str) -> bool:
        limit = self.limits.setdefault(f"queue:{queue}", Limit(f"queue:{queue}"))
        if limit.most == 0:
            return False
        limit.most, limit.before_pause = 0, limit.most
        return True

    def resume_queue(self, queue: str) -> bool:
        limit = self.limits.get(f"queue:{queue}")
        if limit is None or limit.most != 0:
            return False
        limit.most, limit.before_pause = limit.before_pause, None
        if limit.most is None and limit.rate is None:
            del self.limits[limit.name]
        return True

    # --- What a beat does --------------------

    def promote_due(self, now: datetime) -> int:
        due = [job for job in self.of(Status.DELAYED) if not job.hold and job.available_at <= now]
        self._let_go(due, now)
        return len(due)

    def release_held(self, now: datetime) -> int:
        """The oldest held job of each schedule goes when nothing else of the schedule is under way."""
        held = [
            job for job in self.of(Status.DELAYED) if job.hold == Hold.OVERLAP and job.available_at <= now
        ]
        busy = {job.schedule for job in self.of(*LIVE) if job.hold != Hold.OVERLAP}
        first: dict[int | None, Job] = {}
        for job in sorted(held, key=lambda job: (job.scheduled_for or now, job.id)):
            if job.schedule not in busy:
                first.setdefault(job.schedule, job)
        self._let_go(list(first.values()), now)
        return len(first)

    def release(self, now: datetime) -> int:
        """As many of the oldest held jobs go as their limits have places; none waits for no limit."""
        held = [
            job for job in self.of(Status.DELAYED) if job.hold == Hold.CONCURRENCY and job.available_at <= now
        ]
        held.sort(key=lambda job: (job.available_at, job.id))
        counted = [limit for limit in self.limits.values() if limit.most is not None]
        free: dict[str, Job] = {}
        for limit in counted:
            taken = sum(map(limit.covers, self.of(Status.ACTIVE, Status.WAITING)))
            for job in list(filter(limit.covers, held))[: max((limit.most or 0) - taken, 0)]:
                free[job.id] = job
        for job in held:
            if not any(limit.covers(job) for limit in counted):
                free[job.id] = job
        self._let_go(list(free.values()), now)
        return len(free)

    def _let_go(self, jobs: list[Job], now: datetime) -> None:
        for job in jobs:
            job.wait(now)
            self.publish(job)

    def rescue(self, now: datetime) -> int:
        """Jobs of workers that are gone, and those past every limit, run again or die."""
        lost = 0
        for job in self.of(Status.ACTIVE):
            worker = self.workers.get(job.worker or "")
            assert job.expected_end_at is not None
            if worker is not None and worker.is_alive(now) and job.expected_end_at >= now:
                continue
            lost += 1
            if worker is not None and worker.stopped_at is not None:
                self.interrupt(job.id, job.attempt, now)
            else:
                self.crash(job.id, job.attempt, now)
        return lost

    def reconcile(self, now: datetime) -> int:
        """What waits and has no message gets one; a queue that is merely long is left alone."""
        sent = 0
        for queue in {job.queue for job in self.of(Status.WAITING)}:
            old = [
                job
                for job in self.of(Status.WAITING)
                if job.queue == queue and job.published_at is not None and job.published_at < now - GRACE
            ]
            held = [message for message in self.messages if message[0] == queue]
            if len(held) >= len(old):
                continue
            named = {job_id for _, job_id, _ in held}
            for job in old:
                if job.id not in named:
                    job.published_at = now
                    self.publish(job)
                    sent += 1
        return sent

    def prune(self, now: datetime) -> int:
        old = [
            job
            for job in self.jobs.values()
            if job.finished_at is not None and job.finished_at < now - RETENTION[job.status]
        ]
        for job in old:
            del self.jobs[job.id]
        busy = {job.worker for job in self.of(Status.ACTIVE)}
        gone = [
            id
            for id, worker in self.workers.items()
            if id not in busy and worker.last_heard_of < now - WORKERS_KEPT
        ]
        for id in gone:
            del self.workers[id]
        return len(old) + len(gone)
