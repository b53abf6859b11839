"""The fields of the schedule page, and how they are grouped on it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from typing import Any
from zoneinfo import available_timezones

from celery import current_app
from django import forms
from django.conf import settings
from django_celery_beat.models import SOLAR_SCHEDULES, PeriodicTask
from unfold.widgets import (
    UnfoldAdminDecimalFieldWidget,
    UnfoldAdminExpandableTextareaWidget,
    UnfoldAdminIntegerFieldWidget,
    UnfoldAdminRadioSelectWidget,
    UnfoldAdminSelect2Widget,
    UnfoldAdminSelectWidget,
    UnfoldAdminTextInputWidget,
    UnfoldBooleanSwitchWidget,
)

from jobs.admin.fields import DurationTextField, JSONTextField, WallTimeField
from jobs.admin.timing_entry import KINDS, UNITS
from jobs.engine import permitting
from jobs.engine.registry import load_tasks
from jobs.models import Calendar, Schedule, Worker

POLICY_NAMES = (
    "overlap", "catch_up", "catchup_window", "max_catchup", "jitter", "deadline", "max_runs", "on_complete",
    "max_attempts", "backoff_base", "backoff_factor", "backoff_cap", "timeout", "month_end", "dst_gap",
    "dst_fold", "note", "calendar", "roll", "group", "concurrency_key", "after", "after_mode", "after_on",
    "after_within", "pause_after_failures",
)  # fmt: skip
"""Policy columns that have a field of the same name. `day_match` and the extended day fields come from
the crontab text."""

DEFAULTS: dict[str, Any] = {
    "overlap": "skip",
    "catch_up": "latest",
    "catchup_window": timedelta(hours=24),
    "max_catchup": 100,
    "jitter": timedelta(0),
    "on_complete": "disable",
    "month_end": "skip",
    "dst_gap": "next_valid",
    "dst_fold": "first",
    "note": "",
    "roll": "skip",
    "group": "",
    "concurrency_key": "",
    "after_mode": "trigger",
    "after_on": "success",
    "after_within": timedelta(hours=24),
}
"""What a blank field of a column that is never null means."""


@dataclass(frozen=True, slots=True)
class Group:
    """A card of the page."""

    title: str
    text: str
    names: tuple[str, ...]
    folded: bool = False


GROUPS = (
    Group("What", "", ("name", "task", "args", "kwargs", "queue", "priority")),
    Group(
        "When",
        "Times on this page are in the time zone chosen here. A change counts from when it is saved.",
        (
            "kind", "cron", "every", "unit", "at", "solar_event", "latitude", "longitude", "timezone",
            "day_match", "month_end", "starts", "ends", "max_runs", "on_complete", "jitter",
        ),
    ),
    Group(
        "When it cannot run on time",
        "Whatever did not run is kept as a skipped job with its reason.",
        ("overlap", "deadline", "catch_up", "catchup_window", "max_catchup", "dst_gap", "dst_fold"),
        folded=True,
    ),
    Group(
        "Attempts",
        "Blank: as the task says.",
        ("timeout", "max_attempts", "backoff_base", "backoff_factor", "backoff_cap"),
        folded=True,
    ),
    Group(
        "Calendar, dependencies, limits",
        "Blackouts and limits of queues and keys have pages of their own, under Advanced.",
        (
            "calendar", "roll", "after", "after_mode", "after_on", "after_within", "group", "concurrency_key",
            "pause_after_failures",
        ),
        folded=True,
    ),
    Group("Notes", "", ("description", "note", "enabled")),
)  # fmt: skip

BY_KIND = {
    "cron": ("cron",),
    "day_match": ("cron",),
    "month_end": ("cron",),
    "dst_gap": ("cron",),
    "dst_fold": ("cron",),
    "every": ("every",),
    "unit": ("every",),
    "at": ("once",),
    "on_complete": ("once",),
    "solar_event": ("solar",),
    "latitude": ("solar",),
    "longitude": ("solar",),
    "max_runs": ("cron", "every", "solar"),
    "starts": ("cron", "every", "solar"),
    "ends": ("cron", "every", "solar"),
}
"""Fields that only some kinds of timing have."""

WIDE = frozenset({"description", "kind", "cron", "note"})
"""Fields that take a row of their own."""

_SELECT = UnfoldAdminSelectWidget


@cache
def zones() -> list[tuple[str, str]]:
    """Return every IANA zone a person may want, UTC first."""
    names = sorted(name for name in available_timezones() if "/" in name and not name.startswith("Etc/"))
    return [("UTC", "UTC"), *((name, name.replace("_", " ")) for name in names)]


def registered_tasks() -> list[str]:
    """Return the names of the tasks that this project has, Celery's own left out."""
    load_tasks()
    return sorted(name for name in current_app.tasks if not name.startswith("celery."))


def tasks_for(user: permitting.User) -> list[str]:
    """Return the names of the tasks that `user` may schedule: of this code, and of workers of other code."""
    announced = Worker.objects.filter(stopped_at__isnull=True).values_list("tasks", flat=True)[:200]
    elsewhere = {name for tasks in announced for name in tasks if not permitting.is_known(name)}
    names = {*permitting.offered(user), *elsewhere}
    return sorted(name for name in names if not permitting.refusal(user, name))


def known_queues() -> list[str]:
    """Return the queues of the settings, of schedules and of workers."""
    names = set(getattr(settings, "QUEUES", ()))
    names |= set(PeriodicTask.objects.exclude(queue=None).values_list("queue", flat=True).distinct())
    for queues in Worker.objects.filter(stopped_at__isnull=True).values_list("queues", flat=True)[:200]:
        names |= set(queues)
    return sorted(name for name in names if name)


def choices_with(current: str | None, names: list[str], blank: str) -> list[tuple[str, str]]:
    """Return select choices that never lose the stored value, known or not."""
    found = [("", blank), *((name, name) for name in names)]
    if current and current not in names:
        found.append((current, f"{current} (unknown)"))
    return found


def _choice(model_choices: Any, help_text: str, *, label: str = "") -> forms.ChoiceField:
    return forms.ChoiceField(
        choices=model_choices.choices,
        required=False,
        widget=_SELECT,
        help_text=help_text,
        label=label or None,
    )


def _integer(help_text: str, *, label: str = "", least: int = 1) -> forms.IntegerField:
    return forms.IntegerField(
        required=False,
        min_value=least,
        widget=UnfoldAdminIntegerFieldWidget,
        help_text=help_text,
        label=label or None,
    )


def _duration(help_text: str, *, label: str = "", placeholder: str = "", least: float = 0) -> forms.Field:
    return DurationTextField(
        required=False,
        help_text=help_text,
        label=label or None,
        placeholder=placeholder,
        minimum=timedelta(seconds=least),
    )


class TimingFields(forms.Form):
    """When it fires."""

    kind = forms.ChoiceField(
        choices=KINDS, label="Kind", initial="cron", widget=UnfoldAdminRadioSelectWidget(radio_style=1)
    )
    cron = forms.CharField(
        required=False,
        label="Crontab",
        widget=UnfoldAdminTextInputWidget(attrs={"placeholder": "0 3 * * *", "spellcheck": "false"}),
        help_text="Minute, hour, day of month, month, day of week. Also @daily, L (last day), 15W (nearest "
        "weekday), LW, MON#2 (second Monday), 5L (last Friday).",
    )
    every = forms.DecimalField(required=False, label="Every", widget=UnfoldAdminDecimalFieldWidget)
    unit = forms.ChoiceField(choices=UNITS, required=False, label="Unit", initial="minutes", widget=_SELECT)
    at = WallTimeField(required=False, label="Date and time", help_text="In the time zone below.")
    solar_event = forms.ChoiceField(
        choices=SOLAR_SCHEDULES, required=False, label="Event", initial="sunrise", widget=_SELECT
    )
    latitude = forms.DecimalField(
        required=False,
        min_value=-90,
        max_value=90,
        max_digits=9,
        decimal_places=6,
        widget=UnfoldAdminDecimalFieldWidget,
        help_text="Degrees, north is positive.",
    )
    longitude = forms.DecimalField(
        required=False,
        min_value=-180,
        max_value=180,
        max_digits=9,
        decimal_places=6,
        widget=UnfoldAdminDecimalFieldWidget,
        help_text="Degrees, east is positive.",
    )
    timezone = forms.CharField(required=False, label="Time zone", widget=UnfoldAdminSelect2Widget)
    day_match = forms.ChoiceField(
        choices=[("", "—"), *Schedule.DayMatch.choices],
        required=False,
        widget=_SELECT,
        label="Day match",
        help_text="Needed when both the day of month and the day of week are restricted.",
    )
    month_end = _choice(Schedule.MonthEnd, "Days 29 to 31 in a month that has no such day.")
    starts = WallTimeField(
        required=False, label="Not before", help_text="An interval is counted from here, if given."
    )
    ends = WallTimeField(required=False, label="Not after", help_text="No run after this time.")
    max_runs = _integer("End after so many runs. Blank: never.", label="Max runs")
    on_complete = _choice(
        Schedule.OnComplete, "What becomes of it once it has fired.", label="When it has fired"
    )
    jitter = _duration(
        "Spread starts over this span, so that not everything begins at once: 30s, 10m, 2h, 1d.",
        placeholder="0",
    )


class PolicyFields(forms.Form):
    """What happens when it cannot run, and how its jobs are attempted."""

    overlap = _choice(Schedule.Overlap, "While an earlier run is still going.")
    deadline = _duration(
        "Not started so long after its time: skipped as expired. Blank: it waits as long as it takes.",
        placeholder="never",
        label="Start deadline",
    )
    catch_up = _choice(Schedule.CatchUp, "Times missed while nothing was scheduling.", label="Catch-up")
    catchup_window = _duration("Missed times older than this do not run.", label="Catch-up window")
    max_catchup = _integer("At most so many late runs at once.", label="Catch-up limit")
    dst_gap = _choice(Schedule.Gap, "A time that the clocks leave out in spring.", label="Clock change: gap")
    dst_fold = _choice(
        Schedule.Fold, "A time that the clocks repeat in autumn.", label="Clock change: repeat"
    )
    timeout = _duration(
        "An attempt that takes longer is stopped and counts as failed.", placeholder="the task's", least=1
    )
    max_attempts = _integer("Tries before a job is a dead letter.", label="Attempts")
    backoff_base = _duration("Wait before the second attempt.", label="First wait", placeholder="10s")
    backoff_factor = forms.FloatField(
        required=False,
        min_value=1,
        max_value=100,
        label="Growth",
        widget=UnfoldAdminDecimalFieldWidget,
        help_text="Each wait is so many times the one before.",
    )
    backoff_cap = _duration("No wait is longer.", label="Longest wait", placeholder="1h")
    calendar = forms.ModelChoiceField(
        Calendar.objects.order_by("name"),
        required=False,
        widget=_SELECT,
        empty_label="Every day",
        help_text="The days and hours on which it may run.",
    )
    roll = _choice(Schedule.Roll, "Where a time on a closed day goes.", label="On a closed day")
    after = forms.ModelChoiceField(
        Schedule.objects.select_related("periodic_task").order_by("periodic_task__name"),
        required=False,
        widget=_SELECT,
        empty_label="Nothing",
        label="Runs after",
        help_text="Another schedule that comes first.",
    )
    after_mode = _choice(Schedule.AfterMode, "What the other one's end does.", label="Its end")
    after_on = _choice(Schedule.AfterOn, "Which end counts.", label="Which end")
    after_within = _duration("How old that end may be, or how long to wait for it.", label="Within")
    group = forms.CharField(
        required=False,
        max_length=100,
        widget=UnfoldAdminTextInputWidget,
        help_text="Schedules that share blackouts.",
    )
    concurrency_key = forms.CharField(
        required=False,
        max_length=200,
        widget=UnfoldAdminTextInputWidget,
        label="Concurrency key",
        help_text="Jobs with the same key share the limit key:….",
    )
    pause_after_failures = _integer(
        "Pause it after so many failed jobs in a row. Blank: never.", label="Pause after failures"
    )
    note = forms.CharField(
        required=False,
        label="Note",
        widget=UnfoldAdminExpandableTextareaWidget(attrs={"rows": 2}),
        help_text="For whoever is on call: what it is for, whom to ask, what to do when it fails.",
    )


class WorkFields(forms.Form):
    """What runs."""

    name = forms.CharField(
        max_length=200, widget=UnfoldAdminTextInputWidget(attrs={"placeholder": "nightly-report"})
    )
    task = forms.CharField(required=True, label="Task", widget=UnfoldAdminSelect2Widget)
    queue = forms.CharField(
        required=False,
        max_length=200,
        widget=_SELECT,
        help_text="Blank: where the task usually goes.",
    )
    priority = forms.IntegerField(
        required=False,
        min_value=0,
        max_value=9,
        widget=UnfoldAdminIntegerFieldWidget,
        help_text="0 to 9, 0 goes first. Blank: in turn.",
    )
    args = JSONTextField(list, label="Arguments", help_text='A JSON list: ["monthly", 3]')
    kwargs = JSONTextField(dict, label="Keyword arguments", help_text='A JSON object: {"name": "monthly"}')
    description = forms.CharField(
        required=False, widget=UnfoldAdminTextInputWidget, help_text="Shown under the name in the list."
    )
    enabled = forms.BooleanField(
        required=False,
        initial=True,
        label="Active",
        widget=UnfoldBooleanSwitchWidget,
        help_text="Off: it is stored as paused.",
    )
