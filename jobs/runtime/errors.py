"""Errors that a task raises to say what is to be done."""

from datetime import timedelta


class Permanent(Exception):
    """Trying again cannot help: the job fails at once and becomes a dead letter."""


class RetryAfter(Exception):
    """The other side said when to come back. `after` is the shortest wait."""

    def __init__(self, message: str, after: timedelta) -> None:
        super().__init__(message)
        self.after = after

    def __reduce__(self) -> tuple[type["RetryAfter"], tuple[str, timedelta]]:
        # Celery pickles what a task raises on its way out of the pool child.
        return type(self), (str(self), self.after)


def retry_after_of(exc: BaseException) -> timedelta | None:
    """Return the wait that an error carries, None for none."""
    after = getattr(exc, "after", None)
    return after if isinstance(after, timedelta) else None
