"""Business calendars and blackout windows: when schedules may not fire."""

from __future__ import annotations

from datetime import date, datetime, time
from typing import Any

from django.core.exceptions import ValidationError
from django.db import models

from jobs.rules import blackouts, calendars
from jobs.rules.calendars import CalendarError, WeeklyWindow


def _windows(raw: list[dict[str, Any]]) -> tuple[WeeklyWindow, ...]:
    return tuple(
        WeeklyWindow(
            days=frozenset(window["days"]),
            start=time.fromisoformat(window["start"]),
            end=time.fromisoformat(window["end"]),
        )
        for window in raw
    )


def _dates(raw: list[str]) -> frozenset[date]:
    return frozenset(date.fromisoformat(text) for text in raw)


WINDOWS_HELP = '[{"days": [1, 2, 3, 4, 5], "start": "09:00", "end": "17:00"}]; 1 is Monday'


def read_calendar(document: dict[str, Any]) -> calendars.Calendar:
    """Return the calendar that a stored document says.

    Raises `CalendarError` for one that makes no sense or leaves no time open.
    """
    try:
        return calendars.Calendar(
            name=document["name"],
            version=document["version"],
            exclude_dates=_dates(document["exclude_dates"]),
            include_dates=_dates(document["include_dates"]),
            exclude_windows=_windows(document["exclude_windows"]),
            include_windows=_windows(document["include_windows"]),
            tz=document["tz"] or None,
        )
    except CalendarError:
        raise
    except (KeyError, TypeError, ValueError) as exc:
        raise CalendarError(f"The calendar {document.get('name')!r} cannot be read: {exc}.") from exc


def read_blackout(document: dict[str, Any]) -> blackouts.Blackout:
    """Return the blackout that a stored document says.

    Raises `CalendarError` for one that makes no sense or covers all time.
    """
    try:
        return blackouts.Blackout(
            name=document["name"],
            mode=document["mode"],
            windows=_windows(document["windows"]),
            spans=tuple(
                (datetime.fromisoformat(since), datetime.fromisoformat(until))
                for since, until in document["spans"]
            ),
            tz=document["tz"] or None,
            enforced=document["enforced"],
        )
    except CalendarError:
        raise
    except (KeyError, TypeError, ValueError) as exc:
        raise CalendarError(f"The blackout {document.get('name')!r} cannot be read: {exc}.") from exc


class Calendar(models.Model):
    """A named set of dates and weekly windows on which schedules may, or may not, fire (SEMANTICS 13)."""

    name = models.CharField(max_length=100, unique=True)
    version = models.PositiveIntegerField(default=1, editable=False)
    """Counts edits; the ledger says under which one an occurrence was decided."""
    tz = models.CharField(max_length=63, blank=True, default="", help_text="Empty: the schedule's own zone.")
    exclude_dates: models.JSONField[Any, Any] = models.JSONField(
        default=list, blank=True, help_text='["2026-12-25"]'
    )
    include_dates: models.JSONField[Any, Any] = models.JSONField(default=list, blank=True)
    exclude_windows: models.JSONField[Any, Any] = models.JSONField(
        default=list, blank=True, help_text=WINDOWS_HELP
    )
    include_windows: models.JSONField[Any, Any] = models.JSONField(
        default=list, blank=True, help_text=WINDOWS_HELP
    )
    note = models.TextField(blank=True, default="")

    class Meta:
        ordering = ["name"]

    def __str__(self) -> str:
        return self.name

    def save(self, *args: Any, **kwargs: Any) -> None:
        """Count the edit."""
        if not self._state.adding:
            self.version += 1
        super().save(*args, **kwargs)

    def document(self) -> dict[str, Any]:
        """Return it as plain data, for a compiled schedule."""
        fields = ("name", "version", "tz", "exclude_dates", "include_dates", "exclude_windows")
        return {**{name: getattr(self, name) for name in fields}, "include_windows": self.include_windows}

    def clean(self) -> None:
        """Refuse a calendar that makes no sense."""
        try:
            read_calendar(self.document())
        except (CalendarError, ValueError) as exc:
            raise ValidationError(str(exc)) from exc


class Blackout(models.Model):
    """Time in which nothing starts: for one schedule, a group, a queue, or everything (SEMANTICS 14)."""

    class Mode(models.TextChoices):
        """What becomes of a nominal inside the window."""

        SKIP = "skip", "Skip it"
        DEFER_TO_END = "defer_to_end", "Start it when the window closes"

    name = models.CharField(max_length=100, unique=True)
    mode = models.CharField(max_length=12, choices=Mode, default=Mode.SKIP)
    tz = models.CharField(max_length=63, blank=True, default="", help_text="Empty: the schedule's own zone.")
    windows: models.JSONField[Any, Any] = models.JSONField(default=list, blank=True, help_text=WINDOWS_HELP)
    spans: models.JSONField[Any, Any] = models.JSONField(
        default=list, blank=True, help_text='[["2026-12-24T18:00:00+00:00", "2026-12-27T06:00:00+00:00"]]'
    )
    enforced = models.BooleanField(default=False, help_text="Manual runs are refused as well.")
    schedule = models.ForeignKey(
        "jobs.Schedule", null=True, blank=True, on_delete=models.CASCADE, related_name="own_blackouts"
    )
    group = models.CharField(max_length=100, blank=True, default="")
    queue = models.CharField(max_length=200, blank=True, default="")

    class Meta:
        ordering = ["name"]

    def __str__(self) -> str:
        return self.name

    def document(self) -> dict[str, Any]:
        """Return it as plain data, for a compiled schedule."""
        return {name: getattr(self, name) for name in ("name", "mode", "tz", "windows", "spans", "enforced")}

    def clean(self) -> None:
        """Refuse a window that makes no sense."""
        try:
            read_blackout(self.document())
        except (CalendarError, ValueError) as exc:
            raise ValidationError(str(exc)) from exc
