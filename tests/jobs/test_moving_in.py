"""Jadwal comes into a database that django-celery-beat has used before."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from tests.acceptance.line import Line, database_url

BEFORE = """
    INSERT INTO django_celery_beat_intervalschedule (every, period) VALUES (90, 'seconds');
    INSERT INTO django_celery_beat_periodictask
        (name, task, args, kwargs, headers, one_off, enabled, description, total_run_count, last_run_at,
         date_changed, interval_id)
    SELECT name, 'jobs.canary', '[]', '{}', '{}', false, true, '', 7, last_run_at, now(),
           (SELECT id FROM django_celery_beat_intervalschedule)
    FROM (VALUES ('has run', now() - interval '30 seconds'), ('has not', NULL)) AS rows(name, last_run_at)
"""


@pytest.fixture
def elsewhere(db: None) -> Iterator[str]:
    """The address of an empty database."""
    name = sql.Identifier(f"moving_{uuid.uuid4().hex[:8]}")
    with psycopg.connect(os.environ["DATABASE_URL"], autocommit=True) as admin:
        admin.execute(sql.SQL("CREATE DATABASE {}").format(name))
        yield f"{database_url().rpartition('/')[0]}/{name.as_string().strip(chr(34))}"
        admin.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(name))


def test_a_database_with_schedules_is_migrated(elsewhere: str, tmp_path: Path) -> None:
    line = Line(tmp_path, DATABASE_URL=elsewhere)

    def migrate(*words: str) -> None:
        done = line.manage("migrate", *words)
        assert done.returncode == 0, done.stderr[-2_000:]

    migrate("django_celery_beat")
    with psycopg.connect(elsewhere, autocommit=True) as database:
        database.execute(BEFORE)
        migrate()
        rows = database.execute(
            """SELECT name, stale, anchor = COALESCE(last_run_at, date_changed)
               FROM jobs_schedule JOIN django_celery_beat_periodictask AS task ON task.id = periodic_task_id
               ORDER BY name"""
        ).fetchall()
        assert rows == [("has not", True, True), ("has run", True, True)]
        migrate("jobs", "zero")
        kept = database.execute("SELECT count(*) FROM django_celery_beat_periodictask").fetchone()
        assert kept == (2,), "the way back leaves what was there"
