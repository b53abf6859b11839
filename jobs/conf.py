"""The platform's settings, read from `settings.JADWAL` in one place."""

from dataclasses import dataclass, field
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import Any

from django.conf import settings

DEFAULT_RETENTION_DAYS = {"completed": 7, "cancelled": 30, "skipped": 30, "failed": 90}


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
    memory_limit: int | None = None
    """Bytes of memory that a pool child may have; None: no limit."""
    max_attempts: int = 5
    """Attempts a job has, unless its task or schedule says otherwise."""
    adopt_foreign: bool = True
    """Whether messages from other programs, which have no job row, are run."""
    flower_url: str = ""
    """Base address of Flower as a browser sees it; empty: no links."""
    retention: dict[str, timedelta] = field(default_factory=dict)
    """How long finished jobs are kept, per status."""


@cache
def conf() -> Conf:
    """Return the platform's settings (read once a process)."""
    raw: dict[str, Any] = getattr(settings, "JADWAL", {})
    default = Conf()

    def seconds(name: str, fallback: timedelta) -> timedelta:
        return timedelta(seconds=raw[name]) if name in raw else fallback

    return Conf(
        heartbeat=seconds("HEARTBEAT_SECONDS", default.heartbeat),
        lease=seconds("LEASE_SECONDS", default.lease),
        sweep=seconds("SWEEP_SECONDS", default.sweep),
        reconcile=seconds("RECONCILE_SECONDS", default.reconcile),
        publish_grace=seconds("PUBLISH_GRACE_SECONDS", default.publish_grace),
        spool=Path(raw.get("SPOOL_DIR", default.spool)),
        memory_limit=raw["MEMORY_LIMIT_MB"] * 1024 * 1024 if raw.get("MEMORY_LIMIT_MB") else None,
        max_attempts=raw.get("MAX_ATTEMPTS", default.max_attempts),
        adopt_foreign=raw.get("ADOPT_FOREIGN", default.adopt_foreign),
        flower_url=raw.get("FLOWER_URL", default.flower_url),
        retention={
            status: timedelta(days=days)
            for status, days in {**DEFAULT_RETENTION_DAYS, **raw.get("RETENTION_DAYS", {})}.items()
        },
    )
