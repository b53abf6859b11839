"""Finding what a person names: a schedule, a job by its id or the start of it, dead letters."""

from __future__ import annotations

from jobs.cli.failures import NOT_FOUND, Failure, usage
from jobs.insight.dead_letters import Selection
from jobs.insight.documents import WITH_ROWS
from jobs.models import Job, Schedule

SHORTEST_PREFIX = 8


def schedule_named(name: str) -> Schedule:
    """Return the schedule of that name. Raises `Failure` (not found)."""
    try:
        return Schedule.objects.select_related(*WITH_ROWS).get(periodic_task__name=name)
    except Schedule.DoesNotExist as error:
        raise Failure(
            f"There is no schedule named {name!r}: see 'manage.py schedules list'.", NOT_FOUND
        ) from error


def job_with(id_: str) -> Job:
    """Return the job of that id, or of the only id that begins so. Raises `Failure`."""
    jobs = Job.objects.select_related("worker")
    exact = jobs.filter(id=id_).first()
    if exact is not None:
        return exact
    if len(id_) >= SHORTEST_PREFIX:
        found = list(jobs.filter(id__startswith=id_)[:2])
        if len(found) > 1:
            raise usage(f"Several jobs begin with {id_!r}: give more of the id.")
        if found:
            return found[0]
    hint = (
        "" if len(id_) >= SHORTEST_PREFIX else f" (at least {SHORTEST_PREFIX} characters of an id are needed)"
    )
    raise Failure(f"There is no job {id_!r}{hint}: see 'manage.py jobs list'.", NOT_FOUND)


def selection(
    ids: list[str],
    *,
    task: str | None,
    queue: str | None,
    schedule: str | None,
    exception: str | None,
    everything: bool,
) -> Selection:
    """Return which dead letters are meant. Raises `Failure` (usage) unless they are said, once."""
    chosen = Selection(
        ids=tuple(job_with(id_).id for id_ in ids),
        task=task,
        queue=queue,
        schedule=schedule,
        exception=exception,
    )
    if chosen.is_empty and not everything:
        raise usage("Say which: job ids, --task, --queue, --schedule, --exception, or --all.")
    if everything and not chosen.is_empty:
        raise usage("--all means every dead letter: leave it out, or leave the filters out.")
    if chosen.ids and chosen != Selection(ids=chosen.ids):
        raise usage("Give job ids or filters, not both.")
    return chosen
