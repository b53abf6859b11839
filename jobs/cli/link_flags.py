"""The flags of `schedules create` and `update` that tie a schedule to something else: a calendar, a limit,
another schedule, whoever manages it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal

from typer import Option

from jobs.cli.durations import parse_duration
from jobs.cli.failures import usage

NOTHING = "none"
"""The word that takes a setting back in `update`."""

MOST = 1_000_000

Roll = Literal["skip", "next", "previous", "modified_next"]


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkFlags:
    """One value per flag; None where it was not given."""

    calendar: Annotated[
        str | None, Option("--calendar", metavar="NAME", help="Business days and holidays.")
    ] = None
    roll: Annotated[Roll | None, Option("--roll", help="A time on a closed day of the calendar.")] = None
    group: Annotated[str | None, Option("--group", metavar="NAME", help="What blackouts may be for.")] = None
    concurrency_key: Annotated[
        str | None, Option("--concurrency-key", metavar="KEY", help="Shares the limit of this key.")
    ] = None
    max_active: Annotated[
        str | None, Option("--max-active", metavar="N", help="At most so many of its jobs at once.")
    ] = None
    rate: Annotated[str | None, Option("--rate", metavar="N", help="At most so many starts a second.")] = None
    after: Annotated[str | None, Option("--after", metavar="NAME", help="Runs after this schedule.")] = None
    after_on: Annotated[
        Literal["success", "failure", "any"] | None, Option("--after-on", help="Which end of it counts.")
    ] = None
    after_mode: Annotated[
        Literal["trigger", "gate"] | None,
        Option("--after-mode", help="It starts this one, or holds this one's own times back."),
    ] = None
    after_within: Annotated[
        str | None,
        Option("--after-within", metavar="D", help="How old that end may be, or how long to wait."),
    ] = None
    pause_after_failures: Annotated[
        str | None, Option("--pause-after-failures", metavar="N", help="So many failed jobs in a row.")
    ] = None
    manager: Annotated[
        str | None, Option("--manager", metavar="NAME", help="Who owns it by 'schedules apply'.")
    ] = None

    def ties(self) -> dict[str, Any]:
        """Return the columns of the policy that are named, but for the calendar and the schedule before."""
        values: dict[str, Any] = {
            name: getattr(self, name)
            for name in ("roll", "after_on", "after_mode")
            if getattr(self, name) is not None
        }
        for name in ("group", "concurrency_key", "manager"):
            if (text := getattr(self, name)) is not None:
                values[name] = "" if text == NOTHING else text.strip()
        if self.after_within is not None:
            values["after_within"] = parse_duration(self.after_within, "--after-within")
        if self.pause_after_failures is not None:
            values["pause_after_failures"] = whole(
                self.pause_after_failures, "--pause-after-failures", most=10_000
            )
        return values

    def limit(self) -> dict[str, Any]:
        """Return the columns of the schedule's own limit that are named; None takes one back."""
        values: dict[str, Any] = {}
        if self.max_active is not None:
            values["max_active"] = whole(self.max_active, "--max-active", most=MOST)
        if self.rate is not None:
            values["max_per_second"] = starts_per_second(self.rate)
        return values


def whole(text: str, flag: str, *, least: int = 1, most: int, optional: bool = True) -> int | None:
    """Return the whole number that `text` says; None for the word "none", where that is allowed.

    Raises `Failure` (usage) naming `flag`.
    """
    if optional and text == NOTHING:
        return None
    if not text.isascii() or not text.isdecimal() or not least <= int(text) <= most:
        raise usage(f"{flag} {text!r} is not a whole number from {least} to {most}.")
    return int(text)


def starts_per_second(text: str) -> float | None:
    """Return the rate that --rate says; None for the word "none". Raises `Failure` (usage)."""
    if text == NOTHING:
        return None
    try:
        rate = float(text)
    except ValueError:
        rate = 0.0
    if not 0.0001 <= rate <= 100_000:
        raise usage(f"--rate {text!r} is not a number of starts per second, such as 5 or 0.5.")
    return rate
