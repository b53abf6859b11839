"""Cron schedules: what a person may write, and when it is refused (SEMANTICS 2, 3, 4, 5, 7)."""

from dataclasses import dataclass
from typing import Literal, get_args

from jobs.rules import zones
from jobs.rules.cron_days import DayTable, day_table
from jobs.rules.cron_fields import (
    DAY_OF_MONTH,
    HOUR,
    MINUTE,
    MONTH_OF_YEAR,
    CronError,
    expand,
    expand_month_days,
    expand_week_days,
    starts_with_star,
)

__all__ = ["ALIASES", "DST_PRESETS", "CronError", "CronSpec", "parse_expression"]

DayMatch = Literal["and", "vixie"]
MonthEnd = Literal["skip", "clamp"]
Gap = Literal["next_valid", "skip", "shift"]
Fold = Literal["first", "second", "both"]

DST_PRESETS: dict[str, tuple[Gap, Fold]] = {
    "debian": ("next_valid", "first"),
    "aws": ("skip", "first"),
    "temporal": ("skip", "both"),
}
"""What other schedulers do at a change of the clock, as ``(gap, fold)`` (SEMANTICS 7)."""

ALIASES = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
}


@dataclass(frozen=True, slots=True)
class CronSpec:
    """A cron schedule in one time zone.

    The five fields are text in Celery's syntax with the day extensions of SEMANTICS 2. A spec that
    could never fire does not exist: making one raises CronError.
    """

    minute: str = "*"
    hour: str = "*"
    day_of_month: str = "*"
    month_of_year: str = "*"
    day_of_week: str = "*"
    tz: str = "UTC"
    day_match: DayMatch = "and"
    month_end: MonthEnd = "skip"
    gap: Gap = "next_valid"
    fold: Fold = "first"

    def __post_init__(self) -> None:
        check_choice("day match", self.day_match, get_args(DayMatch))
        check_choice("month end", self.month_end, get_args(MonthEnd))
        check_choice("gap", self.gap, get_args(Gap))
        check_choice("fold", self.fold, get_args(Fold))
        check_zone(self.tz)
        expand(MINUTE, self.minute)
        expand(HOUR, self.hour)
        months = expand(MONTH_OF_YEAR, self.month_of_year)
        if not self.day_table().ever(months):
            raise CronError(f"The schedule {self.expression!r} never fires: {self._no_such_day()}.")

    @property
    def expression(self) -> str:
        """The five fields in the order people write them: ``m h dom mon dow``."""
        fields = (self.minute, self.hour, self.day_of_month, self.month_of_year, self.day_of_week)
        return " ".join("".join(field.split()) for field in fields)

    @property
    def is_wildcard(self) -> bool:
        """Whether it matches real instants rather than fixed wall times (SEMANTICS 7)."""
        return starts_with_star(self.minute) or starts_with_star(self.hour)

    def day_table(self) -> DayTable:
        """Return the days the two day fields choose in every shape of month."""
        either = self.day_match == "vixie" and restricts_both_days(self.day_of_month, self.day_of_week)
        return day_table(
            expand_month_days(self.day_of_month),
            expand_week_days(self.day_of_week),
            either=either,
            clamp=self.month_end == "clamp",
        )

    def _no_such_day(self) -> str:
        if starts_with_star(self.day_of_week):
            return f"no month of {self.month_of_year!r} has the {DAY_OF_MONTH.name} {self.day_of_month!r}"
        return f"no day is both {self.day_of_month!r} of the month and {self.day_of_week!r} of the week"


def parse_expression(
    text: str,
    *,
    tz: str = "UTC",
    day_match: str | None = None,
    month_end: str = "skip",
    dst: str | None = None,
) -> CronSpec:
    """Return the spec of a five-field expression ``m h dom mon dow`` or of an ``@daily`` word.

    ``dst`` names one of DST_PRESETS. Raises CronError, also when both day fields are restricted
    and ``day_match`` does not say how they combine (SEMANTICS 3).
    """
    fields = _split(text)
    if day_match is None and restricts_both_days(fields[2], fields[4]):
        raise CronError(
            "The expression restricts both the day of month and the day of week: "
            "choose how they combine with `--day-match and|vixie`."
        )
    check_choice("day match", day_match or "and", get_args(DayMatch))
    check_choice("month end", month_end, get_args(MonthEnd))
    check_choice("dst", dst or "debian", tuple(DST_PRESETS))
    gap, fold = DST_PRESETS[dst or "debian"]
    return CronSpec(
        *fields,
        tz=tz,
        day_match="vixie" if day_match == "vixie" else "and",
        month_end="clamp" if month_end == "clamp" else "skip",
        gap=gap,
        fold=fold,
    )


def restricts_both_days(day_of_month: str, day_of_week: str) -> bool:
    """Return whether ``day_match`` makes a difference: neither day field starts with ``*``."""
    return not starts_with_star(day_of_month) and not starts_with_star(day_of_week)


def check_choice(what: str, value: str, choices: tuple[str, ...]) -> None:
    """Raise CronError unless the value is one of the choices."""
    if value not in choices:
        raise CronError(f"The {what} {value!r} is unknown: use {' or '.join(choices)}.")


def check_zone(tz: str) -> None:
    """Raise CronError unless the name is an IANA time zone (SEMANTICS 6)."""
    try:
        zones.load(tz)
    except zones.UnknownZone as error:
        raise CronError(str(error)) from error


def _split(text: str) -> tuple[str, str, str, str, str]:
    words = text.split()
    if len(words) == 1 and words[0].startswith("@"):
        if words[0].lower() not in ALIASES:
            raise CronError(f"The word {words[0]!r} is unknown: use one of {', '.join(ALIASES)}.")
        words = ALIASES[words[0].lower()].split()
    if len(words) != 5:
        raise CronError(
            f"The expression {text!r} has {len(words)} fields, not the five of "
            "minute, hour, day of month, month, day of week."
        )
    return words[0], words[1], words[2], words[3], words[4]
