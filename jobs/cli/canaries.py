"""Jobs that show that the line works: one on each queue, by a schedule that is due now."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from celery import current_app
from django.conf import settings

from jobs.cli.waiting import until
from jobs.engine import cancelling, editing
from jobs.engine.clock import database_now
from jobs.engine.editing import Draft
from jobs.insight.queues import workers_on
from jobs.models import Job, Schedule
from jobs.rules.states import TERMINAL, Status

TASK = "jobs.canary"
SOON = timedelta(milliseconds=500)
"""A schedule whose time has passed when it is stored would be refused."""


@dataclass(slots=True)
class Canary:
    """One canary, and what has become of it."""

    queue: str
    schedule: str
    due: datetime
    job: Job | None = None
    why: str = ""

    @property
    def has_ended(self) -> bool:
        """Whether its job is over, well or not."""
        return self.job is not None and self.job.status in TERMINAL

    @property
    def came_back(self) -> bool:
        """Whether its job has completed."""
        return self.job is not None and self.job.status == Status.COMPLETED

    def document(self) -> dict[str, Any]:
        """Return it as JSON."""
        ended = self.job.finished_at if self.job else None
        return {
            "queue": self.queue,
            "schedule": self.schedule,
            "status": self.job.status if self.job else "scheduled",
            "job": self.job.id if self.job else None,
            "seconds": round((ended - self.due).total_seconds(), 3) if ended and self.came_back else None,
            "why": self.why or None,
        }


def default_queues() -> list[str]:
    """Return the queues of the project: those that it names, or else the one that tasks go to by default."""
    return list(getattr(settings, "QUEUES", ())) or [current_app.conf.task_default_queue]


def release(queues: Sequence[str]) -> list[Canary]:
    """Schedule a canary on each queue, due in a moment; the schedule deletes itself when it has fired."""
    editing.check_task(TASK)  # loads the tasks, which takes a while: before the clock is read
    flock = []
    for queue in dict.fromkeys(queues):
        name = f"jadwal-canary-{queue}-{secrets.token_hex(4)}"
        due = database_now() + SOON
        editing.create(
            Draft(
                name=name,
                task=TASK,
                at=due,
                queue=queue,
                kwargs={"note": queue},
                description="Shows that beat, Redis and a worker of this queue work.",
                policy={"on_complete": "delete", "max_attempts": 1},
            )
        )
        flock.append(Canary(queue, name, due))
    return flock


def watch(flock: Sequence[Canary], timeout: float) -> None:
    """Wait until every job has ended, at most `timeout` seconds; note why one has not completed."""
    by_schedule = {bird.schedule: bird for bird in flock}

    def all_ended() -> bool:
        for job in Job.objects.filter(schedule_name__in=list(by_schedule)):
            by_schedule[job.schedule_name].job = job
        return all(bird.has_ended for bird in flock)

    until(all_ended, timeout)
    now = database_now()
    for bird in flock:
        if not bird.came_back:
            bird.why = _why(bird, now)


def clean_up(flock: Sequence[Canary]) -> None:
    """Leave nothing behind that would run later."""
    waiting = [bird.job.id for bird in flock if bird.job is not None and not bird.has_ended]
    if waiting:
        cancelling.cancel(waiting)
    for schedule in Schedule.objects.filter(
        periodic_task__name__in=[bird.schedule for bird in flock]
    ).select_related("periodic_task"):
        editing.delete(schedule)


def _why(bird: Canary, now: datetime) -> str:
    if bird.job is None:
        return "No beat has taken its schedule: see whether beat runs, 'manage.py status'."
    if bird.has_ended:
        return f"On queue {bird.queue} it is {bird.job.status}: {bird.job.error or bird.job.reason}"
    if bird.job.status == Status.ACTIVE:
        return f"On queue {bird.queue} it still runs."
    if not workers_on(bird.queue, now):
        return f"No worker takes jobs from queue {bird.queue}: see 'manage.py workers list'."
    return f"On queue {bird.queue} it is {bird.job.status}: its workers are busy, or Redis lost its message."
