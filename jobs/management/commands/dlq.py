"""`manage.py dlq`: the dead letters, failed jobs that wait for a decision."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from typer import Argument, Option

from jobs.cli import views
from jobs.cli.base import GroupCommand, YesFlag, verb
from jobs.cli.failures import CONFLICT, NOT_FOUND, Failure
from jobs.cli.output import Document
from jobs.cli.selecting import job_with, selection
from jobs.engine import replaying
from jobs.insight import dead_letters, documents
from jobs.insight.dead_letters import Selection
from jobs.models import Job, JobLog
from jobs.rules.states import Status

CHUNK = 500

Ids = Annotated[list[str] | None, Argument(metavar="[ID]...", help="Ids of failed jobs.", show_default=False)]
Task = Annotated[str | None, Option("--task", metavar="TASK")]
Queue = Annotated[str | None, Option("--queue", metavar="QUEUE")]
ScheduleName = Annotated[str | None, Option("--schedule", metavar="NAME")]
Exception_ = Annotated[str | None, Option("--exception", metavar="TYPE", help="Type of the last error.")]
All = Annotated[bool, Option("--all", help="Every dead letter.")]
By = Literal["exception", "task", "queue", "schedule", "reason"]

Act = Callable[[Sequence[str]], list[str]]


@dataclass(frozen=True, slots=True, kw_only=True)
class WhichFlags:
    """Which dead letters are meant, where they are not named one by one."""

    task: Task = None
    queue: Queue = None
    schedule: ScheduleName = None
    exception: Exception_ = None
    all_: All = False

    def choose(self, ids: list[str] | None) -> Selection:
        """Return the choice. Raises `Failure` (usage) when nothing, or too much, is said."""
        return selection(
            ids or [],
            task=self.task,
            queue=self.queue,
            schedule=self.schedule,
            exception=self.exception,
            everything=self.all_,
        )


class Command(GroupCommand):
    """Dead letters: jobs that failed for good and are kept until somebody replays or discards them."""

    @verb("list")
    def list_(
        self,
        group_by: Annotated[By | None, Option("--group-by", help="Count them by this.")] = None,
        task: Task = None,
        queue: Queue = None,
        schedule: ScheduleName = None,
        exception: Exception_ = None,
        limit: Annotated[int, Option("-n", "--limit", min=1, max=100_000)] = 50,
    ) -> None:
        """List dead letters, the latest first."""
        chosen = Selection(task=task, queue=queue, schedule=schedule, exception=exception)
        if group_by is not None:
            items = dead_letters.groups(chosen, group_by)
            self.out.items(items, views.groups(group_by), empty="No dead letters.")
            return
        found = list(dead_letters.selected(chosen)[: limit + 1])
        self.out.items(_documents(found[:limit]), views.DEAD_LETTERS, empty="No dead letters.")
        if len(found) > limit:
            self.out.note(f"the latest {limit} are shown: --limit shows more, --group-by counts them")

    @verb()
    def show(self, id_: Annotated[str, Argument(metavar="ID", show_default=False)]) -> None:
        """Show a dead letter with every attempt's traceback and what it logged."""
        job = job_with(id_)
        if job.status != Status.FAILED:
            raise Failure(
                f"Job {job.id} is no dead letter, it is {job.status}: see 'manage.py jobs show {job.id}'.",
                NOT_FOUND,
            )
        document = _complete(job)
        tracebacks = [
            f"attempt {item['number']}\n{item['traceback']}"
            for item in document["attempt_history"]
            if item["traceback"]
        ]
        logs = [f"#{line['attempt']} {line['level']} {line['message']}" for line in document["logs"]]
        fields = views.job_fields(document)
        self.out.item(document, {**fields, "tracebacks": "\n".join(tracebacks), "logs": "\n".join(logs)})

    @verb(flags=WhichFlags)
    def replay(self, flags: WhichFlags, ids: Ids = None, yes: YesFlag = False) -> None:
        """Let failed jobs run again, under their ids and with all their attempts."""
        self._apply(flags.choose(ids), replaying.replay, "replayed", yes=yes)

    @verb(flags=WhichFlags)
    def discard(self, flags: WhichFlags, ids: Ids = None, yes: YesFlag = False) -> None:
        """Decide that failed jobs need not run. Their history stays."""
        self._apply(flags.choose(ids), replaying.discard, "discarded", yes=yes)

    @verb()
    def export(
        self,
        task: Task = None,
        queue: Queue = None,
        schedule: ScheduleName = None,
        exception: Exception_ = None,
        output: Annotated[
            Path | None, Option("--output", "-o", metavar="FILE", help="Instead of stdout.")
        ] = None,
    ) -> None:
        """Write dead letters, payloads and tracebacks included, as one JSON document."""
        chosen = Selection(task=task, queue=queue, schedule=schedule, exception=exception)
        jobs = dead_letters.selected(chosen).select_related("worker")
        with self.out.progress("exporting", jobs.count()) as done:
            items = []
            for job in jobs.iterator(chunk_size=CHUNK):
                items.append(_complete(job))
                done(1)
        if output is None:
            self.out.document({"items": items})
            return
        try:
            output.write_text(json.dumps({"items": items}, indent=2) + "\n", encoding="utf-8")
        except OSError as error:
            raise Failure(f"{output} cannot be written: {error.strerror}.") from error
        self.out.note(f"wrote {len(items)} dead letters to {output}")

    def _apply(self, chosen: Selection, act: Act, done: str, *, yes: bool) -> None:
        """Count, ask, act, and say what was done. One named job that is not failed is a conflict."""
        ids = list(dead_letters.selected(chosen).values_list("id", flat=True))
        if chosen.ids and len(ids) < len(chosen.ids):
            other = next(id_ for id_ in chosen.ids if id_ not in ids)
            raise Failure(
                f"Job {other} is {job_with(other).status}, not failed: nothing was {done}.", CONFLICT
            )
        what = "1 dead letter" if len(ids) == 1 else f"{len(ids)} dead letters"
        self.out.note(f"{what} selected")
        if ids and not chosen.ids:
            self.confirmed(f"{what} will be {done}.", yes=yes)
        moved: list[str] = []
        with self.out.progress(done, len(ids)) as advance:
            for start in range(0, len(ids), CHUNK):
                moved += act(ids[start : start + CHUNK])
                advance(CHUNK)
        if self.as_json:
            self.out.document({"selected": len(ids), done: len(moved), "ids": moved})
        else:
            self.out.line(f"{done} {len(moved)} of {len(ids)}")


def _documents(jobs: Sequence[Job]) -> list[Document]:
    kinds = {job.id: getattr(job, "exception", None) for job in jobs}
    return [{**item, "exception": kinds[item["id"]]} for item in documents.job_documents(jobs)]


def _complete(job: Job) -> Document:
    """Return a job with its tracebacks and its log."""
    document = documents.job_document(job)
    tracebacks = dict(job.attempts.values_list("number", "traceback"))
    for item in document["attempt_history"]:
        item["traceback"] = tracebacks.get(item["number"]) or None
    lines = JobLog.objects.filter(job_id=job.id).order_by("id")
    return {**document, "logs": [documents.log_document(line) for line in lines]}
