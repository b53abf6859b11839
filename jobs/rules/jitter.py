"""A delay that spreads schedules without surprising anybody (SEMANTICS 12)."""

from datetime import datetime, timedelta
from hashlib import blake2b

from jobs.rules.zones import EPOCH

_MICROSECOND = timedelta(microseconds=1)


def offset(schedule_key: str, nominal: datetime, window: timedelta) -> timedelta:
    """Return a delay in ``[0, window)`` fixed by the schedule and its nominal.

    Every node, every restart and every preview gives the same one, so the hash is not Python's
    ``hash()``, which differs from process to process.
    """
    if window <= timedelta(0):
        return timedelta(0)
    microseconds = (nominal - EPOCH) // _MICROSECOND
    digest = blake2b(f"{schedule_key}\0{microseconds}".encode(), digest_size=4).digest()
    share = int.from_bytes(digest) * (window // _MICROSECOND) >> 32
    return share * _MICROSECOND
