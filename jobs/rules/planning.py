"""Deciding the nominals that are due, and foretelling those to come (SEMANTICS 11-18, 22).

Beat, preview, explain and backfill share these functions, so what is foretold is what happens.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal, get_args

from jobs.rules import blackouts as blackout_windows
from jobs.rules import jitter, timing, zones
from jobs.rules.blackouts import Blackout
from jobs.rules.calendars import ROLLS, Calendar, Roll
from jobs.rules.catch_up import ON_TIME_GRACE, CatchUp, Choice, Span, choose
from jobs.rules.nominal import Nominal
from jobs.rules.rolling import Rolled
from jobs.rules.streams import TICK, Filtered, Raw, Stream
from jobs.rules.timing import TimingSpec

__all__ = [
    "ON_TIME_GRACE",
    "Firing",
    "FiringPolicy",
    "Plan",
    "Preview",
    "SkipReason",
    "Skipped",
    "plan",
    "preview",
]

SkipReason = Literal["missed", "excluded", "blackout", "paused"]


@dataclass(frozen=True, slots=True)
class FiringPolicy:
    """How the nominals of a schedule become runs.

    ``start`` and ``end`` are inclusive on the nominal; ``max_runs`` counts firings. Raises
    ValueError for a policy that could not be followed.
    """

    catch_up: CatchUp = "latest"
    catchup_window: timedelta = timedelta(hours=24)
    max_catchup: int = 100
    start: datetime | None = None
    end: datetime | None = None
    max_runs: int | None = None
    jitter: timedelta = timedelta(0)
    calendar: Calendar | None = None
    roll: Roll = "skip"
    blackouts: tuple[Blackout, ...] = ()

    def __post_init__(self) -> None:
        if self.catch_up not in get_args(CatchUp):
            choices = " or ".join(get_args(CatchUp))
            raise ValueError(f"The catch-up {self.catch_up!r} is unknown: use {choices}.")
        if self.roll not in ROLLS:
            raise ValueError(f"The roll {self.roll!r} is unknown: use {' or '.join(ROLLS)}.")
        if self.max_catchup < 1:
            raise ValueError("max_catchup must be 1 or more; catch-up none runs nothing late.")
        if self.jitter < timedelta(0) or self.catchup_window < timedelta(0):
            raise ValueError("The jitter and the catch-up window must not be negative.")
        for bound in (self.start, self.end):
            if bound is not None and bound.tzinfo is None:
                raise ValueError(f"The bound {bound.isoformat()} has no time zone.")


@dataclass(frozen=True, slots=True)
class Firing:
    """A nominal that becomes a run: its identity, and when it may start."""

    scheduled_for: datetime
    runs_at: datetime
    note: str | None = None


@dataclass(frozen=True, slots=True)
class Skipped:
    """Nominals that do not run, for one reason: one ledger row, however many they are."""

    reason: SkipReason
    first: datetime
    last: datetime
    count: int


@dataclass(frozen=True, slots=True)
class Plan:
    """What is decided: every nominal up to ``cursor``; look again at ``next_nominal``."""

    fire: tuple[Firing, ...]
    skipped: tuple[Skipped, ...]
    cursor: datetime
    next_nominal: datetime | None


@dataclass(frozen=True, slots=True)
class Preview:
    """One nominal to come, as a person reads it."""

    scheduled_for: datetime
    local: datetime
    runs_at: datetime
    note: str | None = None
    skipped: str | None = None


@dataclass(frozen=True, slots=True)
class _Streams:
    """The nominals of a schedule by what becomes of them."""

    due: Stream
    excluded: Stream | None = None
    blackout: Stream | None = None


def plan(
    key: str,
    spec: TimingSpec,
    policy: FiringPolicy,
    *,
    cursor: datetime,
    now: datetime,
    runs: int = 0,
    paused: bool = False,
) -> Plan:
    """Decide every nominal in ``(cursor, now]``.

    ``key`` names the schedule for its jitter; ``runs`` were started before. Nominals that pass
    while ``paused`` are skipped as such. The same arguments give the same plan, on any node.
    """
    now = max(now, cursor)
    after = cursor if policy.start is None else max(cursor, policy.start - TICK)
    until = now if policy.end is None else min(now, policy.end)
    budget = None if policy.max_runs is None else policy.max_runs - runs
    if budget is not None and budget <= 0:
        return Plan((), (), now, None)
    if paused:
        streams = _Streams(Raw(spec))
        chosen = Choice((), _span(streams.due, after, until))
    else:
        streams = _streams(spec, policy)
        chosen = _choose(streams.due, policy, after, until, now)
    if budget is not None and len(chosen.fire) >= budget:
        return _last_plan(key, spec, policy, streams, chosen.fire[:budget], after, now)
    skipped = _skipped(streams, chosen.missed, after, until, paused=paused)
    upcoming = _within(streams.due.next_after(max(after, now)), policy)
    fire = tuple(_firing(key, spec, policy, nominal) for nominal in chosen.fire)
    return Plan(fire, skipped, now, upcoming.at if upcoming else None)


def preview(
    key: str,
    spec: TimingSpec,
    policy: FiringPolicy,
    *,
    after: datetime,
    limit: int,
    until: datetime | None = None,
    include_skipped: bool = False,
    runs: int = 0,
) -> list[Preview]:
    """Return the nominals of ``(after, until]`` as they will run, at most ``limit``.

    With ``include_skipped`` those that a calendar or a blackout suppresses are listed too.
    """
    if policy.start is not None:
        after = max(after, policy.start - TICK)
    ends = [end for end in (policy.end, until) if end is not None]
    streams = _streams(spec, policy)
    found: list[Preview] = []
    started = runs
    for nominal, reason in _labelled(streams, after, include_skipped=include_skipped):
        if len(found) >= limit or any(nominal.at > end for end in ends):
            break
        if policy.max_runs is not None and started >= policy.max_runs:
            break
        started += reason is None
        found.append(_preview(key, spec, policy, nominal, reason))
    return found


def _choose(due: Stream, policy: FiringPolicy, after: datetime, until: datetime, now: datetime) -> Choice:
    """Choose what fires; the usual case, one nominal and on time, takes the short way."""
    first = due.next_after(after)
    if first is None or first.at > until:
        return Choice((), None)
    if now - first.at <= ON_TIME_GRACE:
        second = due.next_after(first.at)
        if second is None or second.at > until:
            return Choice((first,), None)
    return choose(
        due,
        after,
        until,
        now=now,
        mode=policy.catch_up,
        window=policy.catchup_window,
        limit=policy.max_catchup,
    )


def _last_plan(
    key: str,
    spec: TimingSpec,
    policy: FiringPolicy,
    streams: _Streams,
    fire: tuple[Nominal, ...],
    after: datetime,
    now: datetime,
) -> Plan:
    """Return the plan that uses up ``max_runs``: after its last firing there are no nominals."""
    until = fire[-1].at
    missed = _span(streams.due, after, until)
    if missed is not None and missed.count == len(fire):
        missed = None
    elif missed is not None:
        before = streams.due.prev_before(fire[0].at)
        last = before.at if before is not None else missed.first
        missed = Span(missed.first, last, missed.count - len(fire))
    skipped = _skipped(streams, missed, after, until, paused=False)
    return Plan(tuple(_firing(key, spec, policy, item) for item in fire), skipped, now, None)


def _streams(spec: TimingSpec, policy: FiringPolicy) -> _Streams:
    raw = Raw(spec)
    if policy.calendar is None and not policy.blackouts:
        return _Streams(raw)
    tz = timing.zone_name(spec)
    due: Stream = raw
    excluded = blackout = None
    if policy.calendar is not None:
        gates = (policy.calendar,)
        excluded = Filtered(raw, gates, tz, inverted=True)
        due = Filtered(raw, gates, tz)
        if policy.roll != "skip":
            due = Rolled(spec, policy.calendar, policy.roll, policy.calendar.tz or tz)
    dropping = tuple(window for window in policy.blackouts if window.mode == "skip")
    if dropping:
        blackout = Filtered(due, dropping, tz, inverted=True)
        due = Filtered(due, dropping, tz)
    return _Streams(due, excluded, blackout)


def _skipped(
    streams: _Streams, missed: Span | None, after: datetime, until: datetime, *, paused: bool
) -> tuple[Skipped, ...]:
    spans: list[tuple[SkipReason, Span | None]] = [("paused" if paused else "missed", missed)]
    if streams.excluded is not None:
        spans.append(("excluded", _span(streams.excluded, after, until)))
    if streams.blackout is not None:
        spans.append(("blackout", _span(streams.blackout, after, until)))
    return tuple(
        Skipped(reason, span.first, span.last, span.count) for reason, span in spans if span is not None
    )


def _span(stream: Stream, after: datetime, until: datetime) -> Span | None:
    """Return the nominals of ``(after, until]`` as one span."""
    first = stream.next_after(after)
    last = stream.prev_before(until + TICK)
    if first is None or last is None or first.at > until:
        return None
    return Span(first.at, last.at, stream.count(after, until))


def _within(nominal: Nominal | None, policy: FiringPolicy) -> Nominal | None:
    ended = nominal is not None and policy.end is not None and nominal.at > policy.end
    return None if ended else nominal


def _firing(key: str, spec: TimingSpec, policy: FiringPolicy, nominal: Nominal) -> Firing:
    return Firing(nominal.at, _runs_at(key, spec, policy, nominal.at), nominal.note)


def _runs_at(key: str, spec: TimingSpec, policy: FiringPolicy, nominal: datetime) -> datetime:
    """Return when a nominal may start: out of every blackout, then spread by the jitter.

    Jitter never carries a start into a blackout: there it starts at once, or when a blackout that
    defers is over.
    """
    if not policy.jitter and not policy.blackouts:
        return nominal
    tz = timing.zone_name(spec)
    start = blackout_windows.end_of(policy.blackouts, nominal, tz) or nominal
    spread = start + jitter.offset(key, nominal, _jitter_window(spec, policy.jitter, nominal))
    hit = blackout_windows.covering(policy.blackouts, spread, tz)
    if hit is None:
        return spread
    if hit.mode == "skip":
        return start
    return blackout_windows.end_of(policy.blackouts, spread, tz) or start


def _jitter_window(spec: TimingSpec, wanted: timedelta, nominal: datetime) -> timedelta:
    """Return the jitter, cut where it would reach the next nominal (SEMANTICS 12)."""
    if not wanted:
        return wanted
    following = timing.next_after(spec, nominal)
    return wanted if following is None else min(wanted, following.at - nominal)


def _labelled(
    streams: _Streams, after: datetime, *, include_skipped: bool
) -> Iterator[tuple[Nominal, str | None]]:
    """Yield nominals in order of time with the reason why they will not run."""
    heads: list[tuple[Stream, str | None]] = [(streams.due, None)]
    if include_skipped and streams.excluded is not None:
        heads.append((streams.excluded, "excluded"))
    if include_skipped and streams.blackout is not None:
        heads.append((streams.blackout, "blackout"))
    waiting = [(stream.next_after(after), stream, reason) for stream, reason in heads]
    while True:
        ready = [(head.at, i) for i, (head, _, _) in enumerate(waiting) if head is not None]
        if not ready:
            return
        index = min(ready)[1]
        nominal, stream, reason = waiting[index]
        assert nominal is not None
        yield nominal, reason
        waiting[index] = (stream.next_after(nominal.at), stream, reason)


def _preview(
    key: str, spec: TimingSpec, policy: FiringPolicy, nominal: Nominal, reason: str | None
) -> Preview:
    local = nominal.at.astimezone(zones.load(timing.zone_name(spec)))
    runs_at = nominal.at if reason else _runs_at(key, spec, policy, nominal.at)
    return Preview(nominal.at, local, runs_at, nominal.note, reason)
