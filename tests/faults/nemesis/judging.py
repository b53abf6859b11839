"""What is left when everything is healed and at rest, and whether it is what was promised."""

from __future__ import annotations

import itertools
import time
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any

from django_celery_beat.models import PeriodicTask

from jobs.conf import conf
from jobs.engine.clock import database_now
from jobs.models import Attempt, Job, Quarantine, Schedule
from jobs.rules.states import LIVE
from tests.acceptance.line import eventually
from tests.faults.nemesis import load
from tests.faults.nemesis.stage import Stage
from tests.faults.oracle import Oracle

REST_SECONDS = 120.0
"""Within this, after the last fault: lease 6 s, retries up to 8 s, jobs of 9 s, a backlog of some hundred."""
PROBE_SECONDS = 10.0


class Judgement:
    """The violations, and figures of the run."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.oracle = Oracle(stage.notes)
        self.oracle.database_crashes = stage.crashes
        self.violations: list[str] = list(stage.surprises)
        self.figures: dict[str, Any] = {}

    def pass_on(self, through: datetime) -> None:
        """Wait for rest and judge; `through`: when the schedules were stopped."""
        began = time.monotonic()
        self._check(self._at_rest)
        self.figures["rest_s"] = round(time.monotonic() - began, 1)
        self._check(self._probe)
        for check in (
            self.oracle.begins_are_accounted_for,
            self.oracle.one_completion_each,
            self.oracle.no_overlap,
            self._promises_are_kept,
            self._starts_are_counted,
            self._nothing_is_left_on_disk,
        ):
            self._check(check)
        for schedule in self.stage.schedules:
            self._check(lambda schedule=schedule: self._every_occurrence(schedule, through))
        self._count()

    def _check(self, check: Callable[[], Any]) -> None:
        try:
            check()
        except AssertionError as violation:
            self.violations.append(f"{getattr(check, '__name__', '')}: {violation}")

    def _at_rest(self) -> None:
        def rest() -> bool:
            self.stage.tend()
            stale = Schedule.objects.filter(stale=True).exists()
            return not stale and not Job.objects.filter(status__in=LIVE).exists()

        eventually(rest, REST_SECONDS, lambda: f"I2: {self._live()}")

    def _live(self) -> list[tuple[Any, ...]]:
        fields = (
            "id",
            "task",
            "status",
            "attempt",
            "crashes",
            "errors",
            "hold",
            "available_at",
            "published_at",
        )
        return list(Job.objects.filter(status__in=LIVE).values_list(*fields)[:20])

    def _probe(self) -> None:
        """A new job runs at once: nothing is worn out."""
        probe = load.work.delay(str(self.stage.notes)).id
        eventually(
            lambda: Job.objects.filter(id=probe, status="completed").exists(),
            PROBE_SECONDS,
            lambda: "I6: a probe",
        )

    def _every_occurrence(self, schedule: Schedule, through: datetime) -> None:
        assert self.stage.since is not None
        count = self.oracle.every_occurrence_once([schedule], since=self.stage.since, through=through)
        self.figures["occurrences"] = self.figures.get("occurrences", 0) + count

    def _promised(self) -> Iterator[list[str]]:
        for line in self.stage.promises.read_text().splitlines():
            what, *ids = line.split()
            if what == "job":
                yield ids

    def _promises_are_kept(self) -> None:
        """No job of a call that returned is lost, and no step of a chain whose step before was completed."""
        statuses = dict(Job.objects.values_list("id", "status"))
        lost = [ids[0] for ids in self._promised() if ids[0] not in statuses]
        assert not lost, f"{len(lost)} job(s) were lost: {lost[:10]}"
        broken = [
            (before, after)
            for ids in self._promised()
            for before, after in itertools.pairwise(ids)
            if (statuses.get(before) == "completed") != (after in statuses)
        ]
        assert not broken, f"{len(broken)} chain(s) are broken: {broken[:10]}"
        begun = set(self.oracle.begins())
        silent = [
            job_id for job_id, status in statuses.items() if status == "completed" and job_id not in begun
        ]
        assert not silent, f"{len(silent)} job(s) are completed and never began: {silent[:10]}"

    def _starts_are_counted(self) -> None:
        for schedule in Schedule.objects.all():
            started = Job.objects.filter(schedule_id=schedule.pk).exclude(status="skipped").count()
            total = PeriodicTask.objects.get(pk=schedule.pk).total_run_count
            assert schedule.runs == total, f"{schedule}: {schedule.runs} runs, {total} in its task"
            assert schedule.runs >= started, f"{schedule}: {schedule.runs} runs, {started} jobs"

    def _nothing_is_left_on_disk(self) -> None:
        eventually(
            lambda: not list(conf().spool.glob("*.ending")),
            conf().lease.total_seconds() + 10,
            lambda: f"outcomes are left in {conf().spool}",
        )

    def _count(self) -> None:
        jobs = Job.objects.values_list("status", "reason")
        self.figures |= {
            "jobs": len(jobs),
            "begins": sum(self.oracle.begins().values()),
            "ends": Counter(" ".join(filter(None, pair)) for pair in jobs),
            "attempts": Counter(Attempt.objects.values_list("outcome", flat=True)),
            "calls_refused": sum(
                line.startswith("error") for line in self.stage.promises.read_text().splitlines()
            ),
            "quarantined": Quarantine.objects.count(),
            "processes": len(self.stage.line.processes),
            "database_time": database_now().isoformat(timespec="seconds"),
        }
