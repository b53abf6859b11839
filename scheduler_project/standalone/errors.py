"""What standalone mode raises: one line that says what to do next, and its exit code."""

from __future__ import annotations

FAILED, USAGE, NOT_FOUND, CONFLICT, UNREACHABLE, TIMED_OUT, INTERRUPTED = 1, 2, 3, 4, 5, 6, 130


class StandaloneError(Exception):
    """A failure a person can act on. `exit_code` follows the table of the command line contract."""

    exit_code = FAILED

    def __init__(self, message: str, exit_code: int | None = None) -> None:
        super().__init__(message)
        if exit_code is not None:
            self.exit_code = exit_code


class ServerError(StandaloneError):
    """An embedded PostgreSQL or Redis could not be prepared, started or stopped."""

    exit_code = UNREACHABLE
