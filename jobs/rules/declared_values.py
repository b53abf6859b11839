"""The values of a declared schedule: each reader takes a key and plain data, and refuses in a sentence."""

import difflib
import json
import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, get_args

from jobs.rules import durations, zones
from jobs.rules.calendar_interval import Unit, resolve
from jobs.rules.calendars import ROLLS
from jobs.rules.catch_up import CatchUp
from jobs.rules.crontab import DST_PRESETS, DayMatch, Fold, Gap, MonthEnd
from jobs.rules.overlap import OverlapPolicy
from jobs.rules.solar import SOLAR_EVENTS, SolarSpec

NAME_LENGTH = 200
MOST = 1_000_000

TIMINGS = ("cron", "every", "every_calendar", "at", "solar")
DST_KEYS = ("dst", "dst_gap", "dst_fold")
CHOSEN = {"cron": ("day_match", "month_end", *DST_KEYS), "every_calendar": ("month_end", *DST_KEYS)}
"""Settings that belong to a kind of time."""
CALENDAR_UNITS: dict[str, Unit] = {"d": "day", "w": "week", "mo": "month", "y": "year"}

TEXTS = {
    "task": 200, "queue": 200, "description": None, "note": None, "group": 100, "concurrency_key": 200,
    "calendar": 100,
}  # fmt: skip
CHOICES: dict[str, tuple[str, ...]] = {
    "overlap": tuple(OverlapPolicy),
    "catch_up": get_args(CatchUp),
    "day_match": get_args(DayMatch),
    "month_end": get_args(MonthEnd),
    "dst": tuple(DST_PRESETS),
    "dst_gap": get_args(Gap),
    "dst_fold": get_args(Fold),
    "on_complete": ("keep", "disable", "delete"),
    "roll": ROLLS,
}
LENGTHS = {
    "catchup_window": True, "jitter": True, "backoff_base": True, "backoff_cap": True, "deadline": False,
    "timeout": False,
}  # fmt: skip
"""Lengths of time, and whether they may be zero."""
COUNTS = {
    "priority": (0, 9), "max_runs": (1, MOST), "max_catchup": (1, MOST), "max_attempts": (1, 1_000),
    "pause_after_failures": (1, MOST), "max_active": (1, MOST),
}  # fmt: skip
FACTORS = {"backoff_factor": (1.0, 1_000.0), "rate": (0.0001, 100_000.0)}
FLAGS = ("paused", "one_off")
AFTER = {"on": ("success", "failure", "any"), "mode": ("trigger", "gate")}


class DeclarationError(ValueError):
    """What is wrong with a document; `problems` are sentences."""

    def __init__(self, *problems: str) -> None:
        super().__init__(" ".join(problems))
        self.problems = problems


@dataclass(frozen=True, slots=True)
class After:
    """A dependency (SEMANTICS 23)."""

    schedule: str
    on: str = "success"
    mode: str = "trigger"
    within: timedelta = timedelta(hours=24)


def unknown(key: object, known: tuple[str, ...]) -> str:
    """Return the sentence about a key that means nothing, with what was probably meant."""
    close = difflib.get_close_matches(str(key), known, n=1)
    return f"The key {key!r} is unknown" + (f": did you mean {close[0]!r}?" if close else ".")


def read_text(key: str, value: object) -> str:
    if not isinstance(value, str):
        raise DeclarationError(f"`{key}` must be text, not {_shown(value)}.")
    if "\0" in value:
        raise DeclarationError(f"`{key}` holds a NUL character, which the database cannot store.")
    most = TEXTS.get(key)
    if most is not None and len(value) > most:
        raise DeclarationError(f"`{key}` has {len(value)} characters: {most} is the most.")
    return value


def read_choice(key: str, value: object) -> str:
    return _one_of(key, value, CHOICES[key])


def _one_of(key: str, value: object, choices: tuple[str, ...]) -> str:
    if not isinstance(value, str) or value not in choices:
        raise DeclarationError(f"`{key}` is {_shown(value)}: use {', '.join(choices)}.")
    return str(value)


def read_length(key: str, value: object, *, zero: bool = False) -> timedelta:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise DeclarationError(f"`{key}` is not a length of time: use {durations.EXAMPLES}.")
    length = durations.read(str(value).strip())
    if length is None:
        raise DeclarationError(f"`{key}` {value!r} is not a length of time: use {durations.EXAMPLES}.")
    if length > durations.LONGEST:
        raise DeclarationError(f"`{key}` {value!r} is longer than a hundred years.")
    if not length and not zero:
        raise DeclarationError(f"`{key}` must be longer than zero.")
    return length


def read_count(key: str, value: object) -> int:
    least, most = COUNTS[key]
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise DeclarationError(
            f"`{key}` is {_shown(value)}: it must be a whole number from {least} to {most}."
        )
    return value


def read_factor(key: str, value: object) -> float:
    least, most = FACTORS[key]
    if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value <= most:
        raise DeclarationError(f"`{key}` is {_shown(value)}: it must be a number from {least:g} to {most:g}.")
    return float(value)


def read_calendar_interval(value: object) -> tuple[int, Unit]:
    """Return the count and the unit of `3d`, `2w`, `1mo` or `1y`."""
    found = re.fullmatch(r"(\d{1,4})(d|w|mo|y)", str(value).strip(), re.ASCII)
    if found is None or not int(found[1]):
        raise DeclarationError(f"`every_calendar` {value!r} is not understood: use 3d, 2w, 1mo or 1y.")
    return int(found[1]), CALENDAR_UNITS[found[2]]


def read_flag(key: str, value: object) -> bool:
    if not isinstance(value, bool):
        raise DeclarationError(f"`{key}` is {_shown(value)}: use true or false.")
    return value


def read_json(key: str, value: object) -> Any:
    kind, name = (list, "list") if key == "args" else (dict, "mapping")
    if not isinstance(value, kind):
        raise DeclarationError(f"`{key}` must be a {name}, not {_shown(value)}.")
    try:
        text = json.dumps(value, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise DeclarationError(f"`{key}` cannot be stored as JSON: {error}.") from error
    if "\\u0000" in text:
        raise DeclarationError(f"`{key}` holds a NUL character, which the database cannot store.")
    if json.loads(text) != value:
        raise DeclarationError(f"`{key}` has a key that is not text: put it in quotation marks.")
    return value


def read_instant(key: str, value: object, tz: str) -> datetime:
    """Return an instant; without an offset it is wall time in `tz`, by the rules of SEMANTICS 7."""
    try:
        moment = datetime.fromisoformat(str(value).strip())
        if moment.tzinfo is not None:
            return zones.to_instant(moment)
        return resolve(moment, tz, "next_valid", "first")[0].at
    except (ValueError, IndexError, OverflowError) as error:
        raise DeclarationError(
            f"`{key}` {value!r} is not a time: write 2027-01-31T10:00, with Z or +01:00 if need be."
        ) from error


def read_solar(value: object) -> SolarSpec:
    keys = ("event", "latitude", "longitude")
    if not isinstance(value, dict) or set(value) != set(keys):
        raise DeclarationError("`solar` needs an event, a latitude and a longitude.")
    event = _one_of("event", value["event"], tuple(SOLAR_EVENTS))
    places = [value[key] for key in keys[1:]]
    if any(isinstance(place, bool) or not isinstance(place, int | float) for place in places):
        raise DeclarationError("The latitude and the longitude of `solar` must be numbers, in degrees.")
    if not (abs(places[0]) <= 90 and abs(places[1]) <= 180):
        raise DeclarationError("The latitude of `solar` is within 90 degrees, the longitude within 180.")
    return SolarSpec(event, *(round(float(place), 6) for place in places))


def read_after(key: str, value: object) -> After:
    if isinstance(value, str) and value.strip():
        return After(value)
    known = ("schedule", "on", "within", "mode")
    if not isinstance(value, dict) or not isinstance(value.get("schedule"), str):
        raise DeclarationError(
            "`after` needs a schedule: `after: {schedule: NAME, on: success, within: 24h}`."
        )
    for name in value:
        if name not in known:
            raise DeclarationError(f"In `after`: {unknown(name, known)}")
    default = After(value["schedule"])
    chosen = {name: _one_of(name, value[name], AFTER[name]) for name in AFTER if value.get(name) is not None}
    within = value.get("within")
    return After(
        value["schedule"],
        **chosen,
        within=default.within if within is None else read_length("within", within),
    )


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:39]}…"
