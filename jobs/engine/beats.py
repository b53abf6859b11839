"""The register of beats: who is there, who turns, and what the broker did not take from them."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.db import connection
from django.db.models.functions import Now

from jobs.engine.ending import ERROR_LINE_LENGTH
from jobs.engine.lifecycle import storable
from jobs.models import Beat

# The commit does not wait for the disk, and one row is all that it writes.
_BEAT = """
    INSERT INTO jobs_beat (id, name, host, pid, turns, publish_failures, last_error, last_error_at)
    SELECT %(id)s, %(name)s, %(host)s, %(pid)s, %(turns)s, %(failures)s, %(error)s,
           CASE WHEN %(error)s <> '' THEN clock_timestamp() END
    FROM (SELECT set_config('synchronous_commit', 'off', true) OFFSET 0) AS relaxed
    ON CONFLICT (id) DO UPDATE SET
        heartbeat_at = clock_timestamp(), stopped_at = NULL, turns = EXCLUDED.turns,
        publish_failures = EXCLUDED.publish_failures,
        last_error = COALESCE(NULLIF(EXCLUDED.last_error, ''), jobs_beat.last_error),
        last_error_at = COALESCE(EXCLUDED.last_error_at, jobs_beat.last_error_at)
"""


def beat(beat_id: UUID, *, host: str, pid: int, turns: int, publish_failures: int, error: str = "") -> None:
    """Note that a beat turns, the first time and every other time alike.

    `turns` and `publish_failures` count from its start; `error` is what went wrong since the last call.
    """
    params: dict[str, Any] = {
        "id": beat_id,
        "name": f"{host}:{pid}",
        "host": host,
        "pid": pid,
        "turns": turns,
        "failures": publish_failures,
        "error": storable(error)[:ERROR_LINE_LENGTH],
    }
    with connection.cursor() as cursor:
        cursor.execute(_BEAT, params)


def stop(beat_id: UUID) -> None:
    """Note that a beat has stopped in good order."""
    Beat.objects.filter(id=beat_id).update(stopped_at=Now())
