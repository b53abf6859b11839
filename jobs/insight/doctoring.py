"""What is wrong with an installation, found before it hurts: each check is one sentence and what to do."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db import InterfaceError, OperationalError, connection
from django.db.migrations.executor import MigrationExecutor
from django.db.models import Count, Min, QuerySet
from django_celery_beat.models import PeriodicTask

from jobs.conf import conf
from jobs.engine import permissions, permitting
from jobs.insight import beats, broker, obstacles, secret_use
from jobs.insight.queues import worker_status
from jobs.insight.timezones import zone_versions
from jobs.models import Job, Quarantine, Schedule, Worker
from jobs.rules.states import Status

OK, WARN, FAIL = "ok", "warn", "fail"

OLDEST_POSTGRES = 15
SKEW_WARN, SKEW_FAIL = timedelta(seconds=1), timedelta(seconds=10)
ALMOST_FULL = 0.9
"""The share of Redis's memory from which on somebody should know."""
RESCUE_GRACE = timedelta(minutes=1)
"""A lost worker's jobs are rescued well within this time after its lease, if a beat runs."""

TRIGGERS = (
    "jobs_task_inserted", "jobs_task_updated", "jobs_task_deleted", "jobs_policy_updated",
    "jobs_crontab_updated", "jobs_interval_updated", "jobs_clocked_updated", "jobs_solar_updated",
    "jobs_calendar_updated", "jobs_blackout_changed",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at."""

    name: str
    status: str
    sentence: str
    remedy: str = ""

    def document(self) -> dict[str, str | None]:
        """Return it as JSON."""
        return {
            "name": self.name,
            "status": self.status,
            "sentence": self.sentence,
            "remedy": self.remedy or None,
        }


Clock = Callable[[], datetime]


def examine(clock: Clock) -> tuple[list[Check], bool]:
    """Look at everything; return what was found, and whether the database answered.

    `clock` tells the time of this machine. What needs the tables is left out where they are not there.
    """
    broken_broker = _broker(clock)
    try:
        found = [_database(), _migrations()]
    except (OperationalError, InterfaceError) as error:
        line = (str(error).strip().splitlines() or ["no answer"])[0].rstrip(".:")
        away = Check(
            "database",
            FAIL,
            f"The database does not answer ({line}).",
            "Start it ('manage.py up'), or correct DATABASE_URL.",
        )
        return [away, *broken_broker, _zone_data(clock())], False
    checks = [*found, *broken_broker]
    if found[-1].status != FAIL:
        now = _database_time()
        checks += [_clock(clock), _triggers(), _beat(now), _publishing(now), _stale(now), _problems()]
        checks += [_queues(now), _permits(), _tasks(now), _workers(now), _quarantine(), _secrets(), _audit()]
    return [*checks, _zone_data(clock())], True


# --- The servers ------------------------------------------------------------------------------------------


def _database() -> Check:
    with connection.cursor() as cursor:
        cursor.execute("SHOW server_version")
        version = str(cursor.fetchone()[0]).split()[0]
    if int(version.partition(".")[0]) < OLDEST_POSTGRES:
        sentence = f"PostgreSQL {version} is too old: Jadwal needs {OLDEST_POSTGRES} or newer."
        return Check("database", FAIL, sentence, "Upgrade PostgreSQL.")
    return Check("database", OK, f"PostgreSQL {version} answers.")


def _database_time() -> datetime:
    with connection.cursor() as cursor:
        cursor.execute("SELECT clock_timestamp()")
        now: datetime = cursor.fetchone()[0]
    return now


def _migrations() -> Check:
    executor = MigrationExecutor(connection)
    missing = [
        f"{step.app_label}.{step.name}"
        for step, backwards in executor.migration_plan(executor.loader.graph.leaf_nodes())
        if not backwards
    ]
    if missing:
        sentence = f"{len(missing)} migration(s) are not applied: {_some(missing)}."
        return Check("migrations", FAIL, sentence, "Run 'manage.py migrate'.")
    return Check("migrations", OK, "Every migration is applied.")


def _missing_triggers(names: Sequence[str]) -> list[str]:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT tgname FROM pg_trigger WHERE tgname = ANY(%s) AND tgenabled <> 'D'", [[*names]]
        )
        present = {row[0] for row in cursor.fetchall()}
    return [name for name in names if name not in present]


def _triggers() -> Check:
    missing = _missing_triggers(TRIGGERS)
    if missing:
        return Check(
            "triggers",
            FAIL,
            f"Edits of schedules go unnoticed, triggers are missing or disabled: {_some(missing)}.",
            "Run 'manage.py migrate jobs 0001' and then 'manage.py migrate jobs'.",
        )
    return Check("triggers", OK, f"All {len(TRIGGERS)} triggers that notice edits are there.")


def _broker(clock: Clock) -> list[Check]:
    before = clock()
    seen = broker.look()
    if seen is None:
        return [
            Check(
                "broker",
                FAIL,
                "Redis does not answer: jobs are kept, and none is sent to a worker.",
                "Start it ('manage.py up'), or correct REDIS_URL.",
            )
        ]
    middle = before + (clock() - before) / 2
    return [_room(seen), _skew("redis clock", "Redis", seen.time - middle)]


def _room(seen: broker.Seen) -> Check:
    if seen.eviction not in ("noeviction", ""):
        sentence = f"Redis may throw messages away when it is full: its policy is {seen.eviction}."
        return Check("broker", WARN, sentence, "Set maxmemory-policy to noeviction.")
    share = seen.used / seen.most if seen.most else 0.0
    remedy = "Raise maxmemory, or start workers for the queues that are long."
    if share >= 1:
        sentence = "Redis is full: it takes no messages, and jobs wait in the database until it does."
        return Check("broker", FAIL, sentence, remedy)
    if share >= ALMOST_FULL:
        return Check("broker", WARN, f"Redis has used {share:.0%} of the memory that it may use.", remedy)
    return Check("broker", OK, f"Redis {seen.version} answers.")


def _clock(clock: Clock) -> Check:
    before = clock()
    theirs = _database_time()
    return _skew("database clock", "the database", theirs - (before + (clock() - before) / 2))


def _skew(name: str, whose: str, skew: timedelta) -> Check:
    seconds = skew.total_seconds()
    if abs(skew) <= SKEW_WARN:
        return Check(name, OK, f"This machine and {whose} agree about the time within {abs(seconds):.2f} s.")
    way = "ahead of" if seconds > 0 else "behind"
    sentence = f"The clock of {whose} is {abs(seconds):.1f} s {way} this machine's."
    return Check(name, FAIL if abs(skew) > SKEW_FAIL else WARN, sentence, "Run NTP on every machine.")


def _zone_data(now: datetime) -> Check:
    system, package = zone_versions()
    used = system or package
    if not used:
        sentence = "There is no time zone database: only UTC works."
        return Check("time zones", FAIL, sentence, "Install the tzdata package.")
    said = f"Time zone data {used} is in use" + (f" (the tzdata package has {package})" if package else "")
    if system and package and system < package:
        remedy = "Update the system's tzdata, which comes first, or set PYTHONTZPATH to empty."
        return Check("time zones", WARN, f"{said}.", remedy)
    if used[:4].isdecimal() and int(used[:4]) < now.year - 1:
        return Check(
            "time zones", WARN, f"{said}, which is old.", "Update tzdata, and restart every process."
        )
    return Check("time zones", OK, f"{said}.")


# --- The line ---------------------------------------------------------------------------------------------


def _beat(now: datetime) -> Check:
    due = Schedule.objects.filter(stale=False, next_run_at__lt=now).aggregate(first=Min("next_run_at"))[
        "first"
    ]
    lag = now - due if due else timedelta(0)
    remedy = "Start one: 'celery -A scheduler_project beat', or 'manage.py up'."
    if lag > obstacles.LATE:
        sentence = f"No scheduler decides: something is due for {lag.total_seconds():.0f} s."
        return Check("beat", FAIL, sentence, remedy)
    count = len(beats.alive(now))
    if not count:
        return Check("beat", FAIL, "No scheduler shows a sign of life.", remedy)
    if not obstacles.listening_beats():
        sentence = "A scheduler decides, but none can LISTEN: edits are noticed by polling."
        return Check("beat", WARN, sentence, "Give beat a direct connection, not a transaction pool.")
    return Check("beat", OK, f"{count} scheduler(s) run, {lag.total_seconds():.1f} s behind.")


def _publishing(now: datetime) -> Check:
    """What the broker refused lately, as the schedulers have reported it."""
    trouble = beats.trouble(now)
    if trouble:
        remedy = "Look at Redis and at beat's log. Jobs are kept, and sent when Redis takes them."
        return Check("publishing", WARN, trouble, remedy)
    return Check("publishing", OK, "No scheduler has had trouble lately.")


def _stale(now: datetime) -> Check:
    late = Schedule.objects.filter(stale=True, edited_at__lt=now - obstacles.LATE)
    names = list(late.values_list("periodic_task__name", flat=True)[:1_000])
    if names:
        sentence = f"{len(names)} edited schedule(s) wait to be read by a scheduler: {_some(names)}."
        return Check("edits", FAIL, sentence, "Start beat, or look at its log.")
    return Check("edits", OK, "Every edit of a schedule is in effect.")


def _problems() -> Check:
    broken = Schedule.objects.exclude(problem="").filter(stale=False)
    found = broken.values_list("periodic_task__name", "problem", "periodic_task__task")[:1_000]
    rows = [(name, problem) for name, problem, task in found if not permitting.judge(task).objection]
    if rows:
        name, problem = rows[0]
        sentence = f"{len(rows)} schedule(s) cannot fire; {name}: {problem.rstrip('.')}."
        remedy = "See 'manage.py schedules list --state broken'."
        return Check("schedules", FAIL, sentence, remedy)
    return Check("schedules", OK, "Every schedule makes sense.")


def _permits() -> Check:
    """What nobody may schedule is asked of the code and the settings that are here, not of what beat noted."""
    missing = permissions.missing()
    rows = PeriodicTask.objects.filter(enabled=True).order_by("task").values_list("task", flat=True)
    denied = {task: why for task in rows.distinct() if (why := permitting.judge(task).objection)}
    if denied:
        count = PeriodicTask.objects.filter(enabled=True, task__in=denied).count()
        sentence = f"{count} schedule(s) make no jobs. {next(iter(denied.values()))}"
        others = f" So it is with {_some(sorted(denied)[1:])}." if len(denied) > 1 else ""
        remedy = "Name the task in JADWAL_SCHEDULABLE and restart beat, or pause or delete the schedule."
        return Check("permits", FAIL, sentence + others, remedy)
    if missing:
        sentence = f"Only superusers may schedule the tasks of {_some(missing)}: the permission is missing."
        return Check("permits", WARN, sentence, "Run 'manage.py migrate'.")
    return Check("permits", OK, "Every task that is scheduled may be scheduled.")


def _queues(now: datetime) -> Check:
    served = {queue for worker in obstacles.alive(now) for queue in worker.queues}
    jobs = Job.objects.filter(status=Status.WAITING).values_list("queue")
    stuck = {queue: n for queue, n in jobs.annotate(n=Count("id")).order_by() if queue not in served}
    wanted = set(_scheduled().values_list("template__queue", flat=True))
    idle = sorted(queue for queue in wanted if queue and queue not in served | set(stuck))
    if stuck:
        said = ", ".join(f"{queue} ({count} jobs)" for queue, count in sorted(stuck.items()))
        return Check("queues", FAIL, f"No worker takes jobs from {said}.", "Start a worker with -Q QUEUE.")
    if idle:
        sentence = f"Schedules use {_some(idle)}, and no worker takes jobs from there."
        return Check("queues", WARN, sentence, "Start a worker with -Q QUEUE.")
    return Check("queues", OK, "Every queue in use has a worker.")


def _tasks(now: datetime) -> Check:
    alive = [worker for worker in obstacles.alive(now) if worker.tasks]
    if not alive:
        return Check("tasks", OK, "No worker is there to say which tasks it has.")
    known: dict[str, set[str]] = {}
    for worker in alive:
        for queue in worker.queues:
            known.setdefault(queue, set()).update(worker.tasks)
    rows = _scheduled().values_list("periodic_task__name", "periodic_task__task", "template__queue")
    missing = [
        f"{task} (schedule {name}, queue {queue})"
        for name, task, queue in rows.iterator(chunk_size=2_000)
        if queue in known and task not in known[queue]
    ]
    if missing:
        sentence = (
            f"{len(missing)} scheduled task(s) are not known to the workers of their queue: {_some(missing)}."
        )
        return Check("tasks", FAIL, sentence, "Deploy the same code to every worker, and restart them.")
    return Check("tasks", OK, "Every scheduled task is known to a worker of its queue.")


def _workers(now: datetime) -> Check:
    counts = dict(
        Job.objects.filter(status=Status.ACTIVE).values_list("worker").annotate(n=Count("id")).order_by()
    )
    held_by = Worker.objects.filter(id__in=[key for key in counts if key])
    dead = [one for one in held_by if worker_status(one, now) != "alive"]
    if not dead:
        count = len(obstacles.alive(now))
        return Check("workers", OK, f"{count} worker(s) are alive, and no dead one holds a job.")
    held = sum(counts[one.id] for one in dead)
    overdue = any(one.heartbeat_at < now - conf().lease - RESCUE_GRACE for one in dead)
    sentence = f"{len(dead)} dead worker(s) hold {held} active job(s): {_some(one.name for one in dead)}."
    remedy = "See that beat runs: it lets them run again." if overdue else "None: beat lets them run again."
    return Check("workers", FAIL if overdue else WARN, sentence, remedy)


def _quarantine() -> Check:
    count = Quarantine.objects.count()
    if count:
        sentence = f"{count} message(s) made no sense to a worker and are in quarantine."
        return Check("quarantine", WARN, sentence, "Look at them in the admin, and find out who sent them.")
    return Check("quarantine", OK, "No message is in quarantine.")


def _secrets() -> Check:
    """Secrets that are written out. Whether a named one exists is for each worker to say: it is only mentioned."""
    use = secret_use.of_schedules()
    if use.literal:
        name, places = next(iter(use.literal.items()))
        sentence = f"{len(use.literal)} schedule(s) keep a secret in the database; {name}: {_some(places)}."
        remedy = 'Write {"$secret": "NAME"} instead, and give the secret to the workers.'
        return Check("secrets", WARN, sentence, remedy)
    if not use.named:
        return Check("secrets", OK, "No schedule keeps a secret.")
    missing = use.not_here()
    said = (
        f" This process does not have {_some(missing)}; what counts is what the workers have."
        if missing
        else ""
    )
    return Check("secrets", OK, f"{len(use.named)} schedule(s) name secrets, and none keeps one.{said}")


AUDIT_TRIGGERS = ("jobs_audit_rows", "jobs_audit_table")


def _audit() -> Check:
    missing = _missing_triggers(AUDIT_TRIGGERS)
    if missing:
        sentence = (
            f"Entries of the audit log can be changed, triggers are missing or disabled: {_some(missing)}."
        )
        return Check(
            "audit", FAIL, sentence, "Run 'manage.py migrate jobs 0002' and then 'manage.py migrate jobs'."
        )
    return Check("audit", OK, "The audit log can only be added to.")


def _scheduled() -> QuerySet[Schedule]:
    return Schedule.objects.filter(periodic_task__enabled=True, problem="", template__isnull=False)


def _some(names: Iterable[object], most: int = 3) -> str:
    texts = [str(name) for name in names]
    return ", ".join(texts[:most]) + (f" and {len(texts) - most} more" if len(texts) > most else "")
