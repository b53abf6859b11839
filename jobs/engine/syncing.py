"""Keeping the compiled schedules true to the rows people edit.

Database triggers (migration `0002_triggers`) mark a schedule stale when its `PeriodicTask`, the crontab,
interval, clocked or solar row it uses, or its policy changes, whoever changed it: the admin, the ORM,
`QuerySet.update()` or SQL. Only those are compiled again here.

An edit at T decides only what comes after T (SEMANTICS 22): what the old schedule still owed up to T is
decided first, by the old compilation.
"""

from __future__ import annotations

import json
import logging
from datetime import datetime, timedelta

from django.db import connection, transaction

from jobs.engine import claiming, permitting
from jobs.engine.compiling import CompileError, Timing, compile_schedule, read_timing
from jobs.models import Schedule
from jobs.rules.planning import plan

logger = logging.getLogger(__name__)

TICK = timedelta(microseconds=1)


def sync_stale(now: datetime, *, limit: int = 500) -> int:
    """Compile at most `limit` stale schedules as of `now`; return how many. Any beat may do it."""
    with transaction.atomic():
        locked = [
            schedule.pk
            for schedule in Schedule.objects.stale()  # type: ignore[attr-defined]
            .select_for_update(skip_locked=True, of=("self", "periodic_task"))
            .select_related("periodic_task")
            .only("periodic_task__id")
            .order_by("edited_at")[:limit]
        ]
        # A statement of its own: one that locks and reads shows the crontab, which it does not lock, as it was
        # when it began, and an edit committed meanwhile would be taken for compiled.
        stale = Schedule.objects.filter(pk__in=locked).select_related(
            "periodic_task__crontab",
            "periodic_task__interval",
            "periodic_task__clocked",
            "periodic_task__solar",
            "calendar",
        )
        for schedule in stale.order_by("edited_at") if locked else ():
            _sync(schedule, min(schedule.edited_at, now))
    return len(locked)


def _sync(schedule: Schedule, edited_at: datetime) -> None:
    settle_old(schedule, edited_at)
    try:
        compiled = compile_schedule(schedule)
    except CompileError as exc:
        _store(schedule, problem=str(exc))
        logger.warning("sync: schedule %s cannot fire: %s", schedule, exc)
        return
    except Exception as exc:  # a row that nobody foresaw must not stop the others
        _store(schedule, problem=f"{type(exc).__name__}: {exc}")
        logger.exception("sync: schedule %s cannot be compiled", schedule)
        return
    first = schedule.version == 0
    schedule.spec, schedule.template = compiled.spec, compiled.template
    timing = read_timing(json.dumps(compiled.spec))
    schedule.decided_through = _cursor(schedule, timing, edited_at, first=first)
    obstacle = permitting.obstacle(compiled.template)
    if obstacle:
        logger.warning("sync: schedule %s makes no job: %s", schedule, obstacle)
    if schedule.periodic_task.enabled:
        _clear_pause(schedule, edited_at)
        again = edited_at + permitting.LOOK_AGAIN
        _store(schedule, problem=obstacle, next_run_at=again if obstacle else _next(schedule, timing))
    else:
        schedule.paused_at = schedule.paused_at or edited_at
        _store(schedule, problem=obstacle)


def _clear_pause(schedule: Schedule, at: datetime) -> None:
    if schedule.paused_at is not None:
        schedule.resumed_at = at
    schedule.paused_at = schedule.paused_until = None
    schedule.paused_by = schedule.pause_note = ""


def _cursor(schedule: Schedule, timing: Timing, edited_at: datetime, *, first: bool) -> datetime:
    """Return from where the new compilation decides: after the edit.

    A new one-shot whose time has just passed is still meant to run (`clocked_time=now()` is how "soon" is
    written with django-celery-beat), so its cursor starts before it.
    """
    at: datetime | None = getattr(timing.spec, "at", None)
    if first and at is not None and edited_at - schedule.catchup_window <= at <= edited_at:
        return min(schedule.decided_through, at - TICK)
    return max(schedule.decided_through, edited_at)


def _next(schedule: Schedule, timing: Timing) -> datetime | None:
    """Return when something has to be decided next: nothing is decided here.

    A schedule that only another one's end starts has no times of its own.
    """
    if schedule.after_id and schedule.after_mode == schedule.AfterMode.TRIGGER:
        return None
    through = schedule.decided_through
    return plan(
        str(schedule.pk),
        timing.spec,
        timing.policy,
        cursor=through,
        now=through,
        runs=schedule.runs,
    ).next_nominal


def _store(schedule: Schedule, *, problem: str = "", next_run_at: datetime | None = None) -> None:
    Schedule.objects.filter(pk=schedule.pk).update(
        spec=schedule.spec,
        template=schedule.template,
        decided_through=schedule.decided_through,
        next_run_at=next_run_at,
        problem=problem,
        paused_at=schedule.paused_at,
        paused_until=schedule.paused_until,
        paused_by=schedule.paused_by,
        pause_note=schedule.pause_note,
        resumed_at=schedule.resumed_at,
        version=schedule.version + 1,
        stale=False,
    )


def settle_old(schedule: Schedule, until: datetime) -> None:
    """Decide what the compilation before this edit still owes up to `until`.

    For a schedule that was paused this is one ledger row for the times that passed (SEMANTICS 18).
    """
    paused = schedule.paused_at is not None
    if schedule.spec is None or schedule.problem:
        return
    if not paused and (schedule.next_run_at is None or schedule.next_run_at > until):
        return
    due = claiming.Due(
        schedule.pk,
        json.dumps(schedule.spec),
        schedule.template,
        schedule.decided_through,
        schedule.runs,
        schedule.version,
    )
    claiming.decide([due], until, paused=paused)
    schedule.refresh_from_db(fields=["decided_through", "runs"])
    # A one-shot that fired just now may have been disabled by that.
    schedule.periodic_task.refresh_from_db(fields=["enabled"])


def forget_pause(pk: int) -> None:
    """Let the next sync decide what passed while schedule `pk` was paused by its catch-up policy.

    For the caller that has just enabled it, in the same transaction. What an edit during the pause has
    recorded already stays recorded.
    """
    schedule = Schedule.objects.select_for_update().get(pk=pk)
    if schedule.paused_at is None or schedule.spec is None or schedule.problem:
        return
    Schedule.objects.filter(pk=pk).update(
        paused_at=None,
        resumed_at=schedule.edited_at,
        next_run_at=_next(schedule, read_timing(json.dumps(schedule.spec))),
    )


def adopt_unseen() -> int:
    """Make policy rows for `PeriodicTask` rows that have none; return how many.

    The net under the triggers: rows that came in while triggers were off (a restore, a replica).
    """
    with connection.cursor() as cursor:
        cursor.execute(
            """INSERT INTO jobs_schedule (periodic_task_id)
               SELECT id FROM django_celery_beat_periodictask AS t
               WHERE NOT EXISTS (SELECT 1 FROM jobs_schedule WHERE periodic_task_id = t.id)
               ON CONFLICT DO NOTHING"""
        )
        return int(cursor.rowcount)
