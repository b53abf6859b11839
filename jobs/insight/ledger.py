"""Reading the ledger: which row decided an instant of a schedule, and what it says in words."""

from __future__ import annotations

from datetime import datetime, timedelta

from jobs.engine.compiling import CompileError
from jobs.insight.formats import instant
from jobs.insight.obstacles import earlier_run, what_blocks_queue, what_holds
from jobs.insight.previewing import timing_of
from jobs.models import Attempt, Job, Schedule
from jobs.rules.planning import Preview, preview
from jobs.rules.states import Hold, Status
from jobs.rules.timing import next_after

NEAR = timedelta(seconds=1)
"""How near a nominal has to be to what a person typed."""

WHY_SKIPPED = {
    "overlap": "an earlier run was still going on, and the overlap policy is {overlap}",
    "missed": "no scheduler decided it in time, and the catch-up policy is {catch_up}",
    "paused": "the schedule was paused",
    "excluded": "its calendar excludes that time",
    "blackout": "it fell into a blackout window",
    "expired": "no worker had started it by its deadline, {deadline}",
    "dropped": "too many runs were held back already",
    "upstream": "the schedule it runs after did not come to the wanted end in time",
}


# --- Finding ----------------------------------------------------------------------------------------------


def own_row(schedule: Schedule, at: datetime) -> Job | None:
    """Return the row that decided the nominal nearest to `at`; a backfill's where no beat decided it."""
    near = list(
        Job.objects.filter(
            schedule_id=schedule.pk,
            scheduled_for__gt=at - NEAR,
            scheduled_for__lt=at + NEAR,
            skipped_count__isnull=True,
        ).order_by("-created_at")[:100]
    )

    def rank(job: Job) -> tuple[timedelta, bool]:
        return abs((job.scheduled_for or at) - at), job.nonce is not None

    return min(near, key=rank, default=None)


def covering_row(schedule: Schedule, at: datetime) -> Job | None:
    """Return the row that stands for a range of skipped times with `at` among them."""
    rows = list(
        Job.objects.filter(
            schedule_id=schedule.pk,
            skipped_count__isnull=False,
            scheduled_for__lt=at + NEAR,
            skipped_through__gt=at - NEAR,
        ).order_by("-created_at")
    )
    if not rows:
        return None
    try:
        found = nominal_near(schedule, at)
    except CompileError:
        return rows[0]  # it made sense when it was decided
    if found is None:
        return None
    # Ranges of several reasons overlap: missed times, and between them those the calendar excludes.
    same = [row for row in rows if row.reason == (found.skipped or row.reason)]
    if found.skipped is None:
        same = [row for row in rows if row.reason not in ("excluded", "blackout")] or same
    return (same or rows)[0]


def nominal_near(schedule: Schedule, at: datetime) -> Preview | None:
    """Return the nominal at `at`, as it would be decided without bounds; None if there is none.

    Raises `CompileError`.
    """
    timing = timing_of(schedule)
    found = preview(
        str(schedule.pk),
        timing.spec,
        timing.policy,
        after=at - NEAR,
        until=at + NEAR,
        limit=100,
        include_skipped=True,
    )
    if found:
        return min(found, key=lambda one: abs(one.scheduled_for - at))
    # Out of its bounds, or past its last run, it is one of its times all the same.
    raw = next_after(timing.spec, at - NEAR)
    if raw is None or raw.at >= at + NEAR:
        return None
    return Preview(raw.at, raw.at, raw.at, raw.note)


def reruns(schedule: Schedule, at: datetime, decided: Job) -> list[Job]:
    """Return the runs of the same nominal that a person asked for later, oldest first."""
    rows = Job.objects.filter(
        schedule_id=schedule.pk, scheduled_for__gt=at - NEAR, scheduled_for__lt=at + NEAR, nonce__isnull=False
    )
    return list(rows.exclude(id=decided.id).order_by("created_at"))


# --- Telling ----------------------------------------------------------------------------------------------


def verdict_of(job: Job) -> str:
    """Return what became of a job as one word."""
    return {Status.COMPLETED: "ran", Status.ACTIVE: "running"}.get(Status(job.status), job.status)


def story(schedule: Schedule, job: Job, now: datetime) -> str:
    """Return what became of a job in a sentence."""
    match Status(job.status):
        case Status.SKIPPED:
            return _skipped(schedule, job)
        case Status.COMPLETED:
            took = _span(job.started_at, job.finished_at)
            late = _span(job.scheduled_for, job.started_at)
            tries = f" at attempt {job.attempt}" if job.attempt > 1 else ""
            return f"It ran{tries}: started {late} after its time, took {took}, and completed."
        case Status.FAILED:
            error = (job.error or "no error was kept").rstrip(".")
            return f"It ran and failed ({job.reason}) after {_attempts(job)}: {error}."
        case Status.CANCELLED:
            word = "discarded after it failed" if job.reason == "discarded" else "cancelled"
            return f"It was {word} at {instant(job.finished_at)}."
        case Status.ACTIVE:
            return f"It is running since {instant(job.started_at)}, attempt {job.attempt}."
        case Status.DELAYED:
            return _delayed(job)
        case _:
            blocked = what_blocks_queue(job.queue, job.task, now)
            since = f"It is waiting on the queue {job.queue!r} since {instant(job.available_at)}"
            return f"{since}: {blocked or 'its workers are busy, or about to take it'}."


def _skipped(schedule: Schedule, job: Job) -> str:
    words = WHY_SKIPPED.get(job.reason, job.reason)
    why = words.format(
        overlap=schedule.overlap, catch_up=schedule.catch_up, deadline=instant(job.deadline_at) or "long past"
    )
    if job.reason == "overlap" and (other := earlier_run(job)) is not None:
        why += f": job {other.id}, for {instant(other.scheduled_for) or other.trigger}"
    if job.skipped_count:
        span = f"{instant(job.scheduled_for)} to {instant(job.skipped_through)}"
        why += f" (one of {job.skipped_count} times from {span})"
    return f"It did not run: {why}."


def _delayed(job: Job) -> str:
    match job.hold:
        case Hold.OVERLAP:
            return "It is held back until the earlier run has ended."
        case Hold.UPSTREAM:
            return "It is held back until the schedule it runs after has come to the wanted end."
        case Hold.CONCURRENCY:
            limit = what_holds(job)
            return f"It is held back: {limit or 'a limit had no place, and it goes next'}."
    if job.attempt:
        error = f" after {job.error.rstrip('.')}" if job.error else ""
        return f"It is delayed{error}: attempt {job.attempt + 1} is due at {instant(job.available_at)}."
    return f"It is delayed: it starts at {instant(job.available_at)}."


def _attempts(job: Job) -> str:
    count = Attempt.objects.filter(job_id=job.id).count()
    return "1 attempt" if count == 1 else f"{count} attempts"


def _span(since: datetime | None, until: datetime | None) -> str:
    if since is None or until is None:
        return "an unknown time"
    return f"{(until - since).total_seconds():.2f} s"
