"""Deciding about due schedules, by any number of beats at once.

One transaction per batch:

1. Choose due schedules, `FOR UPDATE SKIP LOCKED`: another beat takes others. No leader, no lock in Redis.
2. Ask `rules.planning.plan` what is to become of each nominal between the cursor and now.
3. Insert a job, or a skip with its reason, for each of them. UNIQUE (schedule, nominal) backs the lock.
4. Move the cursor and `next_run_at`.

Then commit, then publish. A crash before the commit leaves nothing; a crash after it leaves waiting jobs,
which `recovering.reconcile` publishes.

A schedule that cannot be decided about is put aside with its problem, so that it cannot stop the others.
One that may not run (`permitting`) makes no job and is looked at again after a minute: when it may run, its
catch-up policy decides about what passed.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from django.db import transaction
from django_celery_beat.models import PeriodicTask

from jobs.engine import cancelling, dispatching, lifecycle, payload, statements
from jobs.engine.compiling import Timing, read_timing
from jobs.engine.dispatching import Message
from jobs.engine.enqueueing import NEAR
from jobs.engine.permitting import LOOK_AGAIN, Gate
from jobs.engine.records import NewJob
from jobs.engine.templates import job_from
from jobs.models import Schedule
from jobs.rules import overlap
from jobs.rules.planning import Firing, Plan, Skipped, plan
from jobs.rules.states import Hold, Reason, Status, Trigger

logger = logging.getLogger(__name__)

BATCH = 500

UTF8_LONGEST = 4
"""Bytes of a letter."""


@dataclass(slots=True)
class Due:
    """One locked schedule row, and what is decided about it."""

    schedule_id: int
    document: str
    template: dict[str, Any]
    cursor: datetime
    runs: int
    version: int
    size: int | None = None
    """Bytes that its payload does not exceed, where they are known."""
    withheld: bool = False
    """Whether it may not run."""
    timing: Timing | None = None
    running: int = 0
    held: int = 0
    jobs: list[NewJob] = field(default_factory=list)
    fired: int = 0
    last_fired: datetime | None = None
    plan: Plan | None = None
    problem: str = ""
    stop_others: bool = False
    kill_others: bool = False


# The CTE keeps the planner from running the join before the lock: LIMIT under SKIP LOCKED wants it.
# The task row is locked with the policy, because its counters are written below: an edit holds the task and
# wants the policy, and neither must wait for the other. A row that anybody holds is left for the next turn.
# The columns are those that the lock returns. Read outside the CTE they would be as old as the statement, and
# what another beat has decided and committed meanwhile would be decided again, from its old cursor.
_CLAIM = """
    WITH due AS MATERIALIZED (
        SELECT s.periodic_task_id, s.spec, s.template, s.decided_through, s.runs, s.version, s.problem
        FROM jobs_schedule AS s JOIN django_celery_beat_periodictask AS t ON t.id = s.periodic_task_id
        WHERE NOT s.stale AND s.next_run_at <= %(now)s::timestamptz
        ORDER BY s.next_run_at LIMIT %(limit)s::int
        FOR UPDATE OF s SKIP LOCKED FOR NO KEY UPDATE OF t SKIP LOCKED
    )
    SELECT periodic_task_id, spec::text, template::text, decided_through, runs, version, problem FROM due
"""


_RUNNING = """
    SELECT schedule_id, count(*) FILTER (WHERE hold <> 'overlap'), count(*) FILTER (WHERE hold = 'overlap')
    FROM jobs_job
    WHERE schedule_id = ANY(%(ids)s::int[]) AND status IN ('delayed', 'waiting', 'active')
    GROUP BY schedule_id
"""

_ADVANCE = """
    WITH v AS MATERIALIZED (
        SELECT * FROM jsonb_to_recordset(%(rows)s::jsonb) AS v(
            id int, cursor timestamptz, next_run_at timestamptz, fired int, problem text, last_run_at timestamptz)
    ), advanced AS (
        UPDATE jobs_schedule AS s
        SET decided_through = GREATEST(s.decided_through, v.cursor), next_run_at = v.next_run_at,
            runs = s.runs + v.fired, problem = v.problem
        FROM v WHERE s.periodic_task_id = ANY(%(ids)s::int[]) AND s.periodic_task_id = v.id
    )
    UPDATE django_celery_beat_periodictask AS t
    SET last_run_at = GREATEST(t.last_run_at, v.last_run_at), total_run_count = t.total_run_count + v.fired
    FROM v WHERE t.id = ANY(%(ids)s::int[]) AND t.id = v.id AND v.last_run_at IS NOT NULL
"""


def claim_due(now: datetime, *, limit: int = BATCH) -> int:
    """Decide about at most `limit` due schedules as of `now`; return how many were taken."""
    with transaction.atomic():
        rows = statements.run(_CLAIM, {"now": now, "limit": limit})
        batch = [
            Due(
                pk,
                document,
                json.loads(template),
                through,
                runs,
                version,
                size=len(template) * UTF8_LONGEST,
                problem=problem,
            )
            for pk, document, template, through, runs, version, problem in rows
        ]
        if batch:
            decide(_still(batch, Gate()), now)
    return len(batch)


def _still(batch: Sequence[Due], gate: Gate) -> Sequence[Due]:
    """Return those of a batch that are to be decided now.

    What was withheld (a due schedule with a problem is one) and may run now is compiled anew first, like
    after an edit, but one that makes no times pass.
    """
    held = [due for due in batch if due.problem]
    free = {due.schedule_id for due in held if not gate.obstacle(due.template, at_most=due.size)}
    if not free:
        return batch
    Schedule.objects.filter(pk__in=free).update(stale=True)
    return [due for due in batch if due.schedule_id not in free]


def _withhold(due: Due, gate: Gate) -> bool:
    """Note whether, and why, a schedule may not run."""
    why = gate.obstacle(due.template, at_most=due.size)
    if why and why != due.problem:
        logger.warning("claim: schedule %s makes no job: %s", due.template.get("name"), why)
    due.problem, due.withheld = why, bool(why)
    return due.withheld


def decide(batch: Sequence[Due], now: datetime, *, paused: bool = False) -> None:
    """Decide every nominal of these locked schedules up to `now`, within the caller's transaction.

    `paused` records the times that passed meanwhile, as one row.
    """
    gate = Gate()
    for due in batch:
        with _putting_aside(due):
            if not _withhold(due, gate):
                due.timing = read_timing(due.document)
    _count_running([due for due in batch if due.timing])
    planned = _Planner(now, paused=paused)
    for due in batch:
        if due.timing:
            with _putting_aside(due):
                _decide_one(due, due.timing, now, planned)
    jobs = [job for due in batch for job in due.jobs]
    new = lifecycle.birth(jobs, now=now)
    _advance(batch, now)
    _stop_others(batch, new)
    dispatching.publish_on_commit(
        [Message.of(job) for job in jobs if job.id in new and job.status is Status.WAITING]
    )


@contextmanager
def _putting_aside(due: Due) -> Iterator[None]:
    """One bad row must not stop the others: it is put aside with its problem, for people to see."""
    try:
        yield
    except Exception as exc:
        logger.exception("claim: schedule %s cannot be decided", due.template.get("name"))
        due.problem, due.jobs, due.plan, due.fired = f"{type(exc).__name__}: {exc}", [], None, 0


def _count_running(batch: Sequence[Due]) -> None:
    wanted = {
        due.schedule_id: due
        for due in batch
        if due.timing and due.timing.overlap != overlap.OverlapPolicy.ALLOW_ALL
    }
    if not wanted:
        return
    for pk, running, held in statements.run(_RUNNING, {"ids": list(wanted)}):
        wanted[pk].running, wanted[pk].held = running, held


class _Planner:
    """Plans of one turn: schedules of the same timing, decided through the same instant, have the same plan."""

    def __init__(self, now: datetime, *, paused: bool) -> None:
        self.now = now
        self.paused = paused
        self.plans: dict[tuple[int, datetime], Plan] = {}

    def __call__(self, due: Due, timing: Timing, cursor: datetime) -> Plan:
        """Return the plan of `due` from `cursor` on."""
        shared = not timing.policy.jitter and timing.policy.max_runs is None
        known = self.plans.get((id(timing), cursor)) if shared else None
        if known is not None:
            return known
        found = plan(
            str(due.schedule_id),
            timing.spec,
            timing.policy,
            cursor=cursor,
            now=self.now,
            runs=due.runs + due.fired,
            paused=self.paused,
        )
        if shared:
            self.plans[id(timing), cursor] = found
        return found


def _decide_one(due: Due, timing: Timing, now: datetime, planned: _Planner) -> None:
    """Plan and decide; once more from there on when the plan counted on runs that an overlap skipped.

    Only starts count against `max_runs` (SEMANTICS 11), and the plan cannot know what overlaps.
    """
    fire: list[Firing] = []
    cursor = due.cursor
    while True:
        found = planned(due, timing, cursor)
        due.jobs += [_skipped(due, skip) for skip in found.skipped]
        fired = due.fired
        for firing in found.fire:
            _fire(due, timing, firing, now)
        fire += found.fire
        due.plan = replace(found, fire=tuple(fire))
        all_started = due.fired - fired == len(found.fire)
        if all_started or found.next_nominal is not None or timing.policy.max_runs is None:
            return
        cursor = found.fire[-1].scheduled_for


def _fire(due: Due, timing: Timing, firing: Firing, now: datetime) -> None:
    """Make the job of one firing: to run, to be held, or skipped because of an overlap."""
    decision = overlap.decide(timing.overlap, running=due.running, buffered=due.held)
    match decision:
        case overlap.Skip(reason=reason):
            due.jobs.append(_job(due, firing, now, reason=Reason(reason)))
            return
        case overlap.Hold():
            due.held += 1
            due.jobs.append(_job(due, firing, now, hold="overlap"))
        case overlap.CancelOthersThenRun() | overlap.TerminateOthersThenRun():
            due.stop_others = True
            due.kill_others = isinstance(decision, overlap.TerminateOthersThenRun)
            due.held += 1
            due.jobs.append(_job(due, firing, now, hold="overlap"))
        case _:
            due.running += 1
            due.jobs.append(_job(due, firing, now))
    due.fired += 1
    due.last_fired = firing.scheduled_for


def _skipped(due: Due, skip: Skipped) -> NewJob:
    many = skip.count > 1
    return replace(
        _born(due, skip.first, skip.first, status=Status.SKIPPED, reason=Reason(skip.reason)),
        deadline_at=None,
        skipped_count=skip.count if many else None,
        skipped_through=skip.last if many else None,
    )


def _job(due: Due, firing: Firing, now: datetime, *, hold: str = "", reason: str = "") -> NewJob:
    if not reason and not hold and due.template["gate"]:
        hold = Hold.UPSTREAM
    later = bool(hold) or firing.runs_at > now + NEAR
    status = Status.SKIPPED if reason else Status.DELAYED if later else Status.WAITING
    return _born(due, firing.scheduled_for, firing.runs_at, status=status, reason=reason, hold=hold)


def _born(
    due: Due, nominal: datetime, at: datetime, *, status: Status, reason: str = "", hold: str = ""
) -> NewJob:
    return job_from(
        due.template,
        schedule_id=due.schedule_id,
        version=due.version,
        trigger=Trigger.SCHEDULE,
        scheduled_for=nominal,
        available_at=at,
        status=status,
        reason=reason,
        hold=hold,
    )


def _advance(batch: Sequence[Due], now: datetime) -> None:
    """Move the cursors, and keep django-celery-beat's own counters true for whoever looks at them."""
    rows = [
        {
            "id": due.schedule_id,
            "cursor": due.plan.cursor if due.plan else due.cursor,
            "next_run_at": _next(due, now),
            "fired": due.fired,
            "problem": due.problem,
            "last_run_at": due.last_fired if due.plan else None,
        }
        for due in batch
    ]
    statements.run(_ADVANCE, {"rows": payload.document(rows), "ids": [row["id"] for row in rows]})
    _retire([due for due in batch if due.fired and due.plan and due.plan.next_nominal is None])


def _next(due: Due, now: datetime) -> datetime | None:
    """Return when to decide about it next; None for never."""
    if due.withheld:
        return now + LOOK_AGAIN
    return due.plan.next_nominal if due.plan else None


def _retire(ended: Sequence[Due]) -> None:
    """A one-shot that has fired is disabled, deleted or kept, as its policy says (SEMANTICS 9)."""
    once = [(due.schedule_id, due.timing.on_complete) for due in ended if due.timing and due.timing.once]
    disable = [pk for pk, what in once if what == "disable"]
    delete = [pk for pk, what in once if what == "delete"]
    if disable:
        PeriodicTask.objects.filter(pk__in=disable).update(enabled=False)
    if delete:
        PeriodicTask.objects.filter(pk__in=delete).delete()


def _stop_others(batch: Sequence[Due], new: set[str]) -> None:
    for due in batch:
        if due.stop_others:
            cancelling.stop_running_of(
                due.schedule_id, kill=due.kill_others, keep=[job.id for job in due.jobs if job.id in new]
            )
