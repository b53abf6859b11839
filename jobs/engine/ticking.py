"""One turn of a beat: every verb that is due, and when the next turn is.

The loop around it is dumb. A test calls `tick` with a time of its own; `manage.py beat_tick` does the same.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import NamedTuple

from jobs.conf import conf
from jobs.engine import (
    claiming,
    depending,
    dispatching,
    limiting,
    pausing,
    pruning,
    recovering,
    statements,
    syncing,
)

HOUSEKEEPING = timedelta(seconds=60)
PRUNE_BATCH = 1_000
"""Rows of each kind that one turn deletes: what is left then waits for the next turn, behind what is due."""
ROUNDS = 1_000
"""How many full batches one turn takes before it looks at everything else again."""


@dataclass(slots=True)
class Turn:
    """What one turn did, and when something is due next (None: nothing is known of)."""

    synced: int = 0
    claimed: int = 0
    promoted: int = 0
    triggered: int = 0
    rescued: int = 0
    republished: int = 0
    pruned: int = 0
    next_at: datetime | None = None

    @property
    def is_idle(self) -> bool:
        """Whether nothing was done."""
        done = self.synced + self.claimed + self.promoted + self.triggered + self.rescued + self.republished
        return done + self.pruned == 0


class Work(NamedTuple):
    """What there may be to do. A verb that is called for nothing does nothing, so it may say too much."""

    resumable: bool
    """A pause with an end that has come."""
    stale: bool
    promotable: bool
    held: bool
    """Jobs that something holds back, be it an overlap, a limit or a gate."""
    followers: bool
    """Schedules that run after others."""
    watched: bool
    """Schedules that are paused when their jobs fail."""


# Mostly there is nothing, and to ask each verb costs three round trips. Each part has an index of the few.
_WORK = """
    SELECT EXISTS (SELECT FROM jobs_schedule WHERE paused_until <= %(now)s::timestamptz),
           EXISTS (SELECT FROM jobs_schedule WHERE stale),
           EXISTS (SELECT FROM jobs_job
                   WHERE status = 'delayed' AND hold = '' AND available_at <= %(now)s::timestamptz),
           EXISTS (SELECT FROM jobs_job WHERE status = 'delayed' AND NOT hold = ''),
           EXISTS (SELECT FROM jobs_schedule WHERE after_id IS NOT NULL AND after_mode = 'trigger'),
           EXISTS (SELECT FROM jobs_schedule WHERE pause_after_failures > 0)
"""


def look_around(now: datetime) -> Work:
    """Return what there may be to do at `now`, beside schedules that are due."""
    (found,) = statements.run(_WORK, {"now": now})
    return Work(*found)


@dataclass(slots=True)
class Ticker:
    """Remembers when the slow verbs ran last. `connected_at`: since when the database has answered."""

    connected_at: datetime | None = None
    was_disconnected: bool = False
    last: dict[str, datetime] = field(default_factory=dict)
    to_prune: bool = False
    """Whether there may be more to delete: the next turn goes on with it, at once."""

    def tick(self, now: datetime) -> Turn:
        """Do everything that is due at `now`. Any number of beats may do so at once."""
        self.connected_at = self.connected_at or now
        turn = Turn()
        # First, because their time has come; what was edited is stale, and not among them.
        turn.claimed = _claim(now)
        work = look_around(now)
        if (work.resumable and pausing.resume_due(now)) or work.stale:
            turn.synced = _until_done(lambda: syncing.sync_stale(now), 500)
            turn.claimed += _claim(now)
            work = look_around(now)
        if work.promotable:
            turn.promoted = _until_done(lambda: dispatching.promote_due(now), 500)
        if work.held:
            turn.promoted += dispatching.release_held(now) + limiting.release(now)
            turn.triggered = depending.open_gates(now)
        if work.followers:
            turn.triggered += depending.trigger_due(now)
        if work.watched:
            pausing.pause_failing()
        if self._is_time("rescue", now, conf().sweep) and self._trusts_heartbeats(now):
            turn.rescued = recovering.rescue(now)
        if self._has_heard_workers(now) and self._is_time("reconcile", now, conf().reconcile):
            turn.republished = recovering.reconcile(now)
        if self._is_time("housekeeping", now, HOUSEKEEPING):
            syncing.adopt_unseen()
            self.to_prune = True
        if self.to_prune:
            turn.pruned = pruning.prune(now, batch=PRUNE_BATCH)
            self.to_prune = turn.pruned > 0
        turn.next_at = now if self.to_prune else next_wake()
        return turn

    def disconnected(self) -> None:
        """The database did not answer: nobody could send heartbeats, so silence proves nothing yet."""
        self.connected_at = None
        self.was_disconnected = True

    def _has_heard_workers(self, now: datetime) -> bool:
        """Whether workers have had the time to say what they run, and what they have ended, since an outage.

        A database that crashed may have forgotten starts: such a job waits, and has no message, but it runs.
        """
        return not self.was_disconnected or self._trusts_heartbeats(now)

    def _trusts_heartbeats(self, now: datetime) -> bool:
        return self.connected_at is not None and now - self.connected_at >= conf().heartbeat * 2

    def _is_time(self, verb: str, now: datetime, every: timedelta) -> bool:
        last = self.last.get(verb)
        if last is not None and now - last < every:
            return False
        self.last[verb] = now
        return True


def _claim(now: datetime) -> int:
    return _until_done(lambda: claiming.claim_due(now), claiming.BATCH)


def _until_done(verb: Callable[[], int], batch: int) -> int:
    """Call `verb` until it does less than a full batch; return the sum."""
    total = 0
    for _ in range(ROUNDS):
        done = verb()
        total += done
        if done < batch:
            break
    return total


_NEXT = """
    SELECT LEAST(
        (SELECT next_run_at FROM jobs_schedule WHERE NOT stale AND next_run_at IS NOT NULL
         ORDER BY next_run_at LIMIT 1),
        (SELECT available_at FROM jobs_job WHERE status = 'delayed' AND hold = ''
         ORDER BY available_at LIMIT 1))
"""


def next_wake() -> datetime | None:
    """Return when a schedule or a delayed job is due next, or None."""
    ((at,),) = statements.run(_NEXT, {})
    return at  # type: ignore[no-any-return]
