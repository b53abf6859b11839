"""Which of the nominals that are due still fire (SEMANTICS 15, the misfire policy)."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from jobs.rules.nominal import Nominal
from jobs.rules.streams import TICK, Stream

CatchUp = Literal["latest", "earliest", "all", "none"]

ON_TIME_GRACE = timedelta(seconds=10)
"""A nominal this little late is on time, not a misfire: beat's tick is not an outage."""


@dataclass(frozen=True, slots=True)
class Span:
    """Many nominals in one row: the first, the last and how many there are."""

    first: datetime
    last: datetime
    count: int


@dataclass(frozen=True, slots=True)
class Choice:
    """What fires, in order of time, and what was missed."""

    fire: tuple[Nominal, ...]
    missed: Span | None


def choose(
    due: Stream,
    after: datetime,
    until: datetime,
    *,
    now: datetime,
    mode: CatchUp,
    window: timedelta,
    limit: int,
) -> Choice:
    """Choose among the nominals of ``(after, until]``, decided at ``now``.

    A batch that is on time as a whole is no misfire and fires whole. Otherwise `latest` and
    `earliest` keep one, `all` the ``limit`` most recent, `none` only those on time; nothing
    older than ``window`` is kept.
    """
    first = due.next_after(after)
    if first is None or first.at > until:
        return Choice((), None)
    if now - first.at <= ON_TIME_GRACE:
        return _with_missed(due, after, until, first, _last_of(due, after, until, limit))
    since = max(after, now - window - TICK)
    if mode == "none":
        since = max(since, now - ON_TIME_GRACE - TICK)
        fire = _last_of(due, since, until, limit)
    elif mode == "all":
        fire = _last_of(due, since, until, limit)
    elif mode == "latest":
        fire = _last_of(due, since, until, 1)
    else:
        earliest = due.next_after(since)
        fire = (earliest,) if earliest is not None and earliest.at <= until else ()
    return _with_missed(due, after, until, first, fire)


def _last_of(due: Stream, after: datetime, until: datetime, limit: int) -> tuple[Nominal, ...]:
    """Return the last nominals of ``(after, until]``, at most ``limit``, in order of time."""
    found: list[Nominal] = []
    nominal = due.prev_before(until + TICK)
    while nominal is not None and nominal.at > after and len(found) < limit:
        found.append(nominal)
        nominal = due.prev_before(nominal.at)
    return tuple(reversed(found))


def _with_missed(
    due: Stream, after: datetime, until: datetime, first: Nominal, fire: tuple[Nominal, ...]
) -> Choice:
    """Return the choice with its complement: one span, however many were missed."""
    count = due.count(after, until) - len(fire)
    if count <= 0:
        return Choice(fire, None)
    fired = {nominal.at for nominal in fire}
    low: Nominal | None = first
    while low is not None and low.at in fired:
        low = due.next_after(low.at)
    high = due.prev_before(until + TICK)
    while high is not None and high.at in fired:
        high = due.prev_before(high.at)
    assert low is not None
    assert high is not None
    return Choice(fire, Span(low.at, high.at, count))
