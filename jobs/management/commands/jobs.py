"""`manage.py jobs`: what ran, runs, and will run."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Annotated

from typer import Argument, Option

from jobs.cli import views
from jobs.cli.base import GroupCommand, verb
from jobs.cli.durations import parse_duration
from jobs.cli.failures import CONFLICT, Failure, usage
from jobs.cli.instants import parse_instant
from jobs.cli.output import moment
from jobs.cli.selecting import job_with
from jobs.cli.waiting import ended_job, has_ended, until
from jobs.engine import cancelling, replaying
from jobs.engine.clock import database_now
from jobs.insight import documents
from jobs.models import Job, JobLog
from jobs.rules.states import Status

Id = Annotated[
    str, Argument(metavar="ID", help="A job's id, or its first 8 characters or more.", show_default=False)
]


class Command(GroupCommand):
    """Jobs: what ran, what runs, what will run, and what came of it."""

    @verb("list")
    def list_(
        self,
        status: Annotated[list[str] | None, Option("--status", help="One or several, with commas.")] = None,
        queue: Annotated[str | None, Option("--queue", metavar="QUEUE")] = None,
        schedule: Annotated[str | None, Option("--schedule", metavar="NAME")] = None,
        task: Annotated[str | None, Option("--task", metavar="TASK")] = None,
        since: Annotated[
            str | None, Option("--since", metavar="ISO|D", help="Made since then, or so long ago.")
        ] = None,
        limit: Annotated[int, Option("-n", "--limit", min=1, max=100_000)] = 50,
    ) -> None:
        """List jobs, the latest first."""
        given = {
            "status__in": _statuses(status or []),
            "queue": queue,
            "schedule_name": schedule,
            "task": task,
            "created_at__gte": _since(since),
        }
        rows = Job.objects.select_related("worker").filter(
            **{key: value for key, value in given.items() if value}
        )
        found = list(rows.order_by("-created_at", "-id")[: limit + 1])
        self.out.items(documents.job_documents(found[:limit]), views.JOBS, empty="No jobs.")
        if len(found) > limit:
            self.out.note(f"the latest {limit} are shown: --limit shows more")

    @verb()
    def show(self, id_: Id) -> None:
        """Show one job with its attempts and its result."""
        self._show(job_with(id_))

    @verb()
    def logs(
        self,
        id_: Id,
        follow: Annotated[bool, Option("-f", "--follow", help="Go on until the job has ended.")] = False,
    ) -> None:
        """Show what the task logged while the job ran."""
        job = job_with(id_)
        if self.as_json:
            if follow:
                until(lambda: has_ended(job.id), None)
            lines = JobLog.objects.filter(job_id=job.id).order_by("id")
            self.out.document({"items": [documents.log_document(line) for line in lines]})
            return
        printed = self._print_logs(job.id, 0)
        if follow:
            until(self._follower(job.id, printed), None)
        elif not printed:
            self.out.note(f"job {job.id} is {job.status} and has logged nothing")

    @verb()
    def wait(
        self,
        id_: Id,
        timeout: Annotated[str | None, Option("--timeout", metavar="D", help="At most so long.")] = None,
    ) -> None:
        """Wait until a job has ended. Exit 0: completed, 1: not, 6: it took longer than --timeout."""
        seconds = None if timeout is None else parse_duration(timeout, "--timeout", zero=True).total_seconds()
        job = job_with(id_)
        with self.out.waiting(f"waiting for job {job.id}"):
            job, failure = ended_job(job.id, seconds)
        self._show(job)
        if failure is not None:
            raise failure

    @verb()
    def retry(self, id_: Id) -> None:
        """Let a failed job run again, under the same id and with all its attempts."""
        job = job_with(id_)
        if not replaying.replay([job.id]):
            raise Failure(f"Job {job.id} is {job.status}: only a failed job can be retried.", CONFLICT)
        self.out.note(f"job {job.id} runs again")
        self._show(job_with(job.id))

    @verb()
    def cancel(
        self,
        id_: Id,
        kill: Annotated[bool, Option("--kill", help="A running one: at once, without mercy.")] = False,
    ) -> None:
        """Cancel a job that has not started, or ask a running one to stop."""
        job = job_with(id_)
        cancelled, asked = cancelling.cancel([job.id], kill=kill)
        if not cancelled and not asked:
            raise Failure(
                f"Job {job.id} has ended, it is {job_with(job.id).status}: nothing to cancel.", CONFLICT
            )
        self.out.note(f"cancelled {job.id}" if cancelled else f"job {job.id} runs: it is asked to stop")
        self._show(job_with(job.id))

    def _show(self, job: Job) -> None:
        document = documents.job_document(job)
        self.out.item(document, views.job_fields(document))

    def _print_logs(self, job_id: str, after: int) -> int:
        """Print the lines past the one with the id `after`; return the id of the last."""
        for line in JobLog.objects.filter(job_id=job_id, id__gt=after).order_by("id"):
            shown = documents.log_document(line)
            self.out.line(
                f"{moment(shown['logged_at'])} #{shown['attempt']} {shown['level']} {shown['message']}"
            )
            after = line.pk
        self.stdout.flush()
        return after

    def _follower(self, job_id: str, after: int) -> Callable[[], bool]:
        """Return a function that prints what is new and says whether the job has ended."""
        last = after

        def ended() -> bool:
            nonlocal last
            over = has_ended(job_id)  # first: its last lines are stored with its end
            last = self._print_logs(job_id, last)
            return over

        return ended


def _statuses(given: list[str]) -> list[str]:
    wanted = [word.strip() for item in given for word in item.split(",") if word.strip()]
    known = [str(status) for status in Status]
    for word in wanted:
        if word not in known:
            raise usage(f"--status {word!r} is unknown: use {', '.join(known)}.")
    return wanted


def _since(text: str | None) -> datetime | None:
    if text is None:
        return None
    if text[:4].isdecimal() and "-" in text:
        return parse_instant(text, "--since").at
    return database_now() - parse_duration(text, "--since")
