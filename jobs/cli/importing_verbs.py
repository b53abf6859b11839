"""`schedules import-crontab` and `import-celery-beat`: coming from other schedulers."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from typer import Argument, Option

from jobs.cli.base import GroupCommand, verb
from jobs.cli.failures import CONFLICT, FAILED, NOT_FOUND, USAGE, Failure, usage
from jobs.cli.output import Column, Document
from jobs.cli.views import shorten

if TYPE_CHECKING:
    from jobs.engine.entries import Entry

LINES = (
    Column("LINE", "line", right=True),
    Column("OUTCOME", "outcome"),
    Column("SCHEDULE", "schedule"),
    Column("CRON", "cron"),
    Column("ZONE", "tz"),
    Column("TASK", "task"),
    Column("TEXT", lambda item: None if item["schedule"] else shorten(item["text"])),
    Column("WHY", "reason"),
)


class ImportingVerbs(GroupCommand):
    """Verbs of `schedules` that read what other schedulers have."""

    @verb("import-crontab")
    def import_crontab(
        self,
        file: Annotated[str, Argument(metavar="FILE", show_default=False, help="- is standard input.")],
        user_column: Annotated[
            bool, Option("--user-column/--no-user-column", "--system", help="As in /etc/crontab.")
        ] = False,
        tz: Annotated[str, Option("--tz", metavar="ZONE", help="The zone of the machine.")] = "UTC",
        prefix: Annotated[str, Option("--prefix", metavar="TEXT", help="Before each name.")] = "",
        task: Annotated[
            str | None, Option("--task", metavar="TASK", help="Runs the commands: it takes `command`.")
        ] = None,
        as_user: Annotated[
            str | None, Option("--as-user", metavar="USER", help="Who the workers run as.")
        ] = None,
        manager: Annotated[str, Option("--manager", metavar="NAME", help="Who owns them.")] = "crontab",
        strict: Annotated[bool, Option("--strict", help="All lines, or none.")] = False,
        dry_run: Annotated[
            bool, Option("--dry-run", help="Only say what would become of each line.")
        ] = False,
    ) -> None:
        """Make schedules of a machine's crontab, and say of every line what became of it. Exit 1 if any is left."""
        from jobs.cli import crontab_import
        from jobs.engine import editing
        from jobs.rules.system_crontab import parse

        editing.check_zone(tz)
        if task is not None:
            editing.check_task(task)
        lines = parse(_text(file), tz=tz, user_column=user_column)
        importer = crontab_import.Importer(task=task, as_user=as_user, prefix=prefix)
        outcomes = importer.outcomes(lines)
        left = sum(item.outcome == crontab_import.UNMAPPED for item in outcomes)
        source = "standard input" if file == "-" else Path(file).name
        wanted = [] if strict and left else crontab_import.entries(outcomes, source=source, manager=manager)
        done = self._applied(wanted, dry_run=dry_run)
        self.out.items(
            [item.document() for item in outcomes if self.as_json or item.outcome != crontab_import.COMMENT],
            LINES,
            empty="The file has no lines that say anything.",
        )
        self.out.note(f"dry run: {done}, nothing was changed" if dry_run else done)
        if left:
            none = " Nothing was changed." if strict else ""
            raise Failure(f"{left} line{'s' * (left != 1)} could not be taken over.{none}", FAILED)

    def _applied(self, entries: Sequence[Entry], *, dry_run: bool) -> str:
        """Make the schedules and return how many became what. Raises `Failure`, with nothing changed."""
        from jobs.engine import applying

        try:
            done = applying.apply(entries, dry_run=dry_run)
        except applying.ApplyError as error:
            for problem in error.problems:
                self.out.note(f"{problem.where}: {problem.sentence}")
            code = CONFLICT if all(problem.conflict for problem in error.problems) else USAGE
            raise Failure("Nothing was changed.", code) from error
        words = ("created", applying.CREATE), ("changed", applying.CHANGE), ("unchanged", applying.UNCHANGED)
        return ", ".join(f"{done.count(action)} {word}" for word, action in words)

    @verb("import-celery-beat")
    def import_celery_beat(
        self,
        names: Annotated[list[str] | None, Argument(metavar="[NAME]...", show_default=False)] = None,
        report: Annotated[bool, Option("--report", help="Only compare; take nothing over.")] = False,
        years: Annotated[float, Option("--years", min=0.01, max=20, help="How far to look.")] = 5,
        limit: Annotated[int, Option("-n", "--limit", min=0, help="Times shown of each; all in JSON.")] = 20,
    ) -> None:
        """Compare rows of django-celery-beat: every instant at which its own scheduler fired otherwise.

        The rows work as they are. Those that came in while triggers were off are taken over now.
        """
        from jobs.engine import syncing
        from jobs.engine.clock import database_now
        from jobs.insight import legacy
        from jobs.insight.declaring import stored

        if not report:
            adopted = syncing.adopt_unseen()
            self.out.note(f"{adopted} taken over now; the others were before")
        rows = list(stored(names or ()))
        found = {str(row) for row in rows}
        for name in names or ():
            if name not in found:
                raise Failure(
                    f"There is no schedule named {name!r}: see 'manage.py schedules list'.", NOT_FOUND
                )
        now = database_now().replace(microsecond=0)
        documents = []
        with self.out.progress("comparing", len(rows)) as advance:
            for row in rows:
                documents.append(legacy.report(row, now=now, years=years).document())
                advance(1)
        if self.as_json:
            self.out.document({"items": documents})
            return
        for document in documents:
            self._show_report(document, limit)
        same = sum(not document["differences"] and not document["notes"] for document in documents)
        self.out.note(f"{len(documents)} compared; {same} fire exactly as before")

    def _show_report(self, document: Document, limit: int) -> None:
        if not document["differences"] and not document["notes"]:
            return
        title = " ".join(filter(None, (document["cron"], document["tz"])))
        counts = [
            f"{document[key]} {words}"
            for key, words in (("moved", "moved"), ("only_before", "only before"), ("only_now", "only now"))
            if document[key]
        ]
        self.out.line(
            f"{document['name']}{f' ({title})' if title else ''}: {', '.join(counts) or 'see below'}"
        )
        for note in document["notes"]:
            self.out.line(f"  {note}")
        for item in document["differences"][:limit]:
            before, here = item["before_local"] or "-", item["now_local"] or "-"
            self.out.line(f"  {before:<25}  ->  {here:<25}  {item['why'] or ''}".rstrip())
        left = len(document["differences"]) - limit
        if left > 0:
            self.out.line(f"  ... and {left} more: -n {len(document['differences'])} shows them")


def _text(file: str) -> str:
    if file == "-":
        return sys.stdin.read()
    try:
        return Path(file).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
        raise usage(f"The file {file!r} cannot be read: {reason}.") from error
