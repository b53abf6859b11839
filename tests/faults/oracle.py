"""The judge of every fault: what really happened, compared with what the ledger says.

Tasks append `job id, attempt, pid, monotonic time, begin|end` to an fsynced file outside the system. At rest
these must hold:

I1  every due occurrence has exactly one ledger row;
I2  every job is terminal;
I3  begins <= 1 + recorded crashes, retries and interruptions;
I4  at most one accepted completion;
I5  no two accepted attempts overlap;
I6  lateness within the bound given.
"""

from __future__ import annotations

import itertools
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from jobs.models import Attempt, Job, Schedule
from jobs.rules.states import LIVE
from tests.acceptance.line import eventually

ACCEPTED = ("completed", "ignored")
"""Outcomes of an attempt that completed its job."""
LOST_BEFORE, LOST_AFTER = 1.0, 2.0
"""Seconds around a crash of PostgreSQL in which an attempt may begin whose start is lost with it: starts do not
wait for the disk, and the process has a moment's work in its hands."""


@dataclass(frozen=True, slots=True)
class Note:
    """One line that a task wrote. `at` is CLOCK_MONOTONIC in seconds, which all processes share."""

    job_id: str
    attempt: int
    pid: int
    at: float
    what: str


class Oracle:
    """Reads the notes and the ledger, and judges."""

    def __init__(self, notes: Path) -> None:
        self.notes_file = notes
        self.database_crashes: list[float] = []
        """When PostgreSQL was crashed, by CLOCK_MONOTONIC; what began just then may begin again, unrecorded."""

    def notes(self, what: str | None = None) -> list[Note]:
        """Return what tasks noted so far, oldest first; only `begin` or `end` where asked."""
        text = self.notes_file.read_text() if self.notes_file.exists() else ""
        notes = [
            Note(job, int(attempt), int(pid), float(at), kind)
            for job, attempt, pid, at, kind in (line.split() for line in text.splitlines())
        ]
        return [note for note in notes if what in (None, note.what)]

    def begins(self) -> Counter[str]:
        """Return how often each job began."""
        return Counter(note.job_id for note in self.notes("begin"))

    def wait_until_at_rest(self, seconds: float, why: Any = str) -> None:
        """Wait until every job is terminal (I2); fail with `why()` after `seconds`."""
        eventually(
            lambda: not Job.objects.filter(status__in=LIVE).exists(),
            seconds,
            lambda: f"I2: {self._live()}\n{why()}",
        )

    def _live(self) -> list[tuple[Any, ...]]:
        fields = ("id", "status", "attempt", "crashes", "errors", "hold", "available_at")
        return list(Job.objects.filter(status__in=LIVE).values_list(*fields)[:10])

    def judge(self, *, lateness: timedelta | None = None) -> dict[str, Any]:
        """Assert I2 to I6 over everything there is, and return the figures; I1 is `every_occurrence_once`."""
        assert not self._live(), f"I2: {self._live()}"
        self.begins_are_accounted_for()
        self.one_completion_each()
        self.no_overlap()
        worst = self._worst_lateness()
        if lateness is not None:
            assert worst <= lateness, f"I6: {worst} late, at most {lateness}"
        return {
            "jobs": Job.objects.count(),
            "begins": sum(self.begins().values()),
            "crashes": Attempt.objects.filter(outcome="crash").count(),
            "lateness_s": round(worst.total_seconds(), 3),
        }

    def begins_are_accounted_for(self) -> None:
        """I3, and no attempt begins twice."""
        again = Counter(Attempt.objects.exclude(outcome__in=ACCEPTED).values_list("job_id", flat=True))
        known = set(Job.objects.values_list("id", flat=True))
        notes = self.notes("begin")
        attempts = Counter((note.job_id, note.attempt) for note in notes)
        for note in filter(self._may_be_lost, notes):
            if attempts[note.job_id, note.attempt] > 1:
                attempts[note.job_id, note.attempt] -= 1
        for (job_id, attempt), times in attempts.items():
            assert times == 1, f"I3: attempt {attempt} of {job_id} began {times} times"
        for job_id, begun in Counter(job_id for job_id, _ in attempts).items():
            assert job_id in known, f"I3: {job_id} began and has no row"
            assert begun <= 1 + again[job_id], f"I3: {job_id} began {begun} times, {again[job_id]} recorded"

    def _may_be_lost(self, note: Note) -> bool:
        return any(-LOST_BEFORE <= note.at - crash <= LOST_AFTER for crash in self.database_crashes)

    def one_completion_each(self) -> None:
        """I4."""
        accepted = Counter(Attempt.objects.filter(outcome__in=ACCEPTED).values_list("job_id", flat=True))
        twice = {job_id: n for job_id, n in accepted.items() if n > 1}
        assert not twice, f"I4: {twice}"
        completed = set(Job.objects.filter(status="completed").values_list("id", flat=True))
        assert completed == set(accepted), f"I4: {completed ^ set(accepted)}"

    def no_overlap(self) -> None:
        """I5: by the ledger for all attempts, and by the notes for those that were accepted."""
        attempts = defaultdict(list)
        for attempt in Attempt.objects.order_by("job_id", "started_at"):
            attempts[attempt.job_id].append(attempt)
        for job_id, rows in attempts.items():
            for first, second in itertools.pairwise(rows):
                assert first.finished_at <= second.started_at, f"I5: {job_id} {first} {second}"
        accepted = {(a.job_id, a.number) for rows in attempts.values() for a in rows if a.outcome in ACCEPTED}
        for job_id, spans in self._spans(accepted).items():
            for (_, end, first), (begin, _, second) in itertools.pairwise(sorted(spans)):
                assert end <= begin or first == second, f"I5: {job_id}"

    def _spans(self, accepted: set[tuple[str, int]]) -> dict[str, list[tuple[float, float, int]]]:
        """Begin, end and number of the accepted attempts of each job, in each process that ran them."""
        began: dict[tuple[str, int, int], float] = {}
        spans: dict[str, list[tuple[float, float, int]]] = defaultdict(list)
        for note in self.notes():
            key = (note.job_id, note.attempt, note.pid)
            if note.what == "begin":
                began[key] = note.at
            elif key[:2] in accepted and key in began:
                spans[note.job_id].append((began[key], note.at, note.attempt))
        return spans

    def _worst_lateness(self) -> timedelta:
        """Of first starts, behind the nominal time of a schedule's job or the birth of another."""
        starts = Attempt.objects.filter(number=1).values_list(
            "started_at", "job__scheduled_for", "job__created_at"
        )
        return max((began - (due or born) for began, due, born in starts), default=timedelta(0))

    def every_occurrence_once(
        self, schedules: Iterable[Schedule], *, since: datetime, through: datetime
    ) -> int:
        """Assert I1 for interval schedules with a `start_time`; return how many occurrences there were.

        What is due is computed here from the interval alone: start + k * every, in (since, through].
        """
        total = 0
        for schedule in schedules:
            row = schedule.periodic_task
            assert row.interval is not None
            assert row.start_time is not None
            step = timedelta(**{row.interval.period: row.interval.every})
            due = list(_grid(row.start_time, step, since, through))
            decided = sorted(_decided(schedule, step, since, through))
            assert decided == due, (
                f"I1: {row.name}: missing {sorted(set(due) - set(decided))[:5]}, "
                f"twice or not due {list((Counter(decided) - Counter(due)).elements())[:5]}"
            )
            total += len(due)
        return total


def _grid(start: datetime, step: timedelta, since: datetime, through: datetime) -> Iterator[datetime]:
    first = max(0, (since - start) // step + 1)
    for number in itertools.count(first):
        due = start + number * step
        if due > through:
            return
        if due > since:
            yield due


def _decided(schedule: Schedule, step: timedelta, since: datetime, through: datetime) -> Iterator[datetime]:
    """The nominal times that the ledger knows of; a row that stands for many counts as many."""
    rows = Job.objects.filter(schedule_id=schedule.pk, nonce__isnull=True, scheduled_for__isnull=False)
    for nominal, count in rows.values_list("scheduled_for", "skipped_count"):
        for number in range(count or 1):
            due = nominal + number * step
            if since < due <= through:
                yield due
