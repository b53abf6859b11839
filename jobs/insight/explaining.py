"""Why a schedule did, did not, will or will not run (SEMANTICS 28): one sentence, and the facts."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from jobs.engine.compiling import CompileError
from jobs.insight.formats import instant
from jobs.insight.previewing import timing_of, upcoming
from jobs.insight.queues import workers_on
from jobs.models import Attempt, Job, Schedule
from jobs.rules.describe import describe
from jobs.rules.planning import Preview
from jobs.rules.states import Status
from jobs.rules.timing import next_after, prev_before

LATE = timedelta(seconds=10)
"""A time that is due for longer than this and not decided: no beat is running."""

NEAR = timedelta(seconds=1)
TICK = timedelta(microseconds=1)

WHY_SKIPPED = {
    "overlap": "an earlier run was still going on, and the overlap policy is {overlap}",
    "missed": "no scheduler decided it in time, and the catch-up policy is {catch_up}",
    "paused": "the schedule was paused",
    "excluded": "its calendar excludes that time",
    "blackout": "it fell into a blackout window",
    "expired": "no worker had started it by its deadline",
    "dropped": "too many runs were held back already",
    "upstream": "the schedule it runs after did not come to the wanted end in time",
}


@dataclass(slots=True)
class Explanation:
    """An answer: `verdict` is one word for scripts, `sentence` is for people."""

    schedule: str
    verdict: str
    sentence: str
    at: datetime | None = None
    facts: dict[str, Any] = field(default_factory=dict)

    def document(self) -> dict[str, Any]:
        """Return it as JSON."""
        return {
            "schedule": self.schedule,
            "at": instant(self.at),
            "verdict": self.verdict,
            "sentence": self.sentence,
            "facts": self.facts,
        }


def explain(schedule: Schedule, *, now: datetime, at: datetime | None = None) -> Explanation:
    """Explain one instant of a schedule, or, without `at`, what it is going to do and what stands in the way."""
    if at is None:
        return _outlook(schedule, now)
    row = _ledger_row(schedule, at)
    if row is not None:
        return _decided(schedule, row, at)
    return _foretold(schedule, at, now) if at > now else _undecided(schedule, at, now)


# --- What was decided -----------------------------------------------------------------------------------


def _ledger_row(schedule: Schedule, at: datetime) -> Job | None:
    """Return the row that decided `at`: its own, or one that stands for a range of skipped times."""
    rows = Job.objects.filter(schedule_id=schedule.pk)
    own = rows.filter(
        scheduled_for__gt=at - NEAR, scheduled_for__lt=at + NEAR, skipped_count__isnull=True
    ).order_by("nonce", "-created_at")
    found = own.filter(nonce__isnull=True).first() or own.first()
    if found is not None:
        return found
    covering = rows.filter(
        skipped_count__isnull=False, scheduled_for__lt=at + NEAR, skipped_through__gt=at - NEAR
    ).order_by("-created_at")
    return covering.first() if _is_nominal(schedule, at) else None


def _is_nominal(schedule: Schedule, at: datetime) -> bool:
    try:
        found = next_after(timing_of(schedule).spec, at - NEAR)
    except CompileError:
        return True  # it made sense when it was decided
    return found is not None and found.at < at + NEAR


def _decided(schedule: Schedule, job: Job, at: datetime) -> Explanation:
    facts: dict[str, Any] = {
        "job": job.id,
        "status": job.status,
        "reason": job.reason or None,
        "trigger": job.trigger,
        "scheduled_for": instant(job.scheduled_for),
        "decided_at": instant(job.created_at),
        "policy_version": job.policy_version,
    }
    if job.skipped_count:
        facts |= {"skipped": job.skipped_count, "through": instant(job.skipped_through)}
    return Explanation(str(schedule), _verdict(job), _story(schedule, job), at, facts)


def _verdict(job: Job) -> str:
    return {Status.COMPLETED: "ran", Status.ACTIVE: "running"}.get(Status(job.status), job.status)


def _story(schedule: Schedule, job: Job) -> str:
    when = instant(job.scheduled_for)
    match Status(job.status):
        case Status.SKIPPED:
            why = WHY_SKIPPED.get(job.reason, job.reason).format(
                overlap=schedule.overlap, catch_up=schedule.catch_up
            )
            many = (
                f", one of {job.skipped_count} times from {when} to {instant(job.skipped_through)}"
                if job.skipped_count
                else ""
            )
            return f"It did not run: {why}{many}."
        case Status.COMPLETED:
            took = _span(job.started_at, job.finished_at)
            late = _span(job.scheduled_for, job.started_at)
            tries = f" at attempt {job.attempt}" if job.attempt > 1 else ""
            return f"It ran{tries}: started {late} after its time, took {took}, and completed."
        case Status.FAILED:
            return f"It ran and failed ({job.reason}) after {_attempts(job)}: {job.error or 'no error was kept'}."
        case Status.CANCELLED:
            return f"It was {job.reason} at {instant(job.finished_at)}."
        case Status.ACTIVE:
            return f"It is running since {instant(job.started_at)}, attempt {job.attempt}."
        case Status.DELAYED:
            return _held(job)
        case _:
            return f"It is waiting for a worker of the queue {job.queue!r} since {instant(job.available_at)}."


def _held(job: Job) -> str:
    held = {
        "overlap": "It is held back until the earlier run has ended.",
        "concurrency": "It is held back: a limit on its queue, schedule or key has no place.",
        "upstream": "It is held back until the schedule it runs after has come to the wanted end.",
    }
    if job.hold:
        return held[job.hold]
    what = f"attempt {job.attempt + 1}" if job.attempt else "its start"
    return f"It is delayed: {what} is due at {instant(job.available_at)}."


def _attempts(job: Job) -> str:
    count = Attempt.objects.filter(job_id=job.id).count()
    return "1 attempt" if count == 1 else f"{count} attempts"


def _span(since: datetime | None, until: datetime | None) -> str:
    if since is None or until is None:
        return "an unknown time"
    return f"{(until - since).total_seconds():.2f} s"


# --- What was not, or not yet ---------------------------------------------------------------------------


def _undecided(schedule: Schedule, at: datetime, now: datetime) -> Explanation:
    """A past instant with no row."""
    name = str(schedule)
    if not _is_nominal(schedule, at):
        return Explanation(name, "not_a_time", _not_a_time(schedule, at), at)
    if at <= schedule.created_at:
        sentence = f"It did not run: the schedule was made later, at {instant(schedule.created_at)}."
        return Explanation(name, "before_creation", sentence, at)
    if at > schedule.decided_through:
        blocked = _what_blocks(schedule, now)
        sentence = f"It is due and not decided yet: {blocked or 'a scheduler will take it in a moment'}."
        return Explanation(name, "undecided", sentence, at)
    kept = "It has no row: its history was pruned, or the schedule had other times then."
    return Explanation(name, "unknown", kept, at, {"decided_through": instant(schedule.decided_through)})


def _not_a_time(schedule: Schedule, at: datetime) -> str:
    spec = timing_of(schedule).spec
    before, after = prev_before(spec, at), next_after(spec, at)
    near = [f"{instant(one.at)}" for one in (before, after) if one is not None]
    return f"That is not one of its times ({describe(spec)}); the nearest are {' and '.join(near) or 'none'}."


def _foretold(schedule: Schedule, at: datetime, now: datetime) -> Explanation:
    name = str(schedule)
    try:
        found = upcoming(schedule, after=at - NEAR, limit=1, until=at + NEAR, include_skipped=True)
    except CompileError as error:
        return Explanation(name, "broken", f"It will not run: {error}", at)
    if not found:
        return Explanation(name, "not_a_time", _not_a_time(schedule, at), at)
    return Explanation(name, *_forecast(schedule, found[0], now), at, _firing(found[0]))


def _forecast(schedule: Schedule, item: Preview, now: datetime) -> tuple[str, str]:
    if item.skipped is not None:
        why = WHY_SKIPPED.get(item.skipped, item.skipped)
        return "will_skip", f"It will not run: {why.format(overlap=schedule.overlap, catch_up='')}."
    blocked = _what_blocks(schedule, now)
    if blocked:
        return "blocked", f"It would run at {instant(item.runs_at)}, but {blocked}."
    return "will_run", f"It will run at {instant(item.runs_at)} ({item.local.isoformat()})."


def _firing(item: Preview) -> dict[str, Any]:
    return {
        "scheduled_for": instant(item.scheduled_for),
        "runs_at": instant(item.runs_at),
        "local": item.local.isoformat(),
        "note": item.note,
        "skipped": item.skipped,
    }


# --- The outlook ------------------------------------------------------------------------------------------


def _outlook(schedule: Schedule, now: datetime) -> Explanation:
    name = str(schedule)
    facts: dict[str, Any] = {
        "decided_through": instant(schedule.decided_through),
        "next_run_at": instant(schedule.next_run_at),
        "workers": workers_on(_queue(schedule), now) if schedule.template else None,
        "queue": _queue(schedule) if schedule.template else None,
        "paused_until": instant(schedule.paused_until),
        "pause_note": schedule.pause_note or None,
    }
    last = Job.objects.filter(schedule_id=schedule.pk).order_by("-created_at").first()
    if last is not None:
        facts["last"] = {"job": last.id, "status": last.status, "scheduled_for": instant(last.scheduled_for)}
    if schedule.problem and not schedule.stale:
        return Explanation(name, "broken", f"It will not run: {schedule.problem}", None, facts)
    try:
        found = upcoming(schedule, after=max(now, schedule.decided_through), limit=1)
    except CompileError as error:
        return Explanation(name, "broken", f"It will not run: {error}", None, facts)
    if schedule.after is not None and schedule.after_mode == "trigger":
        sentence = f"It runs after {schedule.after} ({schedule.after_on}); it has no times of its own."
        return Explanation(name, "triggered", sentence, None, facts)
    if not found:
        return Explanation(name, "ended", "It will not run again: it has no times left.", None, facts)
    verdict, sentence = _forecast(schedule, found[0], now)
    return Explanation(name, verdict, sentence, None, {**facts, **_firing(found[0])})


def _queue(schedule: Schedule) -> str:
    return str(schedule.template["queue"]) if schedule.template else ""


def _what_blocks(schedule: Schedule, now: datetime) -> str:
    """Return what keeps the schedule from running, as the end of a sentence; empty for nothing."""
    if not schedule.periodic_task.enabled:
        until = f" until {instant(schedule.paused_until)}" if schedule.paused_until else ""
        note = f" ({schedule.pause_note})" if schedule.pause_note else ""
        return f"it is paused{until}{note}"
    if not beat_is_running(now):
        return "no scheduler is running: start `celery beat`"
    queue = _queue(schedule)
    if queue and not workers_on(queue, now):
        return f"no worker takes jobs from the queue {queue!r}"
    from celery import current_app

    if schedule.periodic_task.task not in current_app.tasks:
        return f"no task named {schedule.periodic_task.task!r} is registered"
    return ""


def beat_is_running(now: datetime) -> bool:
    """Whether some beat decides what is due: nothing has been due, or edited, for long."""
    return not (
        Schedule.objects.filter(stale=False, next_run_at__lt=now - LATE).exists()
        or Schedule.objects.filter(stale=True, edited_at__lt=now - LATE).exists()
    )
