"""What a move changes for the rows of django-celery-beat."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any

from django_celery_beat.models import PeriodicTask

from jobs.engine import permitting
from jobs.engine.compiling import CompileError, compile_schedule
from jobs.engine.declared import WITH_ROWS
from jobs.insight import legacy
from jobs.insight.findings import FAIL, OK, WARN, Advance, Finding, about
from jobs.insight.migrating_code import CLEANUP
from jobs.models import Schedule
from jobs.rules.crontab import restricts_both_days

AREA = "schedules"

Rows = Sequence[Schedule]


def findings(now: datetime, *, years: float, advance: Advance) -> Iterator[Finding]:
    """Yield what differs for the stored rows. Those that are switched off count only where they are broken."""
    yield from _unseen()
    rows = list(Schedule.objects.select_related(*WITH_ROWS).order_by("periodic_task__name"))
    broken = {row.pk: problem for row in rows if (problem := _problem(row))}
    yield from _broken(rows, broken)
    sound = [row for row in rows if row.pk not in broken and row.periodic_task.enabled]
    yield from _tasks(sound)
    yield from _one_shots(sound, now)
    yield from _times(sound)
    yield from _crontabs(sound, now, years, advance)
    yield from _options(sound)
    yield from _policy(sound)


def _unseen() -> Iterator[Finding]:
    names = PeriodicTask.objects.filter(policy=None).order_by("name").values_list("name", flat=True)
    yield from about(
        AREA, "rows", WARN, names,
        "{n} row(s) came in while triggers were off, and nobody looks at them yet: {names}.",
        "Run 'manage.py schedules import-celery-beat', or start beat.",
    )  # fmt: skip


# --- Rows that cannot fire, or whose task cannot run ----------------------------------------------------


def _problem(row: Schedule) -> str:
    try:
        compile_schedule(row)
    except CompileError as error:
        return str(error)
    except Exception as error:  # beat puts such a row aside in the same way
        return f"{type(error).__name__}: {error}."
    return ""


def _broken(rows: Rows, broken: dict[int, str]) -> Iterator[Finding]:
    for row in rows:
        if row.pk in broken:
            why = broken[row.pk].rstrip(".")
            yield Finding(
                AREA,
                "broken row",
                FAIL if row.periodic_task.enabled else WARN,
                f"{row} cannot fire: {why}. {_before(row.periodic_task)}",
                "Correct it in the admin, or 'manage.py schedules delete NAME'.",
                (str(row),),
            )


def _before(row: PeriodicTask) -> str:
    """Return what the scheduler of django-celery-beat makes of a row that makes no sense."""
    given = row.crontab_id or row.interval_id or row.solar_id or row.clocked_id
    headers, args, kwargs = map(_read, (row.headers, row.args, row.kwargs))
    if not given or not (headers is _UNREADABLE or isinstance(headers, dict)):
        return "The old scheduler stops at it, with all the others."
    if _UNREADABLE in (args, kwargs):
        return "The old scheduler switches it off."
    if row.interval_id and not row.interval.every:
        return "The old scheduler sends it without a pause."
    return "The old scheduler passes over it in silence."


_UNREADABLE = object()


def _read(text: str) -> Any:
    try:
        return json.loads(text or "{}")
    except ValueError:
        return _UNREADABLE


def _tasks(rows: Rows) -> Iterator[Finding]:
    missing: dict[str, list[str]] = defaultdict(list)
    denied: dict[str, list[str]] = defaultdict(list)
    for row in rows:
        task = row.periodic_task.task
        objection = permitting.judge(task).objection
        if objection and task != CLEANUP:
            (denied if permitting.is_known(task) else missing)[task].append(str(row))
    for task, names in sorted(missing.items()):
        yield from about(
            AREA, "missing task", FAIL, names,
            f"{{n}} row(s) name the task {task!r}, which this code does not have: {{names}}.",
            "Correct the name, install its app, or delete the row.",
        )  # fmt: skip
    for task, names in sorted(denied.items()):
        yield from about(
            AREA, "task not offered", FAIL, names,
            f"{permitting.judge(task).objection} {{n}} row(s) do: {{names}}.",
            "Name it in JADWAL_SCHEDULABLE, if that is meant.",
        )  # fmt: skip
    yield from about(
        AREA, "clean-up of results", WARN, [row for row in rows if row.periodic_task.task == CLEANUP],
        "Results are deleted with their jobs: {names} has nothing to do, and does not run. "
        "'manage.py doctor' fails as long as such a row is enabled.",
        "Delete the row, and take it out of the code: 'manage.py schedules delete NAME --yes'.",
    )  # fmt: skip


# --- When ---------------------------------------------------------------------------------------------


def _one_shots(rows: Rows, now: datetime) -> Iterator[Finding]:
    once = [row for row in rows if row.runs == 0 and (row.periodic_task.one_off or row.periodic_task.clocked)]
    ran = [row for row in once if row.periodic_task.total_run_count > 0]
    yield from about(
        AREA, "one-shots that ran", WARN, ran,
        "{n} one-off row(s) have run and are enabled: the old scheduler switches them off, here they run "
        "once: {names}.",
        "Disable them first: 'manage.py schedules pause NAME'.",
    )  # fmt: skip
    past = [
        row
        for row in once
        if row not in ran and row.periodic_task.clocked and row.periodic_task.clocked.clocked_time <= now
    ]
    recent = [row for row in past if row.periodic_task.clocked.clocked_time >= now - row.catchup_window]
    yield from about(
        AREA, "one-shots in the past", WARN, recent,
        "{n} one-shot(s) are due since less than their catch-up window, and run when beat starts: {names}.",
        "Pause what should not run any more.",
    )  # fmt: skip
    yield from about(
        AREA, "one-shots long past", WARN, [row for row in past if row not in recent],
        "{n} one-shot(s) are longer past than their catch-up window and do not run; the old scheduler sends "
        "them whenever it starts: {names}.",
        "Run what is still wanted by hand: 'manage.py schedules run NAME'.",
    )  # fmt: skip


def _times(rows: Rows) -> Iterator[Finding]:
    intervals = [row for row in rows if row.periodic_task.interval_id]
    yield from about(
        AREA, "intervals", OK, [row for row in intervals if not row.periodic_task.start_time],
        "{n} interval(s) keep the rhythm of the last run before the move, as a grid: they no longer drift, "
        "and a restart of beat does not begin them anew.",
    )  # fmt: skip
    yield from about(
        AREA, "intervals with a start", WARN, [row for row in intervals if row.periodic_task.start_time],
        "{n} interval(s) are counted from their start_time, and not from the last run: {names}.",
        "See 'manage.py schedules preview NAME'.",
    )  # fmt: skip
    yield from about(
        AREA, "solar", WARN, [row for row in rows if row.periodic_task.solar_id],
        "{n} row(s) follow the sun: the times are those of the same library and are not compared here; a "
        "polar day without the event has no run, and does not end the schedule: {names}.",
        "See 'manage.py schedules preview NAME'.",
    )  # fmt: skip


def _crontabs(rows: Rows, now: datetime, years: float, advance: Advance) -> Iterator[Finding]:
    cron = [row for row in rows if row.periodic_task.crontab_id]
    sunday = [row for row in cron if "7" in _numbers(row.periodic_task.crontab.day_of_week)]
    yield from about(
        AREA, "weekday 7", WARN, sunday,
        "{n} row(s) have a weekday 7: Celery never ran them, here 7 is Sunday: {names}.",
        "Disable what should go on not running.",
    )  # fmt: skip
    yield from about(
        AREA, "both day fields", OK, [row for row in cron if row.day_match == "and" and _both_days(row)],
        "{n} row(s) restrict the day of month and the day of week: both must match, as with Celery. Cron "
        "would take either: {names}.",
        "'manage.py schedules update NAME --day-match vixie' is cron's way.",
    )  # fmt: skip
    compared: dict[Any, legacy.Report] = {}
    differing = []
    for row in cron:
        key = _alike(row)
        if key not in compared:
            compared[key] = legacy.report(row, now=now, years=years)
        if compared[key].differences:
            differing.append(row)
        advance(1)
    yield from about(
        AREA, "times", WARN, [row for row in differing if row not in sunday],
        f"{{n}} of {len(cron)} crontab row(s) fire at other instants within {years:g} year(s), mostly where "
        "clocks change or at a start_time: {names}.",
        "See each instant: 'manage.py schedules import-celery-beat --report'.",
    )  # fmt: skip


def _numbers(field: str) -> str:
    """Return the parts of a field of weekdays without steps: `*/7` is not a Sunday."""
    return ",".join(part.partition("/")[0] for part in str(field).split(","))


def _both_days(row: Schedule) -> bool:
    crontab = row.periodic_task.crontab
    return restricts_both_days(
        row.cron_day_of_month or crontab.day_of_month, row.cron_day_of_week or crontab.day_of_week
    )


def _alike(row: Schedule) -> Any:
    """Return what decides about the times of a crontab row: rows that share it are followed once."""
    task = row.periodic_task
    policy = (row.day_match, row.month_end, row.dst_gap, row.dst_fold, row.cron_day_of_month,
              row.cron_day_of_week, row.calendar_id, row.roll, row.calendar_every, row.max_runs)  # fmt: skip
    own = row.pk if row.calendar_id or row.group else None
    return task.crontab_id, task.start_time, task.expires, task.one_off, task.total_run_count > 0, policy, own


# --- What goes with a run -----------------------------------------------------------------------------


def _options(rows: Rows) -> Iterator[Finding]:
    tasks = {row: row.periodic_task for row in rows}
    yield from about(
        AREA, "expire_seconds", OK, [row for row, task in tasks.items() if task.expire_seconds],
        "{n} row(s) have expire_seconds: a job that has not started by then is skipped, as before, and is "
        "kept with the reason `expired`.",
    )  # fmt: skip
    yield from about(
        AREA, "expires", WARN, [row for row, task in tasks.items() if task.expires],
        "{n} row(s) have expires: it is the end of their times, inclusive. A job of a time before it starts "
        "late, where the old scheduler let its message expire: {names}.",
        "A deadline says how late a job may start: 'manage.py schedules update NAME --deadline 10m'.",
    )  # fmt: skip
    routed = [row for row, task in tasks.items() if not task.queue and (task.exchange or task.routing_key)]
    yield from about(
        AREA, "exchange and routing_key", FAIL, routed,
        "{n} row(s) choose where they go by exchange or routing_key, which have no say; they go to the queue "
        "of their task: {names}.",
        "Give them a queue: 'manage.py schedules update NAME --queue QUEUE'.",
    )  # fmt: skip
    yield from about(
        AREA, "last_run_at", OK, [row for row, task in tasks.items() if task.last_run_at],
        "last_run_at and total_run_count of {n} row(s) are kept true, for people and for the way back; "
        "nothing is decided by them. last_run_at is a nominal time, not that of the send.",
    )  # fmt: skip


def _policy(rows: Rows) -> Iterator[Finding]:
    timed = [row for row in rows if not row.periodic_task.clocked_id]
    yield from about(
        AREA, "overlap", WARN, [row for row in timed if row.overlap == "skip"],
        "{n} row(s) skip a run while the one before is still under way, retries included; the old scheduler "
        "sends it all the same.",
        "'manage.py schedules update NAME --overlap allow_all' is the old way.",
    )  # fmt: skip
    yield from about(
        AREA, "catch-up", OK, [row for row in timed if row.catch_up == "latest"],
        "{n} row(s) make up for the latest of the times that were missed while no beat ran, if it is less "
        "than their catch-up window past, and keep its nominal time.",
        "'manage.py schedules update NAME --catch-up none' leaves it out.",
    )  # fmt: skip
