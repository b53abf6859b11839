"""Making the stored schedules what files declare: `schedules apply`.

1. Everything that can be checked without the database is checked for every entry, and all of it reported.
2. In one transaction, one apply at a time: each entry is compared with what is stored, in the same words
   (`declared`). What is equal is not written, so that it is neither compiled again nor marked.
3. What differs is written, then compiled, then the dependencies between schedules are set and checked.
4. With `prune`, what the managers own and the files no longer name is deleted.
5. A dry run does all of that and rolls back; so does any problem.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from django.core.exceptions import ValidationError
from django.db import DataError, IntegrityError, connection, transaction
from django_celery_beat.models import ClockedSchedule, PeriodicTask, SolarSchedule

from jobs.engine import auditing, editing, limiting
from jobs.engine.clock import database_now
from jobs.engine.compiling import CompileError, compile_schedule
from jobs.engine.declared import (
    COLUMNS,
    CRON_COLUMNS,
    CRON_DEFAULTS,
    PAYLOAD,
    WITH_ROWS,
    State,
    changes_between,
    document,
    limit_name,
    stored_limits,
    stored_state,
    wanted_state,
)
from jobs.engine.editing import EditError
from jobs.engine.entries import Entry, Problem, check
from jobs.models import Calendar, Schedule
from jobs.rules import dependencies
from jobs.rules.declaration import Declaration
from jobs.rules.declared_values import TIMINGS
from jobs.rules.dependencies import DependencyCycle

CREATE, CHANGE, DELETE, UNCHANGED = "create", "change", "delete", "unchanged"

TIME_KEYS = frozenset({*TIMINGS, "tz"})
CRON_KEYS = frozenset({*TIMINGS, *CRON_COLUMNS})
"""A change of one of these is a change of the policy's columns that belong to a crontab."""
ROW_KEYS = {"queue": "queue", "priority": "priority", "start": "start_time", "end": "expires"} | {
    key: key for key in ("task", "description")
}


@dataclass(frozen=True, slots=True)
class Change:
    """What becomes of one schedule; `changes` is `{key: [old, new]}`."""

    name: str
    action: str
    changes: dict[str, list[Any]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Applied:
    """What was done, or would be, in the order of the names, and what a person should know."""

    changes: tuple[Change, ...]
    notes: tuple[str, ...] = ()

    def count(self, action: str) -> int:
        """Return how many schedules met with `action`."""
        return sum(change.action == action for change in self.changes)

    @property
    def differs(self) -> bool:
        """Whether anything was, or would be, different."""
        return any(change.action != UNCHANGED for change in self.changes)


class ApplyError(ValueError):
    """Nothing was changed, because of these problems."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("; ".join(f"{item.where}: {item.sentence}" for item in self.problems))


def apply(
    entries: Sequence[Entry],
    *,
    adopt: bool = False,
    prune: Collection[str] = (),
    sparing: Collection[str] | None = None,
    dry_run: bool = False,
) -> Applied:
    """Make the stored schedules what the entries declare; all of it or nothing.

    With `adopt`, schedules made by hand or owned by another manager become the entry's. With `prune`, the
    other schedules of these managers are deleted; `sparing`, if given, names those that may be. Raises
    `ApplyError` with every problem.
    """
    problems = check(entries)
    if problems:
        raise ApplyError(problems)
    with transaction.atomic():
        _one_at_a_time()
        run = _Run(entries, adopt=adopt, now=database_now())
        for entry in sorted(entries, key=lambda entry: entry.declaration.name):
            run.settle(entry)
        run.delete_others(prune, sparing)
        run.set_dependencies()
        if run.problems:
            raise ApplyError(run.problems)
        if dry_run:
            transaction.set_rollback(True)
    return Applied(tuple(sorted(run.changes, key=lambda change: change.name)), tuple(run.notes))


def _one_at_a_time() -> None:
    """Two deployments that apply at once come one after the other, and the second sees the first."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(hashtextextended('jadwal.apply', 0))")


class _Run:
    """One apply under way, inside its transaction."""

    def __init__(self, entries: Sequence[Entry], *, adopt: bool, now: datetime) -> None:
        self.entries, self.adopt, self.now = entries, adopt, now
        self.problems: list[Problem] = []
        self.changes: list[Change] = []
        self.notes: list[str] = []
        self.names = {entry.declaration.name for entry in entries}
        self.stored = {
            str(schedule): schedule
            for schedule in Schedule.objects.filter(periodic_task__name__in=self.names)
            .select_related(*WITH_ROWS)
            .select_for_update(of=("self",))
            .order_by("pk")
        }
        self.limits = stored_limits()
        self.calendars = dict(Calendar.objects.values_list("name", "pk"))
        self.after: dict[str, Entry] = {}

    def settle(self, entry: Entry) -> None:
        """Compare one entry with what is stored and write what differs."""
        schedule = self.stored.get(entry.declaration.name)
        try:
            with transaction.atomic():
                if schedule is None:
                    self._create(entry)
                else:
                    self._change(entry, schedule)
        except (ValidationError, IntegrityError, DataError) as exc:
            self.problems.append(Problem(entry.where, editing.sentence(exc)))
        except (EditError, CompileError) as exc:
            self.problems.append(Problem(entry.where, str(exc)))

    def _create(self, entry: Entry) -> None:
        declaration = entry.declaration
        at, end = declaration.at, declaration.settings.get("end")
        if at is not None and at <= self.now:
            if declaration.settings.get("on_complete") != "delete":
                raise EditError(f"The time {at.isoformat()} has passed: change `at`, or take the entry out.")
            self.changes.append(Change(declaration.name, UNCHANGED))  # it has fired and is gone, as declared
            return
        if end is not None and end <= self.now:
            self.notes.append(f"{declaration.name} will never fire: its `end` has passed.")
        state = wanted_state(declaration)
        editing.given_back({key: state[key] for key in PAYLOAD}, {})
        row = PeriodicTask(name=declaration.name)
        for name, value in _row_columns(declaration, state, set(state)).items():
            setattr(row, name, value)
        row.save()
        self._write_policy(entry, row.pk, state, set(state), {"manager": entry.manager})
        shown = document(declaration.name, state)
        del shown["name"]
        made = Change(declaration.name, CREATE, {key: [None, value] for key, value in shown.items()})
        self.changes.append(made)
        auditing.record([row], "apply", changes=made.changes, manager=entry.manager)
        if state["after"]:
            self.after[declaration.name] = entry

    def _change(self, entry: Entry, schedule: Schedule) -> None:
        declaration = entry.declaration
        if not self._may_touch(entry, schedule):
            return
        old, new = stored_state(schedule, self.limits), wanted_state(declaration)
        new |= editing.given_back({key: new[key] for key in PAYLOAD}, old)
        if _has_fired(schedule, old, new) or _is_silent_on_pause(declaration, schedule, old, new):
            new["paused"] = old["paused"]  # it is disabled because it is done, or an operator paused it
        changes = changes_between(old, new)
        if "at" in changes and declaration.at is not None and declaration.at <= self.now:
            raise EditError(f"The time {declaration.at.isoformat()} has passed: change `at`.")
        changed = set(changes)
        self._tell(schedule, old, new)
        owner = {"manager": entry.manager} if schedule.manager != entry.manager else {}
        columns = _row_columns(declaration, new, changed)
        row = schedule.periodic_task
        for name, value in columns.items():
            setattr(row, name, value)
        if columns:
            row.save(update_fields=[*columns, "date_changed"])
        if changed or owner:
            self._write_policy(entry, schedule.pk, new, changed, owner)
        if owner:
            changes["manager"] = [schedule.manager, entry.manager]
        if changes:
            auditing.record([row], "apply", changes=changes, manager=entry.manager)
        self.changes.append(Change(declaration.name, CHANGE if changes else UNCHANGED, changes))
        if "after" in changed:
            self.after[declaration.name] = entry

    def _may_touch(self, entry: Entry, schedule: Schedule) -> bool:
        if self.adopt or schedule.manager == entry.manager:
            return True
        owner = f"belongs to the manager {schedule.manager!r}" if schedule.manager else "was made by hand"
        sentence = (
            f"The schedule {str(schedule)!r} {owner}, not {entry.manager!r}: add --adopt to take it over."
        )
        self.problems.append(Problem(entry.where, sentence, conflict=True))
        return False

    def _tell(self, schedule: Schedule, old: State, new: State) -> None:
        if old["paused"] and not new["paused"]:
            who = f" by {schedule.paused_by}" if schedule.paused_by else ""
            why = f" ({schedule.pause_note})" if schedule.pause_note else ""
            self.notes.append(f"{schedule} was paused{who}{why} and resumes: its file says `paused: false`.")

    def _write_policy(
        self, entry: Entry, pk: int, state: State, changed: set[str], owner: dict[str, Any]
    ) -> None:
        values = {**_policy_columns(entry.declaration, state, changed), **owner}
        if "calendar" in changed:
            values["calendar_id"] = self._calendar(state["calendar"])
        if "paused" in changed and state["paused"]:
            values["paused_by"] = entry.manager
        schedule = Schedule.objects.select_related(*WITH_ROWS).get(pk=pk)
        for name, value in values.items():
            setattr(schedule, name, value)
        if values:
            schedule.clean_fields(exclude=["periodic_task"])
            Schedule.objects.filter(pk=pk).update(**values)
        if changed & {"max_active", "rate"}:
            limiting.set_limit(limit_name(pk), max_active=state["max_active"], max_per_second=state["rate"])
        compile_schedule(schedule)

    def _calendar(self, name: str | None) -> int | None:
        if name is not None and name not in self.calendars:
            raise EditError(f"There is no calendar named {name!r}.")
        return None if name is None else self.calendars[name]

    def delete_others(self, managers: Collection[str], sparing: Collection[str] | None) -> None:
        """Delete what `managers` own and no entry names."""
        others = Schedule.objects.filter(manager__in=set(managers) - {""})
        for schedule in others.exclude(periodic_task__name__in=self.names).select_related("periodic_task"):
            if sparing is None or str(schedule) in sparing:
                self.changes.append(Change(str(schedule), DELETE))
                editing.delete(schedule)

    def set_dependencies(self) -> None:
        """Set what runs after what, now that all of it exists, and see that nothing waits for itself."""
        if self.problems:
            return
        known = dict(Schedule.objects.values_list("periodic_task__name", "pk"))
        for name, entry in self.after.items():
            after = entry.declaration.settings.get("after")
            if after is not None and after.schedule not in known:
                sentence = f"There is no schedule named {after.schedule!r} to run after."
                self.problems.append(Problem(entry.where, sentence))
                continue
            Schedule.objects.filter(pk=known[name]).update(**_after_columns(after, known))
        if self.after:
            self._check_cycles()

    def _check_cycles(self) -> None:
        pairs = Schedule.objects.filter(after__isnull=False)
        edges = dict(pairs.values_list("periodic_task__name", "after__periodic_task__name"))
        try:
            dependencies.check({name: [upstream] for name, upstream in edges.items()})
        except DependencyCycle as exc:
            where = {entry.declaration.name: entry.where for entry in self.entries}
            self.problems.append(Problem(where.get(exc.cycle[0], "the schedules stored"), str(exc)))


def _has_fired(schedule: Schedule, old: State, new: State) -> bool:
    """Whether this is a one-shot that is over and is not armed again by another time."""
    row = schedule.periodic_task
    same = all(old[key] == new[key] for key in TIME_KEYS | {"one_off"})
    return bool(
        same and schedule.runs > 0 and (old["at"] is not None or (row.one_off and not row.clocked_id))
    )


def _is_silent_on_pause(declaration: Declaration, schedule: Schedule, old: State, new: State) -> bool:
    """Whether the pause is nobody's business here: what an operator paused at night, no deployment resumes.

    A one-shot that fired and is given another time is meant to fire again.
    """
    rearmed = bool(schedule.runs and old["at"] is not None and old["at"] != new["at"])
    return "paused" not in declaration.settings and not rearmed


def _row_columns(declaration: Declaration, state: State, changed: set[str]) -> dict[str, Any]:
    """Return the columns of the `PeriodicTask` that change."""
    columns = {column: state[key] for key, column in ROW_KEYS.items() if key in changed}
    columns |= {key: json.dumps(state[key]) for key in PAYLOAD if key in changed}
    if "paused" in changed:
        columns["enabled"] = not state["paused"]
    if "deadline" in changed:
        columns["expire_seconds"] = None  # said by the policy from now on
    if changed & (TIME_KEYS | {"one_off"}):
        columns["one_off"] = state["one_off"] or not any(state[key] for key in TIMINGS if key != "at")
    if changed & TIME_KEYS or ("start" in changed and declaration.every_calendar):
        columns |= {
            "crontab": None,
            "interval": None,
            "clocked": None,
            "solar": None,
            **_time_row(declaration),
        }
    return columns


def _time_row(declaration: Declaration) -> dict[str, Any]:
    """Return the row of the time, found or made."""
    if declaration.cron is not None:
        return {"crontab": editing.crontab_row(declaration.cron)}
    if declaration.every is not None:
        return {"interval": editing.interval_row(declaration.every)}
    if declaration.at is not None:
        return {"clocked": _clocked_row(declaration.at)}
    if declaration.every_calendar is not None:
        return {"crontab": editing.stand_in(declaration.every_calendar)}
    solar = declaration.solar
    if solar is None:
        return {"clocked": _clocked_row(editing.NEVER)}  # only another schedule starts it
    place = {"latitude": f"{solar.latitude:.6f}", "longitude": f"{solar.longitude:.6f}"}
    return {"solar": SolarSchedule.objects.get_or_create(event=solar.event, **place)[0]}


def _clocked_row(at: datetime) -> ClockedSchedule:
    # Rows of the same time may be many: they are not unique in django-celery-beat.
    return ClockedSchedule.objects.filter(clocked_time=at).first() or ClockedSchedule.objects.create(
        clocked_time=at
    )


def _policy_columns(declaration: Declaration, state: State, changed: set[str]) -> dict[str, Any]:
    """Return the columns of the policy that change, but for the calendar and the dependency."""
    columns = {name: state[name] for name in COLUMNS if name in changed}
    if changed & CRON_KEYS:
        defaults = {name: CRON_DEFAULTS[name] for name in CRON_COLUMNS}
        none = {"cron_day_of_month": "", "cron_day_of_week": "", **editing.NO_CALENDAR_INTERVAL}
        columns |= {
            **defaults,
            **none,
            **editing.cron_policy(declaration.cron),
            **editing.calendar_policy(declaration.every_calendar),
        }
    return columns


def _after_columns(after: Any, known: dict[str, int]) -> dict[str, Any]:
    if after is None:
        return {"after_id": None}
    return {
        "after_id": known[after.schedule],
        "after_on": after.on,
        "after_mode": after.mode,
        "after_within": after.within,
    }
