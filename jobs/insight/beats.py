"""Who decides about schedules, and what the broker did not take from them: the register of beats, read."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from jobs.conf import conf
from jobs.insight.formats import instant
from jobs.models import Beat

RECENT = timedelta(minutes=5)
"""Trouble that is older is over: a beat tries every few seconds, and reports at each heartbeat."""


def alive(now: datetime) -> list[Beat]:
    """Return the beats that were heard of within the lease."""
    return list(Beat.objects.alive(now, conf().lease).order_by("name"))  # type: ignore[attr-defined]


def turns_on(host: str, now: datetime) -> bool:
    """Return whether a beat on `host` was heard of within the lease."""
    return any(beat.host == host for beat in alive(now))


def trouble(now: datetime) -> str:
    """Return what went wrong for a beat lately, in a sentence; empty where nothing did."""
    troubled = [beat for beat in alive(now) if beat.last_error_at and beat.last_error_at > now - RECENT]
    if not troubled:
        return ""
    failures = sum(beat.publish_failures for beat in troubled)
    last = max(troubled, key=lambda beat: beat.last_error_at or beat.started_at)
    count = f" {failures} publish(es) were not taken since they started." if failures else ""
    return f"{len(troubled)} scheduler(s) had trouble lately: {last.last_error.rstrip('.')}.{count}"


def documents(now: datetime) -> list[dict[str, Any]]:
    """Return the beats that run or are lost, and not those that said goodbye; latest first."""
    rows = Beat.objects.filter(stopped_at__isnull=True).order_by("-started_at")
    return [
        {
            "name": beat.name,
            "host": beat.host,
            "pid": beat.pid,
            "status": "alive" if beat.heartbeat_at > now - conf().lease else "lost",
            "started_at": instant(beat.started_at),
            "heartbeat_at": instant(beat.heartbeat_at),
            "turns": beat.turns,
            "publish_failures": beat.publish_failures,
            "last_error": beat.last_error or None,
            "last_error_at": instant(beat.last_error_at),
        }
        for beat in rows
    ]
