"""The platform's settings, read from `settings.JADWAL` in one place."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import Any

from django.conf import settings

from jobs.rules.permits import Listed, read_listed

logger = logging.getLogger(__name__)

QUARANTINE = "quarantine"
DEFAULT_RETENTION_DAYS = {"completed": 7, "cancelled": 30, "skipped": 30, "failed": 90, QUARANTINE: 90}
MOST_DAYS = 36_500

MEBIBYTE = 1024 * 1024
SIZES = {"MAX_PAYLOAD_BYTES": MEBIBYTE, "MAX_RESULT_BYTES": MEBIBYTE}
"""Settings that are a number of bytes, with their defaults."""
LEAST_BYTES, MOST_BYTES = 1024, 100 * MEBIBYTE


@dataclass(frozen=True, slots=True)
class Conf:
    """What an operator may tune. Durations are timedeltas."""

    heartbeat: timedelta = timedelta(seconds=10)
    """How often a worker says that it is alive."""
    lease: timedelta = timedelta(seconds=45)
    """A worker that has been silent for this long is dead; its jobs run again."""
    sweep: timedelta = timedelta(seconds=5)
    """How often a beat looks for dead workers and overdue attempts."""
    reconcile: timedelta = timedelta(seconds=10)
    """How often a beat compares waiting jobs with the messages in Redis."""
    publish_grace: timedelta = timedelta(seconds=5)
    """A waiting job is not looked for in Redis before it is this old."""
    spool: Path = Path("spool")
    """Folder of outcomes that could not be recorded because the database was away."""
    secrets_dir: Path | None = None
    """Folder with a file for each secret that payloads may name; None: there is none."""
    memory_limit: int | None = None
    """Bytes of memory that a pool child may have; None: no limit."""
    max_attempts: int = 5
    """Attempts a job has, unless its task or schedule says otherwise."""
    adopt_foreign: bool = True
    """Whether messages from other programs, which have no job row, are run."""
    flower_url: str = ""
    """Base address of Flower as a browser sees it; empty: no links."""
    retention: dict[str, timedelta] = field(default_factory=dict)
    """How long finished jobs are kept, per status. A status that is not in it is kept for good."""
    quarantine_kept: timedelta | None = None
    """How long messages that made no sense are kept; None: for good."""
    schedulable: Listed = field(default_factory=Listed)
    """Tasks that may be scheduled though no app of the project offers them."""
    max_payload_bytes: int = MEBIBYTE
    """The most that arguments and headers of a job take as JSON."""
    max_result_bytes: int = MEBIBYTE
    """The most that a stored result takes as JSON."""


def read_schedulable() -> tuple[Listed, list[str]]:
    """Return which tasks the setting names, and a sentence for each word of it that makes no sense."""
    words = getattr(settings, "JADWAL", {}).get("SCHEDULABLE", ())
    return read_listed(words.split(",") if isinstance(words, str) else words)


def read_sizes() -> tuple[dict[str, int], list[str]]:
    """Return the numbers of bytes that are set, and a sentence for each that makes no sense: its default holds."""
    found, problems = dict(SIZES), []
    raw = getattr(settings, "JADWAL", {})
    for name in SIZES.keys() & raw.keys():
        size = _whole_number(raw[name])
        if size is None or not LEAST_BYTES <= size <= MOST_BYTES:
            problems.append(
                f"JADWAL_{name} is {raw[name]!r}: it must be a whole number of bytes, "
                f"from {LEAST_BYTES} to {MOST_BYTES}."
            )
        else:
            found[name] = size
    return found, sorted(problems)


def retention_setting() -> dict[str, Any]:
    """Return the days that each kind of row is kept, as they are set: not checked, defaults included."""
    own = getattr(settings, "JADWAL", {}).get("RETENTION_DAYS", {})
    return {**DEFAULT_RETENTION_DAYS, **own}


def read_retention(days: Mapping[str, Any]) -> tuple[dict[str, timedelta], list[str]]:
    """Return how long each kind of row is kept, and a sentence for each setting that makes no sense.

    A kind whose setting makes no sense is left out of the first: it is kept for good. Nothing is ever
    deleted earlier than somebody meant because of a slip of the pen.
    """
    kept: dict[str, timedelta] = {}
    problems = []
    for kind, value in sorted(days.items()):
        count = _whole_number(value)
        if kind not in DEFAULT_RETENTION_DAYS:
            known = ", ".join(sorted(DEFAULT_RETENTION_DAYS))
            problems.append(f"There is no retention of {kind!r}: what can be set is that of {known}.")
        elif count is None or not 1 <= count <= MOST_DAYS:
            problems.append(
                f"The retention of {kind!r} is {value!r}: it must be a whole number of days, "
                f"from 1 to {MOST_DAYS}."
            )
        else:
            kept[kind] = timedelta(days=count)
    return kept, problems


def _whole_number(value: Any) -> int | None:
    if isinstance(value, bool) or not isinstance(value, int | str):
        return None
    try:
        return int(value)
    except ValueError:
        return None


@cache
def conf() -> Conf:
    """Return the platform's settings (read once a process)."""
    raw: dict[str, Any] = getattr(settings, "JADWAL", {})
    default = Conf()

    def seconds(name: str, fallback: timedelta) -> timedelta:
        return timedelta(seconds=raw[name]) if name in raw else fallback

    kept, problems = read_retention(retention_setting())
    for problem in problems:  # the system check refuses these, but Celery's commands start all the same
        logger.error("%s Nothing of the kind is deleted until then.", problem)
    quarantine_kept = kept.pop(QUARANTINE, None)
    schedulable, unread = read_schedulable()
    sizes, wrong = read_sizes()
    for problem in (*unread, *wrong):
        logger.error("%s", problem)
    return Conf(
        heartbeat=seconds("HEARTBEAT_SECONDS", default.heartbeat),
        lease=seconds("LEASE_SECONDS", default.lease),
        sweep=seconds("SWEEP_SECONDS", default.sweep),
        reconcile=seconds("RECONCILE_SECONDS", default.reconcile),
        publish_grace=seconds("PUBLISH_GRACE_SECONDS", default.publish_grace),
        spool=Path(raw.get("SPOOL_DIR", default.spool)),
        secrets_dir=Path(raw["SECRETS_DIR"]) if raw.get("SECRETS_DIR") else None,
        memory_limit=raw["MEMORY_LIMIT_MB"] * MEBIBYTE if raw.get("MEMORY_LIMIT_MB") else None,
        max_attempts=raw.get("MAX_ATTEMPTS", default.max_attempts),
        adopt_foreign=raw.get("ADOPT_FOREIGN", default.adopt_foreign),
        flower_url=raw.get("FLOWER_URL", default.flower_url),
        retention=kept,
        quarantine_kept=quarantine_kept,
        schedulable=schedulable,
        max_payload_bytes=sizes["MAX_PAYLOAD_BYTES"],
        max_result_bytes=sizes["MAX_RESULT_BYTES"],
    )
