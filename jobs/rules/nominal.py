"""The nominal fire time: what every timing rule produces (SEMANTICS 1)."""

from dataclasses import dataclass
from datetime import datetime

DST_GAP = "dst_gap"
"""The wall time asked for did not exist that day; the occurrence was moved."""

DST_FOLD = "dst_fold"
"""The wall time happens twice that day."""


@dataclass(frozen=True, slots=True)
class Nominal:
    """An instant a schedule fires at, in UTC, before jitter or deferral.

    ``note`` says what is unusual about it: ``dst_gap``, ``dst_fold``, ``month_end``, ``rolled``.
    """

    at: datetime
    note: str | None = None
