"""Schedules of other schedulers as declarations: `beat_schedule` in code, and the entries of RedBeat.

Each becomes what `schedules apply` takes, or says why it cannot. Nothing is written.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import redis
from celery import current_app
from celery.beat import BeatLazyFunc, ScheduleEntry
from celery.schedules import BaseSchedule, crontab, schedule, solar

from jobs.engine.doorbell import BROKER_ERRORS
from jobs.insight import broker
from jobs.rules import durations
from jobs.rules.crontab import restricts_both_days

CODE, REDBEAT = "beat_schedule", "redbeat"
"""Where an entry is from: also the manager of what it becomes."""

KEPT = {"queue", "priority", "headers", "expires"}
"""Options of a call that a schedule has."""


@dataclass(slots=True)
class Entry:
    """One schedule of another scheduler."""

    origin: str
    name: str
    declaration: dict[str, Any] | None = None
    """What `schedules apply` takes; None where `why` says that there is no such thing."""
    why: str = ""
    notes: list[str] = field(default_factory=list)
    """What is left out, or means something else."""


class Untranslatable(ValueError):
    """An entry that has no counterpart here; the message says why."""


def documents(entries: list[Entry]) -> list[dict[str, Any]]:
    """Return the documents that declare what can be declared, one for each origin."""
    found = [
        {
            "manager": origin,
            "schedules": [one.declaration for one in entries if one.origin == origin and one.declaration],
        }
        for origin in (CODE, REDBEAT)
    ]
    return [document for document in found if document["schedules"]]


# --- In code ------------------------------------------------------------------------------------------


def from_code() -> list[Entry]:
    """Return the entries of `beat_schedule`, those of `add_periodic_task` included."""
    return [_of_code(str(name), raw) for name, raw in (current_app.conf.beat_schedule or {}).items()]


def _of_code(name: str, raw: Any) -> Entry:
    entry = Entry(CODE, name)
    if isinstance(raw, ScheduleEntry):
        raw = {key: getattr(raw, key) for key in ("task", "schedule", "args", "kwargs", "options")}
    try:
        _fill(entry, raw, _when(raw.get("schedule"), entry, relative=bool(raw.get("relative"))))
    except Untranslatable as error:
        entry.why = str(error)
    return entry


def _when(value: Any, entry: Entry, *, relative: bool = False) -> dict[str, Any]:
    """Return the keys that say when. Raises `Untranslatable`."""
    if isinstance(value, crontab):
        fields = [value._orig_minute, value._orig_hour, value._orig_day_of_month, value._orig_month_of_year]
        return _cron([*fields, value._orig_day_of_week])
    if isinstance(value, solar):
        return {"solar": {"event": value.event, "latitude": value.lat, "longitude": value.lon}}
    if isinstance(value, schedule):
        relative = relative or bool(value.relative)
        value = value.run_every
    elif isinstance(value, BaseSchedule):
        raise Untranslatable(f"a schedule of the class {type(value).__name__} has no counterpart")
    if isinstance(value, int | float):
        value = timedelta(seconds=value)
    if not isinstance(value, timedelta):
        raise Untranslatable(f"{value!r} is not understood as a schedule")
    return _every(value, entry, relative=relative)


def _cron(fields: list[Any]) -> dict[str, Any]:
    texts = [_field(value) for value in fields]
    keys = {"cron": " ".join(texts), "tz": str(current_app.timezone)}
    if restricts_both_days(texts[2], texts[4]):
        keys["day_match"] = "and"  # as Celery combines them
    return keys


def _field(value: Any) -> str:
    """Return a field of a crontab as text: Celery takes numbers and collections as well."""
    if isinstance(value, str | int):
        return str(value).replace(" ", "")
    return ",".join(str(one) for one in sorted(value))


def _every(length: timedelta, entry: Entry, *, relative: bool) -> dict[str, Any]:
    if length <= timedelta(0):
        raise Untranslatable("its interval is zero")
    if relative:
        entry.notes.append("`relative` is left out: give it a `start`, from which the times are counted")
    return {"every": durations.write(length)}


# --- RedBeat ------------------------------------------------------------------------------------------


def from_redbeat() -> list[Entry] | None:
    """Return what RedBeat keeps in Redis; None where Redis does not answer."""
    prefix = str(current_app.conf.get("redbeat_key_prefix") or "redbeat:")
    try:
        with _redbeat_connection() as client:
            keys: list[Any] = list(client.zrange(f"{prefix}:schedule", 0, -1))
            with client.pipeline(transaction=False) as pipe:
                for key in keys:
                    pipe.hget(key, "definition")
                stored = pipe.execute()
    except BROKER_ERRORS:
        return None
    names = [str(key, errors="replace").removeprefix(prefix) for key in keys]
    return [_of_redbeat(name, text) for name, text in zip(names, stored, strict=True) if text is not None]


class _redbeat_connection:  # noqa: N801  (used as a context manager, like a function)
    """RedBeat's Redis: its own address where it has one, else the broker's."""

    def __enter__(self) -> redis.Redis:
        url = current_app.conf.get("redbeat_redis_url")
        self.stack: Any = None
        if url:
            return redis.Redis.from_url(
                url, socket_timeout=broker.PATIENCE_SECONDS, socket_connect_timeout=broker.PATIENCE_SECONDS
            )
        self.stack = broker.impatient()
        client: redis.Redis = self.stack.__enter__().default_channel.client
        return client

    def __exit__(self, *error: object) -> None:
        if self.stack is not None:
            self.stack.__exit__(*error)


def _of_redbeat(name: str, text: bytes) -> Entry:
    entry = Entry(REDBEAT, name)
    try:
        raw = json.loads(text)
        entry.name = str(raw.get("name") or name)
        _fill(entry, raw, _when_of_redbeat(raw.get("schedule"), entry))
        if entry.declaration is not None and raw.get("enabled") is False:
            entry.declaration["paused"] = True
    except Untranslatable as error:
        entry.why = str(error)
    except (ValueError, AttributeError) as error:
        entry.why = f"its definition cannot be read ({error})"
    return entry


def _when_of_redbeat(raw: Any, entry: Entry) -> dict[str, Any]:
    kind = raw.get("__type__") if isinstance(raw, Mapping) else None
    if kind == "interval":
        length = timedelta(seconds=float(raw["every"]))
        return _every(length, entry, relative=bool(raw.get("relative")))
    if kind == "crontab":
        names = ("minute", "hour", "day_of_month", "month_of_year", "day_of_week")
        return _cron([raw.get(name, "*") for name in names])
    if kind == "rrule":
        raise Untranslatable("a recurrence rule (rrule) has no counterpart: say it as cron or every_calendar")
    raise Untranslatable(f"a schedule of the kind {kind or raw!r} has no counterpart")


# --- Both ---------------------------------------------------------------------------------------------


def _fill(entry: Entry, raw: Mapping[str, Any], when: dict[str, Any]) -> None:
    """Complete an entry with what it runs, and how."""
    options = dict(raw.get("options") or {})
    declaration: dict[str, Any] = {"name": entry.name, "task": raw.get("task") or entry.name, **when}
    for key, value in (("args", list(raw.get("args") or ())), ("kwargs", dict(raw.get("kwargs") or {}))):
        if value:
            declaration[key] = _plain(key, value)
    for key in ("queue", "priority", "headers"):
        if options.get(key):
            declaration[key] = _plain(key, getattr(options[key], "name", options[key]))
    expires = options.get("expires", raw.get("expires"))
    if isinstance(expires, datetime):
        entry.notes.append("`expires` at one instant is left out: give it an `end`")
    elif expires:
        length = expires if isinstance(expires, timedelta) else timedelta(seconds=float(expires))
        declaration["deadline"] = durations.write(length)
    left = sorted(key for key, value in options.items() if key not in KEPT and value not in (None, {}, []))
    if left:
        entry.notes.append(f"left out, for a schedule has no such option: {', '.join(left)}")
    entry.declaration = declaration


def _plain(key: str, value: Any) -> Any:
    """Return a value as JSON has it. Raises `Untranslatable`."""
    if isinstance(value, list | dict) and any(isinstance(one, BeatLazyFunc) for one in _within(value)):
        raise Untranslatable(f"its {key} are made anew for each run (BeatLazyFunc): let the task make them")
    try:
        return json.loads(json.dumps(value))
    except (TypeError, ValueError) as error:
        raise Untranslatable(f"its {key} are not JSON ({error})") from error


def _within(value: list[Any] | dict[str, Any]) -> list[Any]:
    return list(value.values()) if isinstance(value, dict) else value
