"""A schedule as a file declares it: plain data in, checked values out.

Here what is not named is the default, unlike a change on the command line, which leaves alone what it does
not name. Everything that is wrong is reported at once, in sentences for a person.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from jobs.rules import zones
from jobs.rules.calendar_interval import CalendarIntervalSpec
from jobs.rules.crontab import DST_PRESETS, CronSpec, parse_expression, restricts_both_days
from jobs.rules.declared_values import (
    CHOICES,
    CHOSEN,
    COUNTS,
    DST_KEYS,
    FACTORS,
    FLAGS,
    LENGTHS,
    NAME_LENGTH,
    TEXTS,
    TIMINGS,
    After,
    DeclarationError,
    read_after,
    read_calendar_interval,
    read_choice,
    read_count,
    read_factor,
    read_flag,
    read_instant,
    read_json,
    read_length,
    read_solar,
    read_text,
    unknown,
)
from jobs.rules.solar import SolarSpec

__all__ = [
    "KEYS",
    "After",
    "Declaration",
    "DeclarationError",
    "Document",
    "read_declaration",
    "read_document",
]

KEYS = (
    "name", "task", *TIMINGS, "tz", "day_match", "month_end", *DST_KEYS, "queue", "priority", "args", "kwargs",
    "headers", "start", "end", "max_runs", "one_off", "on_complete", "overlap", "catch_up", "catchup_window",
    "max_catchup", "jitter", "deadline", "max_attempts", "backoff_base", "backoff_factor", "backoff_cap",
    "timeout", "calendar", "roll", "group", "concurrency_key", "max_active", "rate", "after",
    "pause_after_failures", "paused", "description", "note",
)  # fmt: skip
"""Every key of a schedule."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Declaration:
    """A schedule that is to be.

    One of the five times is given; none where only the end of another schedule starts it. `settings` has
    what is named besides: keys of `KEYS`, with values as Python has them.
    """

    name: str
    task: str
    cron: CronSpec | None = None
    every: timedelta | None = None
    every_calendar: CalendarIntervalSpec | None = None
    at: datetime | None = None
    solar: SolarSpec | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Document:
    """One document of a file: who owns its schedules, and the schedules, not yet read."""

    manager: str | None
    schedules: tuple[object, ...]


def read_document(raw: object) -> Document:
    """Return the parts of a document. Raises DeclarationError."""
    if not isinstance(raw, dict):
        raise DeclarationError("It must be a mapping with `manager` and `schedules`.")
    problems = [unknown(key, ("manager", "schedules")) for key in raw if key not in ("manager", "schedules")]
    manager, schedules = raw.get("manager"), raw.get("schedules", [])
    if manager is not None and not (isinstance(manager, str) and 0 < len(manager.strip()) <= 100):
        problems.append("`manager` must be a name of at most 100 characters.")
    if not isinstance(schedules, list):
        problems.append("`schedules` must be a list.")
    if problems:
        raise DeclarationError(*problems)
    return Document(manager, tuple(schedules))


def read_declaration(raw: object) -> Declaration:
    """Return the schedule that a mapping declares. Raises DeclarationError with everything wrong."""
    if not isinstance(raw, dict):
        raise DeclarationError("A schedule must be a mapping, with a name, a task and a time.")
    return _Reader(raw).declaration()


class _Reader:
    """Reads one mapping and gathers what is wrong with it. A key that is null is not named."""

    def __init__(self, raw: Mapping[Any, Any]) -> None:
        self.raw = {key: value for key, value in raw.items() if value is not None}
        self.problems = [unknown(key, KEYS) for key in raw if key not in KEYS]
        self.settings: dict[str, Any] = {}

    def declaration(self) -> Declaration:
        """Return all of it. Raises DeclarationError."""
        name = self._name()
        for keys, reader in _READERS:
            for key in keys:
                if key in self.raw:
                    self._read(key, reader)
        tz = self._zone()
        for key in ("start", "end"):
            if key in self.raw and tz is not None:
                self._read(key, lambda key, value: read_instant(key, value, tz or "UTC"))
        times = self._times(tz)
        start, end = self.settings.get("start"), self.settings.get("end")
        if start and end and end < start:
            self.problems.append("`end` is before `start`: it would never fire.")
        if "task" not in self.raw:
            self.problems.append("It needs a task.")
        if self.problems:
            raise DeclarationError(*self.problems)
        return Declaration(name=name, task=self.settings.pop("task"), settings=self.settings, **times)

    def _read(self, key: str, reader: Callable[[str, Any], Any]) -> None:
        try:
            self.settings[key] = reader(key, self.raw[key])
        except ValueError as error:
            self.problems.append(str(error))

    def _name(self) -> str:
        name = self.raw.get("name")
        if not isinstance(name, str) or not name.strip():
            self.problems.append("It needs a name, which is text.")
            return ""
        if name != name.strip() or not name.isprintable():
            self.problems.append("The name must not have spaces around it or control characters.")
        if len(name) > NAME_LENGTH:
            self.problems.append(f"The name has {len(name)} characters: {NAME_LENGTH} is the most.")
        return name

    def _zone(self) -> str | None:
        """Return the zone; None where it is wrong."""
        tz = self.raw.get("tz", "UTC")
        try:
            if not isinstance(tz, str):
                raise zones.UnknownZone(f"The time zone {tz!r} is unknown: use a name such as Europe/Berlin.")
            zones.load(tz)
        except zones.UnknownZone as error:
            self.problems.append(str(error))
            return None
        return tz

    def _times(self, tz: str | None) -> dict[str, Any]:
        """Return the one time, and take the settings that belong to it."""
        given = [key for key in TIMINGS if key in self.raw]
        after = self.settings.get("after")
        if not given and after is not None and after.mode == "trigger":
            return {}
        if len(given) != 1:
            self.problems.append(
                f"Give one time, not several: {' or '.join(given)}."
                if given
                else f"It needs a time: {', '.join(TIMINGS[:-1])} or {TIMINGS[-1]}."
            )
            return {}
        kind = given[0]
        chosen = {key: self.settings.pop(key, None) for key in CHOSEN["cron"]}
        foreign = [key for key in chosen if chosen[key] and key not in CHOSEN.get(kind, ())]
        self.problems += [f"`{key}` has no meaning for {kind}." for key in foreign]
        if "tz" in self.raw and kind not in CHOSEN and not {"at", "start", "end"} & set(self.raw):
            self.problems.append(f"`tz` has no meaning here: {kind} has no wall time.")
        if tz is None:
            return {}
        try:
            return {kind: self._time(kind, self.raw[kind], tz, chosen)}
        except ValueError as error:
            self.problems.append(str(error))
            return {}

    def _time(self, kind: str, value: object, tz: str, chosen: dict[str, Any]) -> Any:
        if kind == "cron":
            return _cron(value, tz, chosen)
        if kind == "every_calendar":
            return _calendar_interval(value, tz, chosen, self.settings.get("start"))
        if kind == "every":
            return read_length("every", value)
        return read_instant("at", value, tz) if kind == "at" else read_solar(value)


_READERS: tuple[tuple[Any, Callable[[str, Any], Any]], ...] = (
    (TEXTS, read_text),
    (CHOICES, read_choice),
    (LENGTHS, lambda key, value: read_length(key, value, zero=LENGTHS[key])),
    (COUNTS, read_count),
    (FLAGS, read_flag),
    (("args", "kwargs", "headers"), read_json),
    (FACTORS, read_factor),
    (("after",), read_after),
)


def _cron(text: object, tz: str, chosen: dict[str, Any]) -> CronSpec:
    if not isinstance(text, str):
        raise DeclarationError('`cron` must be text, in quotation marks, such as "0 3 * * *".')
    fields = text.split()
    if len(fields) == 5 and chosen["day_match"] is None and restricts_both_days(fields[2], fields[4]):
        raise DeclarationError(
            "The expression restricts both the day of month and the day of week: choose how they "
            "combine with `day_match: and` (both) or `day_match: vixie` (either)."
        )
    month_end = chosen["month_end"] or "skip"
    spec = parse_expression(text, tz=tz, day_match=chosen["day_match"], month_end=month_end)
    gap, fold = _clock_changes(chosen)
    return replace(spec, gap=gap, fold=fold)


def _calendar_interval(
    value: object, tz: str, chosen: dict[str, Any], start: datetime | None
) -> CalendarIntervalSpec:
    every, unit = read_calendar_interval(value)
    if start is None:
        raise DeclarationError("`every_calendar` counts from `start`: add `start: 2027-01-31T09:00`.")
    gap, fold = _clock_changes(chosen)
    return CalendarIntervalSpec(
        every=every,
        unit=unit,
        anchor=start.astimezone(zones.load(tz)).replace(tzinfo=None),
        tz=tz,
        month_end=chosen["month_end"] or "clamp",
        gap=gap,
        fold=fold,
    )


def _clock_changes(chosen: dict[str, Any]) -> tuple[Any, Any]:
    """Return what happens in a gap and in a fold: by the name of a pair, or one by one."""
    if chosen["dst"] and (chosen["dst_gap"] or chosen["dst_fold"]):
        raise DeclarationError("Give `dst`, or `dst_gap` and `dst_fold`, not both.")
    gap, fold = DST_PRESETS[chosen["dst"] or "debian"]
    return chosen["dst_gap"] or gap, chosen["dst_fold"] or fold
