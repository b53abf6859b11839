"""This product as a scheduler: policies in PostgreSQL, claimed in batches, messages pushed to Redis."""

from __future__ import annotations

import os
import random
import sys
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

if "JADWAL_CHECKOUT" in os.environ:
    sys.path.insert(0, os.environ["JADWAL_CHECKOUT"])
from benchmarks.peers import _jadwal as base

VENV, LABEL = "jadwal", "Jadwal"
BROKER = (0, "default")
ALL_WORK = True
"""Every beat takes its share; with a lock, one works and the others wait."""
SECOND = timedelta(seconds=1)
EDIT_LIMIT = 20.0
CHECKED = 25
"""So many rows of a big seed are compiled again, and must come out as they are stored."""

Spec = tuple[Any, ...]


def commands() -> list[list[str]]:
    """Return the argv of one beat."""
    return [base.command("beat", "-l", "WARNING", "--pidfile=")]


def ready(url: str) -> int:
    """Return how many beats are at work: each listens for edits."""
    import psycopg

    with psycopg.connect(url) as connection:
        row = connection.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'LISTEN%'"
        ).fetchone()
    return int(row[0]) if row else 0


def setup() -> None:
    base.setup()
    base.migrate()


def seed(specs: Iterable[tuple[str, Spec]], burst: bool) -> dict[str, float]:
    """Make the schedules, compiled; return what it took.

    The first of each time is made by the ORM and compiled by the engine. The others are copied from it by
    SQL, a million a minute, which is what makes large numbers possible; a sample of them is checked.
    """
    from django.db import connection

    rows = list(specs)
    base.forget_jobs()
    with connection.cursor() as cursor:
        cursor.execute(
            "TRUNCATE django_celery_beat_periodictask, django_celery_beat_crontabschedule, jobs_schedule, "
            "django_celery_beat_intervalschedule, django_celery_beat_clockedschedule CASCADE"
        )
    models: dict[Spec, str] = {}
    for name, spec in rows:
        models.setdefault(spec, name)
    compiled = _make(models)
    if burst:
        make_all_due(datetime.now(UTC))
    _copy([(name, models[spec]) for name, spec in rows if models[spec] != name])
    _check(len(rows))
    with connection.cursor() as cursor:
        cursor.execute("VACUUM ANALYZE")
    return compiled


def _make(models: dict[Spec, str]) -> dict[str, float]:
    """Make one schedule per time, and compile them; return how fast that was."""
    import time

    from django_celery_beat.models import ClockedSchedule, CrontabSchedule, IntervalSchedule, PeriodicTask

    from jobs.engine import syncing
    from jobs.engine.clock import database_now

    made = []
    for (kind, *values), name in models.items():
        task = PeriodicTask(name=name, task="bench.noop", args="[1]", one_off=kind == "at")
        if kind == "cron":
            task.crontab = CrontabSchedule(minute=values[0], hour=values[1], timezone="UTC")
        elif kind == "every":
            task.interval = IntervalSchedule(every=values[0], period="hours")
        else:
            task.clocked = ClockedSchedule(clocked_time=values[0])
        made.append(task)
    for field, model in (
        ("crontab", CrontabSchedule),
        ("interval", IntervalSchedule),
        ("clocked", ClockedSchedule),
    ):
        model.objects.bulk_create([getattr(task, field) for task in made if getattr(task, field)])
    for task in made:
        for field in ("crontab", "interval", "clocked"):
            setattr(task, field, getattr(task, field))  # the key, known now
    PeriodicTask.objects.bulk_create(made, batch_size=2000)
    began, count = time.monotonic(), 0
    while done := syncing.sync_stale(database_now()):
        count += done
    return {"compiled": count, "compiled_per_s": count / (time.monotonic() - began)}


def _copy(copies: list[tuple[str, str]]) -> None:
    """Copy schedules, `(name, name of the model)`, with what was compiled of the model."""
    from django.db import connection, transaction

    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("CREATE TEMP TABLE copies (name text, model text) ON COMMIT DROP")
        with cursor.copy("COPY copies FROM STDIN") as out:
            for row in copies:
                out.write_row(row)
        task, policy = "django_celery_beat_periodictask", "jobs_schedule"
        cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")  # or the ALTERs below would find checks pending
        # The trigger would make an empty policy for each row; ours come with the copy.
        cursor.execute(f"ALTER TABLE {task} DISABLE TRIGGER jobs_task_inserted")
        columns = _columns(cursor, task, "id", "name")
        cursor.execute(
            f"INSERT INTO {task} (name, {columns[0]}) SELECT copies.name, {columns[1]} "
            f"FROM copies JOIN {task} AS model ON model.name = copies.model"
        )
        cursor.execute(f"ALTER TABLE {task} ENABLE TRIGGER jobs_task_inserted")
        columns = _columns(cursor, policy, "periodic_task_id", "template")
        cursor.execute(
            f"INSERT INTO {policy} (periodic_task_id, template, {columns[0]}) "
            f"SELECT task.id, jsonb_set(model.template, '{{name}}', to_jsonb(task.name::text)), {columns[1]} "
            f"FROM copies JOIN {task} AS task ON task.name = copies.name "
            f"JOIN {task} AS original ON original.name = copies.model "
            f"JOIN {policy} AS model ON model.periodic_task_id = original.id"
        )


def _columns(cursor: Any, table: str, *without: str) -> tuple[str, str]:
    """Return the columns of `table` as a list, and as a list of those of `model`."""
    cursor.execute("SELECT column_name FROM information_schema.columns WHERE table_name = %s", [table])
    names = [row[0] for row in cursor.fetchall() if row[0] not in without]
    return ", ".join(f'"{name}"' for name in names), ", ".join(f'model."{name}"' for name in names)


def _check(count: int) -> None:
    """Raise unless all rows are there and compiled, and a sample compiles to what is stored."""
    from jobs.engine.compiling import compile_schedule
    from jobs.models import Schedule

    good = Schedule.objects.filter(stale=False, problem="", version__gt=0)
    if good.count() != count:
        bad = Schedule.objects.exclude(pk__in=good).values("stale", "problem", "version").first()
        raise AssertionError(f"{good.count()} of {count} schedules are compiled; of the others: {bad}")
    keys = list(Schedule.objects.values_list("pk", flat=True)) if count < 10_000 else None
    last = Schedule.objects.order_by("-pk").values_list("pk", flat=True)[0]
    for key in random.Random(1).sample(keys or range(last - count + 1, last + 1), min(CHECKED, count)):
        schedule = Schedule.objects.select_related("periodic_task").get(pk=key)
        compiled = compile_schedule(schedule)
        if (compiled.spec, compiled.template) != (schedule.spec, schedule.template):
            raise AssertionError(f"{schedule} is not compiled as it is stored")


def make_all_due(at: datetime) -> None:
    """Let every schedule, all crontabs of one minute of the day, fall due at `at`, its last time undecided."""
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute(
            """UPDATE jobs_schedule AS s SET runs = 0, next_run_at = %(at)s, decided_through =
                   date_trunc('day', now() AT TIME ZONE 'UTC') AT TIME ZONE 'UTC'
                   + make_interval(hours => c.hour::int, mins => c.minute::int) - interval '1 second'
                   - CASE WHEN make_interval(hours => c.hour::int, mins => c.minute::int)
                               > (now() AT TIME ZONE 'UTC')::time THEN interval '1 day'
                          ELSE interval '0' END
               FROM django_celery_beat_periodictask AS t
               JOIN django_celery_beat_crontabschedule AS c ON c.id = t.crontab_id
               WHERE t.id = s.periodic_task_id""",
            {"at": at},
        )


def arm(at: datetime) -> None:
    """Let all schedules of a burst fall due at `at`, again; what they made before is forgotten."""
    from django.db import connection

    base.forget_jobs()
    make_all_due(at)
    with connection.cursor() as cursor:
        cursor.execute("VACUUM ANALYZE jobs_schedule")


def edit_in_force() -> float:
    """Save an edit, and return the seconds from its commit until a running beat has compiled it."""
    import time

    from django_celery_beat.models import PeriodicTask

    from jobs.models import Schedule

    time.sleep(random.uniform(0.1, 1.0))  # at any point of its sleep
    task = PeriodicTask.objects.get(name="s3")
    number = random.randrange(10**9)
    task.args = f"[{number}]"
    task.save()
    began = time.monotonic()
    while not Schedule.objects.filter(pk=task.pk, stale=False, template__args=[number]).exists():
        if time.monotonic() - began > EDIT_LIMIT:
            raise TimeoutError("no beat took the edit over")
        time.sleep(0.001)
    return time.monotonic() - began


class Bench:
    """One beat, turn by turn, in this process."""

    EDIT_IS_RELOAD = False

    def __init__(self) -> None:
        from jobs.engine.ticking import Ticker

        base.forget_jobs()
        self.ticker = Ticker()

    def tick(self) -> float:
        """Do one turn; return the seconds until the next, 0 when something was done."""
        from jobs.engine.clock import database_now

        now = database_now()
        turn = self.ticker.tick(now)
        if turn.claimed or turn.promoted or turn.synced:
            return 0.0
        wait = (turn.next_at - now).total_seconds() if turn.next_at else 1.0
        return min(1.0, max(0.001, wait))

    def loaded(self) -> int:
        return 0  # it keeps no schedule in memory

    def dispatched(self) -> int:
        return base.queued()

    def edit_one(self) -> None:
        from django_celery_beat.models import PeriodicTask

        task = PeriodicTask.objects.get(name="s3")
        task.args = f"[{random.randrange(10**9)}]"
        task.save()

    def make_due(self, count: int) -> int:
        """Let `count` of the intervals be due: the anchor itself is a time of theirs that is not decided."""
        from django.db import connection

        names = [f"s{i}" for i in range(count * 7) if i % 20 in (16, 17, 18)][:count]
        with connection.cursor() as cursor:
            cursor.execute(
                """UPDATE jobs_schedule AS s SET next_run_at = now(),
                       decided_through = (s.spec #>> '{timing,anchor}')::timestamptz - interval '1 second'
                   FROM django_celery_beat_periodictask AS t
                   WHERE t.id = s.periodic_task_id AND t.name = ANY(%s)""",
                [names],
            )
        return len(names)

    def flush_state(self) -> int:
        return 0

    def close(self) -> None:
        base.forget_jobs()
