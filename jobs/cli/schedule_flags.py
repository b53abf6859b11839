"""The flags of `schedules create` and `update`, and what they say. Nothing named means nothing said."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Annotated, Any, Literal

from typer import Option

from jobs.cli.durations import parse_duration
from jobs.cli.failures import usage
from jobs.cli.instants import Instant, parse_instant
from jobs.cli.link_flags import MOST, NOTHING, LinkFlags
from jobs.cli.link_flags import whole as _count
from jobs.cli.payloads import parse_args, parse_kwargs
from jobs.rules.calendar_interval import Unit

Overlap = Literal["skip", "buffer_one", "buffer_all", "cancel_other", "terminate_other", "allow_all"]
CatchUp = Literal["latest", "earliest", "all", "none"]
DayMatch = Literal["and", "vixie"]
Dst = Literal["debian", "aws", "temporal"]

DayMatchFlag = Annotated[
    DayMatch | None, Option("--day-match", help="Day of month and weekday: both, or either.")
]
DstFlag = Annotated[Dst | None, Option("--dst", help="What to do when the clock changes.")]
TzFlag = Annotated[str | None, Option("--tz", metavar="ZONE", help="IANA time zone, such as Europe/Berlin.")]

CALENDAR_UNITS: dict[str, Unit] = {
    "d": "day", "day": "day", "w": "week", "week": "week", "mo": "month", "month": "month",
    "y": "year", "year": "year",
}  # fmt: skip

_DURATION = "30s, 10m, 2h, 1d, 1h30m"


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduleFlags(LinkFlags):
    """One value per flag; None where it was not given."""

    task: Annotated[str | None, Option("--task", metavar="TASK", help="Name of a registered task.")] = None
    cron: Annotated[str | None, Option("--cron", metavar="EXPR", help='Crontab, such as "0 3 * * *".')] = None
    every: Annotated[str | None, Option("--every", metavar="D", help=f"Interval: {_DURATION}.")] = None
    every_calendar: Annotated[
        str | None,
        Option("--every-calendar", metavar="N", help="Same wall time every 3d, 2w, 1mo or 1y from --start."),
    ] = None
    at: Annotated[str | None, Option("--at", metavar="ISO", help="Once, at a time; wall time in --tz.")] = (
        None
    )
    within: Annotated[str | None, Option("--in", metavar="D", help="Once, so long from now.")] = None
    tz: TzFlag = None
    day_match: DayMatchFlag = None
    month_end: Annotated[
        Literal["skip", "clamp"] | None, Option("--month-end", help="Days 29-31 in a shorter month.")
    ] = None
    dst: DstFlag = None
    start: Annotated[str | None, Option("--start", metavar="ISO", help="Not before this time.")] = None
    end: Annotated[str | None, Option("--end", metavar="ISO", help="Not after this time.")] = None
    max_runs: Annotated[str | None, Option("--max-runs", metavar="N", help="End after so many starts.")] = (
        None
    )
    on_complete: Annotated[
        Literal["keep", "disable", "delete"] | None,
        Option("--on-complete", help="A one-shot that has fired."),
    ] = None
    queue: Annotated[str | None, Option("--queue", metavar="QUEUE", help="Instead of the task's own.")] = None
    priority: Annotated[str | None, Option("--priority", metavar="N", help="0 to 9, 0 first.")] = None
    args: Annotated[str | None, Option("--args", metavar="JSON|@FILE", help="Positional arguments.")] = None
    kwargs: Annotated[str | None, Option("--kwargs", metavar="JSON|@FILE", help="Keyword arguments.")] = None
    overlap: Annotated[Overlap | None, Option("--overlap", help="While an earlier run goes on.")] = None
    catch_up: Annotated[CatchUp | None, Option("--catch-up", help="Which of the missed times run.")] = None
    catchup_window: Annotated[
        str | None, Option("--catchup-window", metavar="D", help="Older than this is missed for good.")
    ] = None
    max_catchup: Annotated[
        str | None, Option("--max-catchup", metavar="N", help="With --catch-up all: at most so many.")
    ] = None
    jitter: Annotated[str | None, Option("--jitter", metavar="D", help="Spread starts over this span.")] = (
        None
    )
    deadline: Annotated[
        str | None, Option("--deadline", metavar="D", help="Not started by then: skipped as expired.")
    ] = None
    max_attempts: Annotated[
        str | None, Option("--max-attempts", metavar="N", help="How often a job is tried.")
    ] = None
    backoff_base: Annotated[str | None, Option("--backoff-base", metavar="D", help="First retry waits.")] = (
        None
    )
    backoff_factor: Annotated[
        str | None, Option("--backoff-factor", metavar="X", help="Then times this.")
    ] = None
    backoff_cap: Annotated[str | None, Option("--backoff-cap", metavar="D", help="And at most this.")] = None
    timeout: Annotated[str | None, Option("--timeout", metavar="D", help="Limit of one attempt.")] = None
    paused: Annotated[bool | None, Option("--paused/--no-paused", help="Let its times pass.")] = None
    note: Annotated[str | None, Option("--note", metavar="TEXT", help="Kept with the schedule.")] = None
    description: Annotated[str | None, Option("--description", metavar="TEXT", help="What it is for.")] = None

    def check(self) -> None:
        """Raise `Failure` (usage) for what cannot be asked for together."""
        timings = [f"--{name}" for name, value in self._timings().items() if value is not None]
        if len(timings) > 1:
            raise usage(f"Give one time, not several: {' or '.join(timings)}.")
        for flag, value in (("--day-match", self.day_match), ("--month-end", self.month_end)):
            if value is not None and timings and self.cron is None:
                if flag == "--month-end" and self.every_calendar is not None:
                    continue
                raise usage(f"{flag} is for --cron, not for {timings[0]}.")

    @property
    def has_timing(self) -> bool:
        """Whether a time is given: --cron, --every, --every-calendar, --at or --in."""
        return any(value is not None for value in self._timings().values())

    def _timings(self) -> dict[str, str | None]:
        return {
            "cron": self.cron,
            "every": self.every,
            "every-calendar": self.every_calendar,
            "at": self.at,
            "in": self.within,
        }

    def instant(self, now: datetime, tz: str) -> Instant | None:
        """Return when a one-shot is to fire; None if neither --at nor --in is given."""
        if self.at is not None:
            return parse_instant(self.at, "--at", tz=tz, gap="refuse" if self.dst == "aws" else "next_valid")
        if self.within is not None:
            return Instant(now + parse_duration(self.within, "--in"))
        return None

    def interval(self) -> timedelta | None:
        """Return the interval of --every."""
        return None if self.every is None else parse_duration(self.every, "--every")

    def calendar_interval(self) -> tuple[int, Unit] | None:
        """Return the count and the unit of --every-calendar."""
        if self.every_calendar is None:
            return None
        found = re.fullmatch(r"\s*(\d{1,4})\s*([a-z]+)\s*", self.every_calendar.lower(), re.ASCII)
        unit = None if found is None else CALENDAR_UNITS.get(found[2].removesuffix("s") or found[2])
        if found is None or unit is None or not int(found[1]):
            raise usage(f"--every-calendar {self.every_calendar!r} is not understood: use 3d, 2w, 1mo or 1y.")
        return int(found[1]), unit

    def bounds(self, tz: str) -> dict[str, Instant | None]:
        """Return the columns of --start and --end that are named; None takes one back."""
        named = {"start_time": ("--start", self.start), "expires": ("--end", self.end)}
        return {
            column: None if text == NOTHING else parse_instant(text, flag, tz=tz)
            for column, (flag, text) in named.items()
            if text is not None
        }

    def row(self) -> dict[str, Any]:
        """Return the columns of the `PeriodicTask` that are named, but for its times and arguments."""
        values: dict[str, Any] = {}
        if self.queue is not None:
            values["queue"] = None if self.queue in ("", NOTHING) else self.queue
        if self.priority is not None:
            values["priority"] = _count(self.priority, "--priority", least=0, most=9)
        if self.description is not None:
            values["description"] = self.description
        if self.paused is not None:
            values["enabled"] = not self.paused
        return values

    def payload(self) -> dict[str, Any]:
        """Return `args` and `kwargs`, those that are named."""
        values: dict[str, Any] = {}
        if self.args is not None:
            values["args"] = parse_args(self.args)
        if self.kwargs is not None:
            values["kwargs"] = parse_kwargs(self.kwargs)
        return values

    def policy(self) -> dict[str, Any]:
        """Return the columns of the policy that are named, but for those that belong to a crontab."""
        values: dict[str, Any] = {
            name: getattr(self, name)
            for name in ("overlap", "catch_up", "on_complete", "note")
            if getattr(self, name) is not None
        }
        for name, zero in (("catchup_window", True), ("jitter", True)):
            if (text := getattr(self, name)) is not None:
                values[name] = parse_duration(text, _flag(name), zero=zero)
        for name in ("deadline", "timeout", "backoff_base", "backoff_cap"):
            if (text := getattr(self, name)) is not None:
                zero = name.startswith("backoff")
                values[name] = None if text == NOTHING else parse_duration(text, _flag(name), zero=zero)
        if self.max_runs is not None:
            values["max_runs"] = _count(self.max_runs, "--max-runs", most=MOST)
        if self.max_attempts is not None:
            values["max_attempts"] = _count(self.max_attempts, "--max-attempts", most=1_000)
        if self.max_catchup is not None:
            values["max_catchup"] = _count(self.max_catchup, "--max-catchup", most=MOST, optional=False)
        if self.backoff_factor is not None:
            values["backoff_factor"] = _factor(self.backoff_factor)
        if self.paused and self.note is not None:
            values["pause_note"] = self.note
        return {**values, **self.ties()}


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def _factor(text: str) -> float | None:
    if text == NOTHING:
        return None
    try:
        factor = float(text)
    except ValueError:
        factor = 0.0
    if not 1 <= factor <= 1_000:
        raise usage(f"--backoff-factor {text!r} is not a number from 1 to 1000.")
    return factor
