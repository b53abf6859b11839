"""A stored schedule and a declared one in the same words, so that they can be compared.

Both become a flat mapping with the keys of a declaration (`rules.declaration.KEYS`): what a setting that is
not named would be is filled in, and what has no meaning for the kind of time is None.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from django.db.models import Expression

from jobs.engine import editing
from jobs.engine.compiling import PERIODS
from jobs.models import Limit, Schedule
from jobs.rules import durations
from jobs.rules.crontab import DST_PRESETS, restricts_both_days
from jobs.rules.declaration import After, Declaration
from jobs.rules.declared_values import CALENDAR_UNITS, TIMINGS
from jobs.rules.instants import rfc3339
from jobs.rules.redaction import redact

State = dict[str, Any]

WITH_ROWS = (
    "periodic_task__crontab",
    "periodic_task__interval",
    "periodic_task__clocked",
    "periodic_task__solar",
    "calendar",
    "after__periodic_task",
)
"""What `stored_state` reads besides the policy: for `select_related`."""

COLUMNS = (
    "max_runs", "on_complete", "overlap", "catch_up", "catchup_window", "max_catchup", "jitter", "deadline",
    "max_attempts", "backoff_base", "backoff_factor", "backoff_cap", "timeout", "roll", "group",
    "concurrency_key", "pause_after_failures", "note",
)  # fmt: skip
"""Settings that are a column of the policy of the same name."""

CRON_COLUMNS = ("day_match", "month_end", "dst_gap", "dst_fold")


def _default(name: str) -> Any:
    value = Schedule._meta.get_field(name).db_default  # type: ignore[union-attr]
    if isinstance(value, Expression) or not isinstance(value, str | int | float | timedelta):
        return None
    return str(value) if isinstance(value, str) else value


DEFAULTS: Mapping[str, Any] = {
    "queue": None, "priority": None, "args": [], "kwargs": {}, "headers": {}, "start": None, "end": None,
    "one_off": False, "calendar": None, "after": None, "max_active": None, "rate": None, "paused": False,
    "description": "",
    **{name: _default(name) for name in COLUMNS},
}  # fmt: skip
"""What each setting is where it is not named, whatever the kind of time."""

CRON_DEFAULTS: Mapping[str, Any] = {"tz": "UTC", **{name: _default(name) for name in CRON_COLUMNS}}

PAYLOAD = ("args", "kwargs", "headers")
"""Settings that may hold secrets: they are shown masked, and `editing.given_back` takes them masked."""

NO_TIME: Mapping[str, Any] = dict.fromkeys((*TIMINGS, *CRON_DEFAULTS))
UNIT_LETTERS: Mapping[str, str] = {unit: letters for letters, unit in CALENDAR_UNITS.items()}


def wanted_state(declaration: Declaration) -> State:
    """Return what `declaration` asks for."""
    state = {"task": declaration.task, **NO_TIME, **DEFAULTS, **declaration.settings}
    state["queue"] = state["queue"] or None
    cron, solar = declaration.cron, declaration.solar
    if cron is not None:
        state |= {"cron": cron.expression, "tz": cron.tz, "day_match": cron.day_match}
        state |= {"month_end": cron.month_end, "dst_gap": cron.gap, "dst_fold": cron.fold}
    elif solar is not None:
        state["solar"] = {"event": solar.event, "latitude": solar.latitude, "longitude": solar.longitude}
    elif declaration.every_calendar is not None:
        calendar = declaration.every_calendar
        state |= {"every_calendar": f"{calendar.every}{UNIT_LETTERS[calendar.unit]}", "tz": calendar.tz}
        state |= {"month_end": calendar.month_end, "dst_gap": calendar.gap, "dst_fold": calendar.fold}
    else:
        state |= {"every": declaration.every, "at": declaration.at}
    return state


def stored_limits() -> dict[str, Limit]:
    """Return the limits of schedules by their names, for `stored_state`."""
    return {limit.name: limit for limit in Limit.objects.filter(name__startswith="schedule:")}


def stored_state(schedule: Schedule, limits: Mapping[str, Limit]) -> State:
    """Return what is stored, however broken it is."""
    row = schedule.periodic_task
    limit = limits.get(limit_name(schedule.pk))
    after = schedule.after
    return {
        "task": row.task,
        **NO_TIME,
        **_stored_time(schedule),
        "queue": row.queue or None,
        "priority": row.priority,
        "args": _read(row.args, []),
        "kwargs": _read(row.kwargs, {}),
        "headers": _read(row.headers, {}),
        "start": _utc(row.start_time),
        "end": _utc(row.expires),
        "one_off": bool(row.one_off and not row.clocked_id),
        "calendar": schedule.calendar.name if schedule.calendar else None,
        "after": after and After(str(after), schedule.after_on, schedule.after_mode, schedule.after_within),
        "max_active": limit.max_active if limit else None,
        "rate": limit.max_per_second if limit else None,
        "paused": not row.enabled,
        "description": row.description,
        **{name: _plain_text(getattr(schedule, name)) for name in COLUMNS},
        "deadline": _deadline(schedule),
    }


def _stored_time(schedule: Schedule) -> State:
    row = schedule.periodic_task
    state: State = {}
    if row.crontab_id and schedule.calendar_every:
        state["every_calendar"] = f"{schedule.calendar_every}{UNIT_LETTERS[schedule.calendar_unit]}"
        state["tz"] = str(row.crontab.timezone)
        state |= {name: str(getattr(schedule, name)) for name in CRON_COLUMNS if name != "day_match"}
    elif row.crontab_id:
        cron = row.crontab
        fields = (
            cron.minute,
            cron.hour,
            schedule.cron_day_of_month or cron.day_of_month,
            cron.month_of_year,
            schedule.cron_day_of_week or cron.day_of_week,
        )
        state["cron"] = " ".join("".join(field.split()) for field in fields)
        state["tz"] = str(cron.timezone)
        state |= {name: str(getattr(schedule, name)) for name in CRON_COLUMNS}
    if row.interval_id:
        state["every"] = timedelta(
            microseconds=round(row.interval.every * PERIODS[row.interval.period] * 1_000_000)
        )
    if row.clocked_id and not (schedule.after_id and row.clocked.clocked_time == editing.NEVER):
        state["at"] = _utc(row.clocked.clocked_time)
    if row.solar_id:
        places = {"latitude": float(row.solar.latitude), "longitude": float(row.solar.longitude)}
        state["solar"] = {"event": row.solar.event, **places}
    return state


def changes_between(old: State, new: State) -> dict[str, list[Any]]:
    """Return the settings that differ as `{key: [old, new]}`, ready for JSON, without secrets."""
    pairs = {key: [plain(old[key]), plain(new[key])] for key in old}
    return {
        key: [_shown(key, value) for value in pair]
        for key, pair in pairs.items()
        if _text(pair[0]) != _text(pair[1])
    }


def _shown(key: str, value: Any) -> Any:
    return redact(value) if key in PAYLOAD else value


def document(name: str, state: State) -> dict[str, Any]:
    """Return a state as a file declares it: only what differs from the defaults, in a stable order.

    Secrets are masked. A file with a mask is good for the schedule that it was made of: see `given_back`.
    """
    defaults = {**NO_TIME, **DEFAULTS}
    if state["cron"] is not None:
        defaults |= CRON_DEFAULTS
    elif state["every_calendar"] is not None:
        defaults |= {**CRON_DEFAULTS, "month_end": "clamp", "day_match": None}
    shown: dict[str, Any] = {"name": name}
    for key, value in state.items():
        if key == "task" or _text(plain(value)) != _text(plain(defaults[key])):
            shown[key] = _shown(key, plain(value))
    cron = state["cron"]
    if cron is not None:
        fields = cron.split()
        if len(fields) == 5 and restricts_both_days(fields[2], fields[4]):
            shown["day_match"] = state["day_match"]
    _name_preset(shown, state)
    return shown


def _name_preset(shown: dict[str, Any], state: State) -> None:
    """Write a pair of clock change settings that has a name by its name."""
    pair = (state["dst_gap"], state["dst_fold"])
    names = [name for name, preset in DST_PRESETS.items() if preset == pair]
    if ("dst_gap" in shown or "dst_fold" in shown) and names:
        shown.pop("dst_gap", None)
        shown.pop("dst_fold", None)
        shown["dst"] = names[0]


def plain(value: Any) -> Any:
    """Return a value as a file has it: lengths as `10m`, times in RFC 3339 and UTC."""
    match value:
        case timedelta():
            return durations.write(value)
        case datetime():
            return rfc3339(value)
        case After():
            default = After(value.schedule)
            named = {name: getattr(value, name) for name in ("on", "mode", "within")}
            differing = {name: plain(item) for name, item in named.items() if item != getattr(default, name)}
            return {"schedule": value.schedule, **differing}
        case float() if value.is_integer():
            return int(value)
    return value


def _text(value: Any) -> str:
    return json.dumps(value, sort_keys=True, default=str)


def limit_name(pk: int) -> str:
    """Return the name of a schedule's own limit."""
    return f"schedule:{pk}"


def _deadline(schedule: Schedule) -> timedelta | None:
    # Rows of django-celery-beat say it in seconds; a deadline of ours comes first (`compiling`).
    seconds = schedule.periodic_task.expire_seconds
    return schedule.deadline or (timedelta(seconds=seconds) if seconds else None)


def _read(text: str | None, empty: Any) -> Any:
    try:
        return json.loads(text) if text else empty
    except ValueError:
        return text  # unreadable: it differs from whatever is declared


def _utc(moment: datetime | None) -> datetime | None:
    return None if moment is None else moment.astimezone(UTC)


def _plain_text(value: Any) -> Any:
    return str(value) if isinstance(value, str) else value
