"""The base of every noun of the command line, and what makes a method one of its verbs."""

from __future__ import annotations

import inspect
import os
import pwd
import sys
import traceback as tracebacks
from collections.abc import Callable
from dataclasses import fields
from functools import wraps
from typing import Annotated, Any, ClassVar, NoReturn, get_type_hints

import typer
from django_typer.management import DTGroup, TyperCommand, command, initialize
from typer import Option

from jobs.cli.failures import FAILED, INTERRUPTED, OK, Failure, explain, usage
from jobs.cli.output import Output
from jobs.engine import auditing
from jobs.engine.auditing import Actor

JsonFlag = Annotated[bool, Option("--json", help="One JSON document on standard output.")]
TracebackFlag = Annotated[bool, Option("--traceback", help="Show where an error came from.", hidden=True)]
YesFlag = Annotated[bool, Option("--yes", "-y", help="Do not ask.")]

_SHARED = {"json": JsonFlag, "show_traceback": TracebackFlag}
"""Flags of every verb. Their names differ from those before the verb, which would hide them."""


def operator() -> Actor:
    """Return who is at the command line: the account that the process runs as.

    Not what the environment says: anybody may set that.
    """
    try:
        name = pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        name = str(os.getuid())  # an account of a container has no name
    return Actor(f"cli:{name}")


class NounCommand(TyperCommand):
    """A command whose errors are one line and an exit code of the contract.

    System checks are left to `manage.py check`: they cost more than most verbs take.
    """

    requires_system_checks: ClassVar[list[str]] = []  # type: ignore[misc]
    suppressed_base_arguments: ClassVar[set[str]] = {"--version", "--verbosity", "--skip-checks"}  # type: ignore[misc]

    as_json = False
    by_a_person: ClassVar[bool] = True
    """Whether what it changes is somebody's act; else it does what the scheduler would have done."""

    @property
    def out(self) -> Output:
        """Where this command writes."""
        return Output(self.stdout, self.stderr, as_json=self.as_json, colour=not self.no_color)

    def begin(self, *, json: bool, traceback: bool) -> None:
        """Take note of the flags that every verb has."""
        self.as_json = self.as_json or json
        if traceback:
            self._traceback = True

    def confirmed(self, question: str, *, yes: bool) -> None:
        """Ask before something is lost. Raises `Failure`: said no, or nobody is there to ask."""
        if yes:
            return
        if not (sys.stdin.isatty() and self.stderr.isatty()):
            raise usage(f"{question} There is no terminal to ask on: add --yes to confirm.")
        if not self.out.confirm(question):
            raise Failure("Nothing was changed.", FAILED)

    def __exit__(self, kind: Any, error: Any, trace: Any) -> Any:
        """Turn what ended the command into one line and an exit code; from Python into `CommandError`."""
        super().__exit__(None, None, None)  # type: ignore[no-untyped-call]
        if error is None or isinstance(error, SystemExit):
            return None
        if isinstance(error, typer.Exit) and error.exit_code == OK:
            return True
        failure = _usage_failure(error) or explain(error)
        if not getattr(self, "_called_from_command_line", False):
            if failure is None or failure is error:
                return None
            raise failure from error
        return self._end(error, failure)

    def _end(self, error: BaseException, failure: Failure | None) -> NoReturn:
        if isinstance(error, KeyboardInterrupt):
            sys.exit(INTERRUPTED)
        if isinstance(error, BrokenPipeError):  # `jobs list | head`
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            sys.exit(OK)
        if self._traceback:
            tracebacks.print_exception(error)
        if failure is None:
            line = " ".join(f"{type(error).__name__}: {error}".split())
            failure = Failure(f"Unexpected {line} (add --traceback to see where).", FAILED)
        if str(failure):
            self.stderr.write(f"error: {failure}", style_func=str)
        sys.exit(failure.returncode)


class Verbs(DTGroup):
    """A noun's verbs, in the order of the source."""

    def list_commands(self, ctx: Any) -> list[str]:
        return list(self.commands)


class GroupCommand(NounCommand):
    """A noun with verbs. `--json` may stand before the verb, too."""

    @initialize(cls=Verbs)
    def start(self, json_first: JsonFlag = False) -> None:
        self.as_json = json_first


def _usage_failure(error: BaseException) -> Failure | None:
    """Return the failure for what the parser of the command line says; None for any other error."""
    if isinstance(error, typer.Exit):
        return Failure("", error.exit_code)
    if isinstance(error, typer.Abort):
        return Failure("Nothing was changed.", FAILED)
    if not isinstance(error, typer._click.exceptions.UsageError):
        return None
    text = " ".join(error.format_message().split()).rstrip(".")
    path = error.ctx.command_path if error.ctx else "manage.py"
    if error.ctx is not None and isinstance(error.ctx.command, Verbs):
        text += f", the commands are {', '.join(error.ctx.command.commands)}"
    words = path.split()
    script = next((index for index, word in enumerate(words) if word.endswith("manage.py")), 0)
    return usage(f"{text}: see '{' '.join(['manage.py', *words[script + 1 :]])} --help'.")


def verb(name: str | None = None, *, flags: type[Any] | None = None, **options: Any) -> Callable[..., Any]:
    """Make a method a verb with `--json` and `--traceback`, wherever they stand.

    With `flags`, a dataclass of annotated options, the method gets one value `flags` of that class, and
    the command line gets its fields. A verb returns nothing: it prints.
    """

    def decorate(method: Callable[..., None]) -> Any:
        own = inspect.signature(method, eval_str=True)
        taken = [field.name for field in fields(flags)] if flags else []

        @wraps(method)
        def run(self: Any, **given: Any) -> None:
            self.begin(json=given.pop("json"), traceback=given.pop("show_traceback"))
            if flags:
                given["flags"] = flags(**{field: given.pop(field) for field in taken})
            with auditing.acting(operator() if self.by_a_person else None):
                method(self, **given)

        parameters = [item for item in own.parameters.values() if item.name != "flags"]
        hints = get_type_hints(flags, include_extras=True) if flags else {}
        inherited = sorted(hints, key=lambda name: name not in vars(flags)["__annotations__"])
        added = {**{name: hints[name] for name in inherited}, **_SHARED}
        defaults = {field.name: field.default for field in fields(flags)} if flags else {}
        parameters += [
            inspect.Parameter(
                key, inspect.Parameter.KEYWORD_ONLY, annotation=hint, default=defaults.get(key, False)
            )
            for key, hint in added.items()
        ]
        parameters = [item.replace(kind=inspect.Parameter.KEYWORD_ONLY) for item in parameters[1:]]
        first = inspect.Parameter("self", inspect.Parameter.POSITIONAL_OR_KEYWORD)
        run.__signature__ = inspect.Signature([first, *parameters], return_annotation=None)  # type: ignore[attr-defined]
        run.__annotations__ = {item.name: item.annotation for item in parameters}
        del run.__wrapped__  # type: ignore[attr-defined]
        return command(name or method.__name__, **options)(run)

    return decorate
