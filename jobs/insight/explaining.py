"""Why a schedule did, did not, will or will not run (SEMANTICS 28): one sentence, and the facts.

What was decided is read from the ledger; the rest is asked of the rules that beat follows.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from jobs.conf import conf
from jobs.engine.compiling import CompileError
from jobs.insight import obstacles
from jobs.insight.formats import instant
from jobs.insight.ledger import covering_row, nominal_near, own_row, reruns, story, verdict_of
from jobs.insight.obstacles import queue_of, what_blocks
from jobs.insight.previewing import timing_of, upcoming
from jobs.models import Job, Schedule
from jobs.rules.describe import describe
from jobs.rules.planning import Preview
from jobs.rules.timing import next_after, prev_before

NEAR = timedelta(seconds=1)
MOST_FORETOLD = 10_000
"""How far `max_runs` is counted ahead to find out which time will be the last."""

WHY_NOT = {"excluded": "its calendar excludes that time", "blackout": "it falls into a blackout window"}


@dataclass(slots=True)
class Explanation:
    """An answer: `verdict` is one word for scripts, `sentence` is for people.

    Verdicts of the past: ran, failed, cancelled, skipped, running, waiting, delayed, undecided, paused,
    before_creation, pruned, unknown. Of the future: will_run, will_skip, blocked, ended, triggered. Of
    both: not_a_time, broken.
    """

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
    row = own_row(schedule, at) or covering_row(schedule, at)
    if row is not None:
        return _decided(schedule, row, at, now)
    return _foretold(schedule, at, now) if at > now else _undecided(schedule, at, now)


# --- What was decided -----------------------------------------------------------------------------------


def _decided(schedule: Schedule, job: Job, at: datetime, now: datetime) -> Explanation:
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
    if job.reason == "overlap" and (other := obstacles.earlier_run(job)) is not None:
        facts["earlier_run"] = other.id
    sentence = story(schedule, job, now)
    later = reruns(schedule, at, job)
    if later:
        facts["reruns"] = [{"job": one.id, "status": one.status} for one in later]
        sentence += f" It was run again by a backfill: {later[-1].status}."
    return Explanation(str(schedule), verdict_of(job), sentence, at, facts)


# --- What was not, or not yet ---------------------------------------------------------------------------


def _undecided(schedule: Schedule, at: datetime, now: datetime) -> Explanation:
    """A past instant with no row."""
    name, row = str(schedule), schedule.periodic_task
    odd = _no_time_of_its(schedule, at)
    if odd is not None:
        return odd
    if at <= schedule.created_at:
        sentence = f"It did not run: the schedule was made later, at {instant(schedule.created_at)}."
        return Explanation(name, "before_creation", sentence, at)
    if at > schedule.decided_through:
        if not row.enabled:
            blocked = what_blocks(schedule, now)
            sentence = f"It did not run: {blocked}; the ledger will say so when it goes on."
            return Explanation(name, "paused", sentence, at, {"paused_at": instant(schedule.paused_at)})
        if schedule.max_runs is not None and schedule.runs >= schedule.max_runs:
            return Explanation(name, "ended", _used_up(schedule), at)
        blocked = what_blocks(schedule, now)
        sentence = f"It is due and not decided yet: {blocked or 'a scheduler will take it in a moment'}."
        return Explanation(name, "undecided", sentence, at)
    return _lost_history(schedule, at, now)


def _lost_history(schedule: Schedule, at: datetime, now: datetime) -> Explanation:
    """It was decided, or passed over, and nothing is left that says how."""
    name = str(schedule)
    facts = {"decided_through": instant(schedule.decided_through), "edited_at": instant(schedule.edited_at)}
    kept = min(conf().retention.values(), default=timedelta.max)
    if at <= now - kept:
        sentence = f"Nothing is left of it: history is kept for {kept.days} days and more, by how jobs ended."
        return Explanation(name, "pruned", sentence, at, facts)
    if schedule.max_runs is not None and schedule.runs >= schedule.max_runs:
        return Explanation(name, "ended", _used_up(schedule), at, facts)
    sentence = "It has no row in the ledger: the schedule was edited since, and had other times then."
    return Explanation(name, "unknown", sentence, at, facts)


def _used_up(schedule: Schedule) -> str:
    return f"It did not run: it had been started {schedule.runs} times, and {schedule.max_runs} is its most."


def _no_time_of_its(schedule: Schedule, at: datetime) -> Explanation | None:
    """Return why `at` is none of its times; None when it is one, or when nobody can say."""
    name = str(schedule)
    if schedule.after is not None and schedule.after_mode == "trigger":
        return Explanation(name, "triggered", _after(schedule), at)
    try:
        if nominal_near(schedule, at) is None:
            return Explanation(name, "not_a_time", _not_a_time(schedule, at), at)
    except CompileError:
        return None
    start, end = schedule.periodic_task.start_time, schedule.periodic_task.expires
    if start is not None and at < start:
        return Explanation(name, "not_a_time", f"It does not run before its start, {instant(start)}.", at)
    if end is not None and at > end:
        return Explanation(name, "ended", f"It does not run after its end, {instant(end)}.", at)
    return None


def _not_a_time(schedule: Schedule, at: datetime) -> str:
    spec = timing_of(schedule).spec
    before, after = prev_before(spec, at), next_after(spec, at)
    near = [f"{instant(one.at)}" for one in (before, after) if one is not None]
    return f"That is not one of its times ({describe(spec)}); the nearest: {' and '.join(near) or 'none'}."


def _foretold(schedule: Schedule, at: datetime, now: datetime) -> Explanation:
    name = str(schedule)
    try:
        odd = _no_time_of_its(schedule, at)
        if odd is not None:
            return odd
        problem = _problem(schedule)
        if problem:
            return Explanation(name, "broken", f"It will not run: {problem}", at)
        found = upcoming(schedule, after=at - NEAR, limit=1, until=at + NEAR, include_skipped=True)
        if not found or _is_beyond_its_runs(schedule, at, now):
            most = f" after {schedule.max_runs} runs" if schedule.max_runs else ""
            return Explanation(name, "ended", f"It will not run then: it is over{most}.", at)
    except CompileError as error:
        return Explanation(name, "broken", f"It will not run: {error}", at)
    return Explanation(name, *_forecast(schedule, found[0], now), at, _firing(found[0]))


def _problem(schedule: Schedule) -> str:
    """Return why it makes no jobs at all, in a sentence; empty for nothing. What is stale is to be looked at anew."""
    return obstacles.objection(schedule) or ("" if schedule.stale else schedule.problem)


def _is_beyond_its_runs(schedule: Schedule, at: datetime, now: datetime) -> bool:
    """Whether `max_runs` will be used up before `at`, if everything until then runs."""
    if schedule.max_runs is None:
        return False
    after = max(now, schedule.decided_through)
    left = schedule.max_runs - schedule.runs
    found = upcoming(schedule, after=after, limit=min(left, MOST_FORETOLD) + 1, until=at + NEAR)
    return len(found) < MOST_FORETOLD and not any(abs(one.scheduled_for - at) < NEAR for one in found)


def _forecast(schedule: Schedule, item: Preview, now: datetime) -> tuple[str, str]:
    if item.skipped is not None:
        return "will_skip", f"It will not run: {WHY_NOT.get(item.skipped, item.skipped)}."
    when = instant(item.runs_at)
    spread = "" if item.runs_at == item.scheduled_for else f", for {instant(item.scheduled_for)}"
    blocked = what_blocks(schedule, now, item.runs_at)
    if blocked:
        return "blocked", f"It would run at {when}{spread}, but {blocked}."
    return "will_run", f"It will run at {when}{spread} ({item.local.isoformat()} in its zone)."


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
    name, facts = str(schedule), _state(schedule, now)
    problem = _problem(schedule)
    if problem:
        return Explanation(name, "broken", f"It will not run: {problem}", None, facts)
    try:
        found = upcoming(schedule, after=max(now, schedule.decided_through), limit=1)
    except CompileError as error:
        return Explanation(name, "broken", f"It will not run: {error}", None, facts)
    if schedule.after is not None and schedule.after_mode == "trigger":
        blocked = what_blocks(schedule, now)
        sentence = f"{_after(schedule)[:-1]}, but {blocked}." if blocked else _after(schedule)
        return Explanation(name, "blocked" if blocked else "triggered", sentence, None, facts)
    if not found:
        return Explanation(name, "ended", f"It will not run again: {_why_over(schedule, now)}.", None, facts)
    verdict, sentence = _forecast(schedule, found[0], now)
    return Explanation(name, verdict, sentence, None, {**facts, **_firing(found[0])})


def _state(schedule: Schedule, now: datetime) -> dict[str, Any]:
    queue = queue_of(schedule)
    facts: dict[str, Any] = {
        "decided_through": instant(schedule.decided_through),
        "next_run_at": None if schedule.problem else instant(schedule.next_run_at),
        "queue": queue,
        "workers": sum(queue in worker.queues for worker in obstacles.alive(now)),
        "beat": obstacles.beat_is_running(now),
        "paused_until": instant(schedule.paused_until),
        "pause_note": schedule.pause_note or None,
    }
    last = Job.objects.filter(schedule_id=schedule.pk).order_by("-created_at").first()
    if last is not None:
        facts["last"] = {
            "job": last.id,
            "status": last.status,
            "reason": last.reason or None,
            "scheduled_for": instant(last.scheduled_for),
        }
    return facts


def _why_over(schedule: Schedule, now: datetime) -> str:
    end = schedule.periodic_task.expires
    if schedule.max_runs is not None and schedule.runs >= schedule.max_runs:
        return f"it has been started {schedule.runs} times, and {schedule.max_runs} is its most"
    if end is not None and end <= now:
        return f"its end was {instant(end)}"
    spec = timing_of(schedule).spec
    if next_after(spec, now) is None:
        return f"it has no times left ({describe(spec)})"
    if end is not None:
        return f"it has no time before its end, {instant(end)}"
    return "its calendar and its blackouts leave no time for it"


def _after(schedule: Schedule) -> str:
    ends = {"success": "has succeeded", "failure": "has failed", "any": "has ended"}
    return f"It runs when {schedule.after} {ends[schedule.after_on]}; it has no times of its own."
