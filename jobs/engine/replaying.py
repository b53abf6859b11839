"""What people do with dead letters: replay them, or discard them."""

from collections.abc import Sequence
from datetime import datetime

from django.db import transaction

from jobs.engine import auditing, dispatching, lifecycle


def replay(ids: Sequence[str], *, now: datetime | None = None) -> list[str]:
    """Let failed jobs run again, under the same id and with all their attempts; return those that will."""
    with transaction.atomic():
        moved = lifecycle.replay(ids, now=now)
        dispatching.publish_waiting(moved)
        auditing.record_jobs(moved, "replay")
    return moved


def discard(ids: Sequence[str], *, now: datetime | None = None) -> list[str]:
    """Take failed jobs out of the dead letters; their history stays. Return those that were."""
    with transaction.atomic():
        moved = lifecycle.discard(ids, now=now)
        auditing.record_jobs(moved, "discard")
    return moved
