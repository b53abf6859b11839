"""How a command fails: one line that says what to do next, and an exit code (CLI contract)."""

from __future__ import annotations

from django.core.management.base import CommandError
from django.db import InterfaceError, OperationalError, ProgrammingError

OK, FAILED, USAGE, NOT_FOUND, CONFLICT, UNREACHABLE, TIMED_OUT, DRIFT, INTERRUPTED = (
    0,
    1,
    2,
    3,
    4,
    5,
    6,
    8,
    130,
)

BUSY = frozenset({"LockNotAvailable", "QueryCanceled", "DeadlockDetected"})
"""What PostgreSQL says when it is there but held up: errors of `psycopg.errors`."""


class Failure(CommandError):
    """A command that did not do what was asked. From Python it is Django's `CommandError`."""

    def __init__(self, message: str, code: int = FAILED) -> None:
        super().__init__(message, returncode=code)


def usage(message: str) -> Failure:
    """Return the failure of somebody who asked for something impossible."""
    return Failure(message, USAGE)


def explain(error: BaseException) -> Failure | None:
    """Return the failure that `error` means to a person; None for one nobody foresaw."""
    match error:
        case Failure():
            return error
        case CommandError():
            return Failure(str(error), error.returncode)
        case OperationalError() | InterfaceError():
            return _database(error)
        case ProgrammingError() if _cause(error) == "UndefinedTable":
            return Failure("The database has no tables of Jadwal: run 'manage.py migrate'.", UNREACHABLE)
    # By name: importing the clients costs more than most commands take.
    origin = f"{type(error).__module__}.{type(error).__name__}"
    if origin == "kombu.exceptions.OperationalError" or origin.startswith("redis.exceptions."):
        return Failure(
            f"The broker does not answer ({_line(error)}): start it ('manage.py up') or correct REDIS_URL.",
            UNREACHABLE,
        )
    refusal = _REFUSALS.get(origin)
    return None if refusal is None else Failure(str(error), refusal)


_REFUSALS = {
    "jobs.engine.calendaring.InUseError": CONFLICT,
    "jobs.engine.calendaring.UnknownError": NOT_FOUND,
    "jobs.rules.pieces.CalendarError": USAGE,
    "jobs.engine.editing.EditError": USAGE,
    "jobs.engine.editing.NameTakenError": CONFLICT,
    "jobs.engine.payload.PayloadError": USAGE,
    "jobs.engine.payload.PayloadTooLarge": USAGE,
    "jobs.engine.permitting.NotPermittedError": USAGE,
    "jobs.engine.compiling.CompileError": FAILED,
    "jobs.engine.triggering.OverlappingError": CONFLICT,
    "jobs.engine.triggering.RefusedError": CONFLICT,
    "jobs.rules.cron_fields.CronError": USAGE,
    "jobs.rules.zones.UnknownZone": USAGE,
}


def _database(error: BaseException) -> Failure:
    if _cause(error) in BUSY:
        return Failure(f"The database is busy ({_line(error)}): try again.", FAILED)
    return Failure(
        f"The database does not answer ({_line(error)}): start it ('manage.py up') or correct DATABASE_URL.",
        UNREACHABLE,
    )


def _cause(error: BaseException) -> str:
    return type(error.__cause__).__name__


def _line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0].rstrip(".:") if lines else type(error).__name__
