"""`doctor --migrate`: what a move from another scheduler changes, and its schedules as files declare them."""

from __future__ import annotations

from datetime import datetime

from django_celery_beat.models import PeriodicTask

from jobs.cli.failures import FAILED, UNREACHABLE, Failure
from jobs.cli.output import Column, Output
from jobs.insight import translating
from jobs.insight.findings import FAIL, WARN
from jobs.insight.migrating import examine
from jobs.insight.migrating_code import is_cleanup

FINDINGS = (
    Column("AREA", "area"),
    Column("ABOUT", "name"),
    Column("STATUS", "status"),
    Column("WHAT", "sentence"),
    Column("WHAT TO DO", "remedy"),
)


def report(out: Output, now: datetime, years: float) -> None:
    """Print the findings. Raises `Failure` where something would not run."""
    crontabs = PeriodicTask.objects.filter(enabled=True, crontab__isnull=False).count()
    with out.progress("comparing", crontabs) as advance:
        found = examine(now, years=years, advance=advance)
    out.items([one.document() for one in found], FINDINGS, empty="Nothing differs.")
    failing = sum(one.status == FAIL for one in found)
    warning = sum(one.status == WARN for one in found)
    if failing:
        raise Failure(f"{failing} finding(s) are of what would not run, {warning} to be known.", FAILED)
    out.note(f"{len(found)} findings: everything would run, {warning} to be known")


def declare(out: Output) -> None:
    """Print what `schedules apply -f -` takes: schedules that are in the code or in RedBeat, and in no row.

    Raises `Failure` where one cannot be declared, or Redis does not answer; the others are printed first.
    """
    beat = translating.from_redbeat()
    entries = [*translating.from_code(), *(beat or [])]
    cleaning = [one for one in entries if is_cleanup(one)]
    entries = [one for one in entries if one not in cleaning]
    names = [one.name for one in entries]
    stored = set(PeriodicTask.objects.filter(name__in=names).values_list("name", flat=True))
    new = [one for one in entries if one.name not in stored]
    documents = translating.documents(new)
    if out.as_json:
        out.document({"items": documents})
    elif documents:
        from jobs.cli.declaration_files import dump

        out.line(dump(documents))
    for one in cleaning:
        out.note(f"{one.name}: left out, for results are deleted with their jobs")
    for one in new:
        for note in one.notes:
            out.note(f"{one.name}: {note}")
    if stored:
        out.note(f"{len(stored)} are in the database already, and are left out: their rows are what counts")
    if beat is None:
        raise Failure("Redis does not answer: the entries of RedBeat, if any, are not there.", UNREACHABLE)
    left = [one for one in new if one.declaration is None]
    for one in left:
        out.note(f"{one.name}: {one.why}")
    if left:
        raise Failure(f"{len(left)} schedule(s) could not be declared.", FAILED)
    if not documents:
        out.note("nothing to declare: no schedule is in the code or in RedBeat and in no row")
