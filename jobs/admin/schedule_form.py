"""The form behind the schedule page: one `PeriodicTask`, its timing row and its policy row together."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from django import forms
from django.conf import settings
from django.contrib.auth.models import AnonymousUser
from django_celery_beat.models import PeriodicTask

from jobs.admin import schedule_fields, timing_entry
from jobs.admin.schedule_fields import DEFAULTS, POLICY_NAMES, PolicyFields, TimingFields, WorkFields
from jobs.admin.timing_entry import Entry, Solar
from jobs.engine import editing, permitting
from jobs.engine.clock import database_now
from jobs.engine.compiling import CompileError, Timing, compile_schedule, read_timing
from jobs.engine.depending import check_acyclic
from jobs.engine.editing import EditError
from jobs.models import Schedule
from jobs.rules.crontab import CronError, CronSpec, restricts_both_days
from jobs.rules.dependencies import DependencyCycle
from jobs.rules.planning import Preview, preview
from jobs.rules.redaction import redact_json

FIELD_OF_KIND = {"cron": "cron", "every": "every", "once": "at", "solar": "solar_event"}
TIMING_NAMES = frozenset(
    {"kind", "cron", "timezone", "every", "unit", "at", "solar_event", "latitude", "longitude"}
)


class ScheduleForm(WorkFields, TimingFields, PolicyFields, forms.ModelForm):  # type: ignore[type-arg]
    """Refuses, at the right field and in one sentence, what could never work.

    After `is_valid()`, `timing` and `upcoming` are what the schedule will do, as far as it makes sense even
    when the form as a whole does not: the live preview reads them.
    """

    user: permitting.User = AnonymousUser()
    """Whose form it is: `for_user` says so."""

    @classmethod
    def for_user(cls, user: permitting.User) -> type[ScheduleForm]:
        """Return the form of `user`, who finds the tasks in it that he or she may schedule."""
        return type("ScheduleForm", (cls,), {"user": user})

    class Meta:
        model = PeriodicTask
        fields = ("name", "task", "queue", "priority", "description", "enabled")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.existing = Schedule.objects.filter(pk=self.instance.pk).first() if self.instance.pk else None
        self.entry: Entry | None = None
        self.timing: Timing | None = None
        self.upcoming: list[Preview] = []
        self.now = database_now()
        if self.existing:
            self.existing.periodic_task = self.instance
            stored = self._stored_values(self.existing)
            self.initial = stored | (kwargs.get("initial") or {})
            self.fields.pop("enabled", None)  # pausing is an act of its own, with a note and a permission
        else:
            self.initial = {**DEFAULTS, "timezone": settings.TIME_ZONE, **self.initial}
        self._set_choices()

    def _set_choices(self) -> None:
        choices = schedule_fields.choices_with
        self._select("task", choices(self.initial.get("task"), schedule_fields.tasks_for(self.user), ""))
        self._select(
            "queue", choices(self.initial.get("queue"), schedule_fields.known_queues(), "The task's own")
        )
        zones = schedule_fields.zones()
        current = self.initial.get("timezone")
        extra = [(current, current)] if current and current not in dict(zones) else []
        self._select("timezone", [*zones, *extra])

    def _select(self, name: str, choices: list[tuple[Any, Any]]) -> None:
        if name in self.fields:
            widget = self.fields[name].widget
            assert isinstance(widget, forms.Select)
            widget.choices = choices

    def _stored_values(self, policy: Schedule) -> dict[str, Any]:
        row = self.instance
        values: dict[str, Any] = {name: getattr(policy, name) for name in POLICY_NAMES}
        values |= {name: getattr(row, name) for name in ("name", "task", "queue", "priority", "description")}
        values |= {"args": redact_json(row.args), "kwargs": redact_json(row.kwargs)}
        if values["deadline"] is None and row.expire_seconds is not None:
            values["deadline"] = timedelta(seconds=row.expire_seconds)
        if row.one_off and not row.clocked_id:
            values["max_runs"] = 1
        return values | timing_entry.initial(row, settings.TIME_ZONE)

    def cards(self) -> list[dict[str, Any]]:
        """Return the cards of the page with their bound fields, for the template."""
        looks = {"kind": "jw-kinds", "cron": "jw-big"}
        return [
            {
                "title": group.title,
                "text": group.text,
                "folded": group.folded and not self._speaks(group.names),
                "can_fold": group.folded,
                "items": [
                    {
                        "field": self[name],
                        "look": f"{looks.get(name, '')} {'jw-wide' if name in schedule_fields.WIDE else ''}",
                        "kinds": " ".join(schedule_fields.BY_KIND.get(name, ())),
                    }
                    for name in group.names
                    if name in self.fields
                ],
            }
            for group in schedule_fields.GROUPS
        ]

    def _speaks(self, names: tuple[str, ...]) -> bool:
        """Whether a folded group has something to show: an error, or a value that is not the usual one."""
        if self.is_bound and any(name in self.errors for name in names):
            return True
        return any(self.initial.get(name) not in (None, "", DEFAULTS.get(name)) for name in names)

    # --- checks ------------------------------------------------------------------------------------------

    def clean_task(self) -> str:
        """Refuse a task that is not registered, or that this user may not schedule."""
        task: str = self._checked(self.cleaned_data["task"], editing.check_task)
        refusal = permitting.refusal(self.user, task)
        if refusal:
            raise forms.ValidationError(refusal)
        return task

    def clean_timezone(self) -> str:
        """Refuse a zone that is not an IANA time zone."""
        zone: str = self.cleaned_data["timezone"] or settings.TIME_ZONE
        return self._checked(zone, editing.check_zone)

    @staticmethod
    def _checked(value: str, check: Callable[[str], None]) -> str:
        try:
            check(value)
        except EditError as exc:
            raise forms.ValidationError(str(exc)) from exc
        return value

    def clean(self) -> dict[str, Any]:
        """Check what takes several fields: the arguments, the timing, and whether it ever fires."""
        super().clean()
        data = self.cleaned_data
        for name, value in DEFAULTS.items():
            if name in data and data[name] in (None, ""):
                data[name] = value
        self._check_arguments(data)
        self._bounds(data)
        kind = data.get("kind")
        if kind and "timezone" in data:
            field = FIELD_OF_KIND[kind]
            if field not in self.errors:
                try:
                    self.entry = getattr(self, f"_read_{kind}")(data)
                    if self.entry is not None:
                        self._foretell(self.entry, data)
                except (EditError, CompileError, CronError, ValueError) as exc:
                    self.entry = None
                    self.add_error(field, str(exc))
        for name in ("args", "kwargs"):
            if name in data:
                data[name] = json.dumps(data[name])
        return data

    def _check_arguments(self, data: dict[str, Any]) -> None:
        if not {"task", "args", "kwargs"} <= data.keys():
            return
        try:
            data |= editing.given_back({name: data[name] for name in ("args", "kwargs")}, self._payload())
            editing.check_arguments(data["task"], data["args"], data["kwargs"], self._payload()["headers"])
        except EditError as exc:
            by_name = "keyword" in str(exc) or (data["kwargs"] and not data["args"])
            self.add_error("kwargs" if by_name else "args", str(exc))

    def _payload(self) -> dict[str, Any]:
        """Return what is stored: the page shows secrets of it masked, and headers of the message not at all."""
        row = self.instance
        payload: dict[str, Any] = {"args": [], "kwargs": {}, "headers": {}}
        for name in payload:
            with suppress(ValueError):  # compiling says what is wrong with it
                payload[name] = json.loads(getattr(row, name) or "null") or payload[name]
        return payload

    def _bounds(self, data: dict[str, Any]) -> None:
        """Turn the two wall times into instants; what was not touched stays exactly as it is stored."""
        for name, column in (("starts", "start_time"), ("ends", "expires")):
            if name not in data or "timezone" not in data:
                continue
            if self.existing and not {name, "timezone"} & set(self.changed_data):
                data[name] = getattr(self.instance, column)
            elif data[name] is not None:
                try:
                    data[name] = timing_entry.instant(data[name], data["timezone"])
                except ValueError as exc:
                    self.add_error(name, str(exc))
        if data.get("starts") and data.get("ends") and data["ends"] < data["starts"]:
            self.add_error("ends", "This is before the time it starts.")

    def _read_cron(self, data: dict[str, Any]) -> CronSpec | None:
        text = data.get("cron")
        if not text:
            raise EditError("Write a crontab, such as 0 3 * * * for every day at 03:00.")
        words = text.split()
        if len(words) == 5 and restricts_both_days(words[2], words[4]) and not data.get("day_match"):
            self.add_error(
                "day_match",
                "The crontab restricts both the day of month and the day of week: choose how they combine.",
            )
            return None
        spec = editing.parse_cron(text, tz=data["timezone"], day_match=data.get("day_match") or "and")
        return replace(spec, month_end=data["month_end"], gap=data["dst_gap"], fold=data["dst_fold"])

    def _read_every(self, data: dict[str, Any]) -> timedelta:
        number, unit = data.get("every"), data.get("unit") or "minutes"
        if number is None:
            raise EditError("Write how often, such as 15 minutes.")
        try:
            every = timedelta(**{unit: float(number)})
        except OverflowError as exc:
            raise EditError("This interval is too long.") from exc
        if every <= timedelta(0):
            raise EditError("An interval must be longer than zero.")
        return every

    def _read_once(self, data: dict[str, Any]) -> datetime:
        wall = data.get("at")
        if wall is None:
            raise EditError("Write a date and a time.")
        if self.existing and self.instance.clocked_id and not self.timing_changed:
            return self.instance.clocked.clocked_time  # type: ignore[no-any-return]
        at = timing_entry.instant(wall, data["timezone"])
        editing.check_future(at)
        return at

    def _read_solar(self, data: dict[str, Any]) -> Solar | None:
        for name in ("latitude", "longitude"):
            if data.get(name) is None and name not in self.errors:
                self.add_error(name, "Write where, in degrees.")
        if self.errors.keys() & {"latitude", "longitude"}:
            return None
        return Solar(data["solar_event"], data["latitude"], data["longitude"])

    @property
    def timing_changed(self) -> bool:
        """Whether anything that chooses the timing row was touched."""
        return bool(TIMING_NAMES & set(self.changed_data))

    def clean_after(self) -> Schedule | None:
        """Refuse a schedule that would, however indirectly, wait for itself."""
        after: Schedule | None = self.cleaned_data["after"]
        if after is not None and self.existing is not None:
            try:
                check_acyclic(self.existing, after)
            except DependencyCycle as exc:
                raise forms.ValidationError(str(exc)) from exc
        return after

    def _foretell(self, entry: Entry, data: dict[str, Any]) -> None:
        """Compile what was entered, as the engine will, and refuse what never fires."""
        draft = self._draft(entry, data)
        timing = read_timing(json.dumps(compile_schedule(draft).spec))
        runs = self.existing.runs if self.existing and not isinstance(entry, datetime) else 0
        key = str(self.instance.pk or "new")
        self.upcoming = preview(key, timing.spec, timing.policy, after=self.now, limit=5, runs=runs)
        self.timing = timing
        touched = self.timing_changed or {"starts", "ends"} & set(self.changed_data)
        if not self.upcoming and (not self.existing or touched):
            if data.get("ends"):
                self.add_error("ends", "It never fires between now and this time.")
            else:
                raise EditError("This never fires.")

    def _draft(self, entry: Entry, data: dict[str, Any]) -> Schedule:
        once = isinstance(entry, datetime)
        row = PeriodicTask(
            name=data.get("name") or "new",
            task=data.get("task") or "",
            one_off=once,
            start_time=data.get("starts"),
            expires=data.get("ends"),
            **timing_entry.unsaved_rows(entry),
        )
        values = {name: data[name] for name in POLICY_NAMES if name in data}
        for name in POLICY_NAMES:  # fields with errors of their own do not spoil the preview
            values.setdefault(name, DEFAULTS.get(name))
        return Schedule(
            periodic_task=row,
            anchor=self.existing.anchor if self.existing else self.now,
            cron_day_of_month="",
            cron_day_of_week="",
            day_match=entry.day_match if isinstance(entry, CronSpec) else "and",
            **values,
        )

    def validate_unique(self) -> None:
        """Refuse a name in use; the model's own check would want a timing row that is not stored yet."""
        name = self.cleaned_data.get("name")
        if name and PeriodicTask.objects.filter(name=name).exclude(pk=self.instance.pk).exists():
            self.add_error("name", f"There is a schedule named {name!r} already.")

    # --- storing -----------------------------------------------------------------------------------------

    def store(self, row: PeriodicTask) -> dict[str, tuple[Any, Any]]:
        """Save the schedule; return the policy columns that changed, with the old and the new value.

        The policy row of a new schedule is made by a database trigger, so it is updated here, never inserted.
        """
        data = self.cleaned_data
        assert self.entry is not None
        if not self.existing or self.timing_changed:
            for name, timing_row in timing_entry.stored_rows(self.entry).items():
                setattr(row, name, timing_row)
        row.one_off = isinstance(self.entry, datetime) or (row.one_off and data.get("max_runs") == 1)
        row.args, row.kwargs = data["args"], data["kwargs"]
        row.start_time, row.expires, row.expire_seconds = data["starts"], data["ends"], None
        row.save()
        policy = Schedule.objects.select_related("periodic_task").get(pk=row.pk)
        values = {name: data[name] for name in POLICY_NAMES}
        if isinstance(self.entry, CronSpec):
            values |= timing_entry.cron_columns(self.entry, row.crontab)
        else:
            values |= {"cron_day_of_month": "", "cron_day_of_week": ""}
        if isinstance(self.entry, datetime) and (not self.existing or self.timing_changed):
            values |= editing.once_policy(self.entry, data["timezone"])
        changed = {name: value for name, value in values.items() if getattr(policy, name) != value}
        before = {name: getattr(policy, name) for name in changed}
        if changed:
            editing.set_policy(policy, changed)
        return {name: (before[name], value) for name, value in changed.items()}
