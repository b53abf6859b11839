"""Schedules and the turns of a beat, as the model knows them: every nominal is decided once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from jobs.rules.states import Hold, Reason, Status
from tests.model.life import HOUSEKEEPING, LIVE, RECONCILE, SWEEP, TRUST, Job, Life

EVERY = timedelta(hours=1)
WINDOW = timedelta(hours=24)
MAX_CATCHUP = 3
TASK = "jobs.canary"
QUEUE = "default"


@dataclass
class Schedule:
    """An hourly one that catches up on all it missed, within the window, at most three."""

    pk: int
    overlap: str
    deadline: timedelta | None
    decided_through: datetime
    decided: dict[datetime, str] = field(default_factory=dict)
    """Every nominal and the job that decided it; it is remembered when the row has been pruned."""

    def nominals(self, now: datetime) -> list[datetime]:
        """Return those after the cursor, up to and including now."""
        found, nominal = [], self.decided_through.replace(minute=0, second=0, microsecond=0) + EVERY
        while nominal <= now:
            found.append(nominal)
            nominal += EVERY
        return found

    def claim(self, life: Life, ids: Mapping[datetime, str], now: datetime) -> int:
        """Decide what is due, as the policy says. `ids` are those of the rows that the engine made."""
        due = self.nominals(now)
        if not due:
            return 0
        fire = [nominal for nominal in due if nominal >= now - WINDOW][-MAX_CATCHUP:]
        missed = due[: len(due) - len(fire)]
        self.decided_through = now
        if missed:
            row = self._row(life, ids, missed[0], Status.SKIPPED, reason=Reason.MISSED)
            row.skipped_count = len(missed) if len(missed) > 1 else None
            life.born(row, now)
            self.decided |= dict.fromkeys(missed, row.id)
        stopped: set[str] = set()
        before = [job.id for job in life.jobs.values() if job.schedule == self.pk]
        for nominal in fire:
            row = self._decide(life, ids, nominal)
            life.born(row, now)
            self.decided[nominal] = row.id
            if row.hold == Hold.OVERLAP and self.overlap == "cancel_other":
                stopped |= set(before)
        life.cancel(sorted(stopped), now)
        return 1

    def _decide(self, life: Life, ids: Mapping[datetime, str], nominal: datetime) -> Job:
        live = [job for job in life.of(*LIVE) if job.schedule == self.pk]
        held = sum(job.hold == Hold.OVERLAP for job in live)
        if not live or self.overlap == "allow_all":
            return self._row(life, ids, nominal, Status.WAITING)
        if self.overlap == "skip" or (self.overlap == "buffer_one" and held):
            return self._row(life, ids, nominal, Status.SKIPPED, reason=Reason.OVERLAP)
        return self._row(life, ids, nominal, Status.DELAYED, hold=Hold.OVERLAP)

    def _row(
        self,
        life: Life,
        ids: Mapping[datetime, str],
        nominal: datetime,
        status: Status,
        *,
        reason: str = "",
        hold: str = "",
    ) -> Job:
        assert nominal not in self.decided, f"{nominal} is decided twice"
        assert nominal in ids, f"nothing was decided about {nominal}"
        fires = reason != Reason.MISSED
        return Job(
            id=ids[nominal],
            task=TASK,
            queue=QUEUE,
            status=status,
            available_at=nominal,
            schedule=self.pk,
            scheduled_for=nominal,
            reason=str(reason),
            hold=str(hold),
            deadline_at=nominal + self.deadline if self.deadline is not None and fires else None,
        )


@dataclass
class Beat:
    """What a beat remembers between its turns."""

    connected_at: datetime | None = None
    last: dict[str, datetime] = field(default_factory=dict)
    prunes_on: bool = False

    def turn(
        self,
        life: Life,
        schedules: list[Schedule],
        ids: Mapping[int, Mapping[datetime, str]],
        now: datetime,
    ) -> dict[str, int]:
        """Do everything that is due; return how much of each."""
        self.connected_at = self.connected_at or now
        done = dict.fromkeys(("claimed", "promoted", "rescued", "republished", "pruned"), 0)
        done["claimed"] = sum(schedule.claim(life, ids.get(schedule.pk, {}), now) for schedule in schedules)
        done["promoted"] = life.promote_due(now) + life.release_held(now) + life.release(now)
        if self._is_time("rescue", SWEEP, now) and now - self.connected_at >= TRUST:
            done["rescued"] = life.rescue(now)
        if self._is_time("reconcile", RECONCILE, now):
            done["republished"] = life.reconcile(now)
        self.prunes_on |= self._is_time("housekeeping", HOUSEKEEPING, now)
        if self.prunes_on:
            done["pruned"] = life.prune(now)
            self.prunes_on = done["pruned"] > 0
        return done

    def _is_time(self, verb: str, every: timedelta, now: datetime) -> bool:
        if verb in self.last and now - self.last[verb] < every:
            return False
        self.last[verb] = now
        return True
