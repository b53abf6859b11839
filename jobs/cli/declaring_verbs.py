"""`schedules export`, `apply`, `validate`, `diff`: schedules that files declare."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal

from typer import Argument, Option

from jobs.cli.base import GroupCommand, YesFlag, verb
from jobs.cli.failures import CONFLICT, DRIFT, FAILED, NOT_FOUND, USAGE, Failure, usage
from jobs.cli.output import Column, text_of
from jobs.cli.schedule_flags import ScheduleFlags

if TYPE_CHECKING:
    from jobs.cli.declaration_files import Declared
    from jobs.engine.applying import Applied, Change
    from jobs.engine.entries import Problem

Names = Annotated[list[str] | None, Argument(metavar="[NAME]...", show_default=False)]
FilesFlag = Annotated[
    list[str] | None,
    Option("-f", "--file", metavar="FILE|DIR", help="YAML or JSON; - is standard input. May be repeated."),
]
ManagerFlag = Annotated[
    str | None, Option("--manager", metavar="NAME", help="Who owns the schedules of the files.")
]

PROBLEMS = (Column("WHERE", "where"), Column("PROBLEM", "problem"))


class DeclaringVerbs(GroupCommand):
    """Verbs of `schedules` that read and write files."""

    @verb()
    def export(
        self,
        names: Names = None,
        manager: Annotated[str | None, Option("--manager", metavar="NAME", help="Only what it owns.")] = None,
        format_: Annotated[Literal["yaml", "json"], Option("--format", help="How it is written.")] = "yaml",
    ) -> None:
        """Write schedules as files declare them: only what differs from the defaults."""
        from jobs.insight import declaring

        rows = list(declaring.stored(names or (), manager))
        _all_found(names or (), [str(row) for row in rows])
        documents = declaring.documents(rows)
        if self.as_json or format_ == "json":
            self.out.document({"items": documents})
        else:
            from jobs.cli.declaration_files import dump

            self.out.line(dump(documents))

    @verb()
    def apply(
        self,
        files: FilesFlag = None,
        manager: ManagerFlag = None,
        adopt: Annotated[bool, Option("--adopt", help="Take over what others own.")] = False,
        prune: Annotated[
            bool, Option("--prune", help="Delete what the manager owns and no file names.")
        ] = False,
        dry_run: Annotated[bool, Option("--dry-run", help="Show it; exit 8 if anything differs.")] = False,
        yes: YesFlag = False,
    ) -> None:
        """Make the stored schedules what files declare: what they do not name is the default. All or nothing."""
        from jobs.engine import applying

        declared = self._declared(files, manager)
        if prune and not declared.managers:
            raise usage("--prune needs to know whose schedules: name a --manager.")
        pruned = declared.managers if prune else set()
        sparing = None
        try:
            if pruned and not dry_run:
                plan = applying.apply(declared.entries, adopt=adopt, prune=pruned, dry_run=True)
                sparing = [change.name for change in plan.changes if change.action == applying.DELETE]
                if sparing:
                    self.confirmed(_doomed(sparing), yes=yes)
            done = applying.apply(
                declared.entries, adopt=adopt, prune=pruned, sparing=sparing, dry_run=dry_run
            )
        except applying.ApplyError as error:
            raise self._refused(error.problems) from error
        self._show_applied(done, dry_run=dry_run)
        if dry_run and done.differs:
            raise Failure("", DRIFT)

    @verb()
    def validate(self, names: Names = None, files: FilesFlag = None, manager: ManagerFlag = None) -> None:
        """Check files (-f, without the database), or the stored schedules. Changes nothing."""
        if files and names:
            raise usage("Give files with -f, or names of stored schedules, not both.")
        if not files:
            self._validate_stored(names or ())
            return
        from jobs.cli.declaration_files import read_files
        from jobs.engine.entries import check

        declared = read_files(files, manager)
        problems = [*declared.problems, *check(declared.entries)]
        self._show_problems([(item.where, item.sentence) for item in problems])
        self._advise((entry.declaration.name, dict(entry.declaration.settings)) for entry in declared.entries)
        if problems:
            raise Failure(f"{_count(len(problems), 'problem')} in the files.", USAGE)
        self._advise((entry.declaration.name, dict(entry.declaration.settings)) for entry in declared.entries)
        self.out.note(f"{_count(len(declared.entries), 'schedule')} declared, no problems.")

    @verb(flags=ScheduleFlags)
    def diff(
        self,
        flags: ScheduleFlags,
        name: Annotated[str | None, Argument(metavar="[NAME]", show_default=False)] = None,
        files: FilesFlag = None,
        prune: Annotated[bool, Option("--prune", help="With -f: as apply --prune would do.")] = False,
        tzdata: Annotated[
            str | None, Option("--tzdata", metavar="DIR", help="Compare with the zones in this folder.")
        ] = None,
        days: Annotated[int, Option("--days", min=1, max=3_660, help="So many days from now.")] = 90,
        limit: Annotated[int, Option("-n", "--limit", min=0, help="Fire times shown of each schedule.")] = 10,
    ) -> None:
        """Show what a change does to fire times, and change nothing: of files (-f), or of the flags of update.

        Exit 8 if any fire time differs.
        """
        from jobs.cli import diffs
        from jobs.engine.applying import ApplyError

        asked = diffs.Asked(name=name, files=files or [], prune=prune, tzdata=tzdata, days=days, flags=flags)
        diffs.check(asked)
        if files:
            declared = self._declared(files, flags.manager)
            try:
                found = diffs.of_files(self.out, asked, declared.entries, declared.managers)
            except ApplyError as error:
                raise self._refused(error.problems) from error
        else:
            found = diffs.of_zone_data(self.out, asked) if tzdata else diffs.of_flags(asked)
        diffs.show(self.out, found, limit)
        if found:
            raise Failure("", DRIFT)

    def _validate_stored(self, names: Sequence[str]) -> None:
        from jobs.insight import declaring

        rows = list(declaring.stored(names))
        _all_found(names, [str(row) for row in rows])
        found = [(str(row), sentence) for row in rows for sentence in declaring.problems_of(row)]
        self._show_problems(found)
        self._advise((str(row), declaring.payload_of(row)) for row in rows)
        if found:
            raise Failure(f"{_count(len({where for where, _ in found}), 'schedule')} cannot work.", FAILED)
        self.out.note(f"{_count(len(rows), 'schedule')} stored, no problems.")

    def _advise(self, payloads: Iterable[tuple[str, dict[str, Any]]]) -> None:
        """Say which secrets are written out. They work, so that is no problem; but they are not safe."""
        from jobs.insight.secret_use import advice

        for sentence in advice(payloads):
            self.out.note(sentence)

    def _show_problems(self, found: Sequence[tuple[str, str]]) -> None:
        self.out.items([{"where": where, "problem": sentence} for where, sentence in found], PROBLEMS)

    def _declared(self, files: list[str] | None, manager: str | None) -> Declared:
        """Read the files. Raises `Failure` with everything that is wrong, checks without a database included."""
        from jobs.cli.declaration_files import read_files
        from jobs.engine.entries import check

        if not files:
            raise usage("Say which files: -f FILE, -f FOLDER, or -f - for standard input.")
        declared = read_files(files, manager)
        if declared.problems:
            raise self._refused([*declared.problems, *check(declared.entries)])
        return declared

    def _refused(self, problems: Sequence[Problem]) -> Failure:
        """Say every problem and return the failure. Who owns what is a conflict; the rest is usage."""
        code = CONFLICT if all(item.conflict for item in problems) else USAGE
        if len(problems) == 1:
            return Failure(f"{problems[0].where}: {problems[0].sentence} Nothing was changed.", code)
        for item in problems:
            self.out.note(f"{item.where}: {item.sentence}")
        return Failure(f"{len(problems)} problems: nothing was changed.", code)

    def _show_applied(self, done: Applied, *, dry_run: bool) -> None:
        from jobs.engine import applying

        for note in done.notes:
            self.out.note(note)
        counts = {
            "created": done.count(applying.CREATE),
            "changed": done.count(applying.CHANGE),
            "deleted": done.count(applying.DELETE),
            "unchanged": done.count(applying.UNCHANGED),
        }
        if self.as_json:
            items = [
                {"name": item.name, "action": item.action, "changes": item.changes} for item in done.changes
            ]
            self.out.document({"items": items, **counts, "dry_run": dry_run})
            return
        for item in done.changes:
            if item.action != applying.UNCHANGED:
                self.out.line(_change_line(item))
        self.out.line(", ".join(f"{number} {word}" for word, number in counts.items()))
        if dry_run:
            self.out.note("dry run: nothing was changed")


def _change_line(item: Change) -> str:
    def shown(pair: list[Any]) -> str:
        old, new = (text_of(value) or "none" for value in pair)
        return new if item.action == "create" else f"{old} -> {new}"

    parts = [f"{key} {shown(pair)}" for key, pair in item.changes.items()]
    return f"{item.action:<7} {item.name}" + (f": {'; '.join(parts)}" if parts else "")


def _doomed(names: Sequence[str]) -> str:
    listed = ", ".join(repr(name) for name in names[:5]) + (" ..." if len(names) > 5 else "")
    return f"This deletes {_count(len(names), 'schedule')} that no file names: {listed}."


def _all_found(names: Sequence[str], found: Sequence[str]) -> None:
    missing = [name for name in names if name not in found]
    if missing:
        raise Failure(
            f"There is no schedule named {missing[0]!r}: see 'manage.py schedules list'.", NOT_FOUND
        )


def _count(number: int, what: str) -> str:
    return f"{number} {what}" + ("" if number == 1 else "s")
