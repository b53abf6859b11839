"""`manage.py doctor --migrate`: each finding is made by what it is for, and by nothing else."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
import redis as redis_client
from celery import Task, current_app
from celery.beat import BeatLazyFunc, ScheduleEntry
from celery.schedules import crontab, schedule, solar
from django.db import connection
from django.db.migrations.loader import MigrationLoader
from django.db.migrations.recorder import MigrationRecorder
from django.test import override_settings
from django_celery_beat.models import (
    ClockedSchedule,
    CrontabSchedule,
    IntervalSchedule,
    PeriodicTask,
    SolarSchedule,
)

from jobs.engine.clock import database_now
from jobs.insight import migrating_code, migrating_elsewhere, migrating_rows, translating
from jobs.insight.findings import Finding
from jobs.models import Schedule
from tests.jobs import tasks as known
from tests.jobs.builders import cron, every, once, worker
from tests.jobs.test_cli_runner import cli

pytestmark = pytest.mark.django_db(transaction=True)

YORK = "America/New_York"


@pytest.fixture(autouse=True)
def _redis(redis: redis_client.Redis) -> None:
    """Redis is there, and empty."""


@pytest.fixture
def conf() -> Iterator[Any]:
    """Celery's settings, put back afterwards."""
    before: dict[str, Any] = {}

    class Setter:
        def __setattr__(self, name: str, value: Any) -> None:
            before.setdefault(name, current_app.conf.get(name))
            setattr(current_app.conf, name, value)

    yield Setter()
    for name, value in before.items():
        setattr(current_app.conf, name, value)


def found(area: str) -> dict[str, Finding]:
    """Return the findings of one area."""
    now = database_now()
    parts: dict[str, Callable[[], Iterable[Finding]]] = {
        "schedules": lambda: migrating_rows.findings(now, years=1, advance=lambda _: None),
        "tasks": lambda: migrating_code.of_tasks(now),
        "settings": migrating_code.of_settings,
        "Redis": lambda: migrating_elsewhere.findings(now),
        "other schedulers": lambda: migrating_elsewhere.findings(now),
    }
    every = [one for one in parts[area]() if one.area == area]
    assert all(one.sentence.endswith(".") for one in every)
    assert all("{" not in one.sentence for one in every)
    assert {one.status for one in every} <= {"ok", "warn", "fail"}
    assert all(one.remedy for one in every if one.status == "fail"), "what fails has a remedy"
    return {one.name: one for one in every}


def names(area: str, about: str) -> tuple[str, ...]:
    one = found(area).get(about)
    return one.names if one else ()


# --- Rows ---------------------------------------------------------------------------------------------


def test_rows_that_differ_in_nothing_to_do_about() -> None:
    every(600, "plain interval")
    cron("0 12 * * *", "plain crontab")
    assert {one.status for one in found("schedules").values()} == {"ok", "warn"}
    assert set(found("schedules")) == {"intervals with a start", "overlap", "catch-up"}
    PeriodicTask.objects.update(start_time=None, last_run_at=database_now())
    assert set(found("schedules")) == {"intervals", "overlap", "catch-up", "last_run_at"}


def test_rows_that_came_in_while_triggers_were_off() -> None:
    every(60, "unseen")
    Schedule.objects.all().delete()
    assert names("schedules", "rows") == ("unseen",)
    assert cli("schedules", "import-celery-beat").code == 0
    assert names("schedules", "rows") == ()


@pytest.mark.parametrize(
    ("fields", "why", "before"),
    [
        ({"headers": "[1]"}, "headers must be a JSON object", "stops at it"),
        ({"headers": "nonsense"}, "headers are not valid JSON", "passes over it"),
        ({"args": "nonsense"}, "args are not valid JSON", "switches it off"),
        ({"kwargs": "[]"}, "kwargs must be a JSON object", "passes over it"),
        ({"interval": None}, "no crontab", "stops at it"),
    ],
)
def test_rows_that_cannot_fire(fields: dict[str, Any], why: str, before: str) -> None:
    row = every(60, "broken")
    PeriodicTask.objects.filter(pk=row.pk).update(**fields)
    finding = found("schedules")["broken row"]
    assert (finding.status, finding.names) == ("fail", ("broken",))
    assert why in finding.sentence
    assert before in finding.sentence
    PeriodicTask.objects.update(enabled=False)
    assert found("schedules")["broken row"].status == "warn"


def test_a_crontab_that_never_fires_and_an_interval_of_nothing() -> None:
    impossible, _ = CrontabSchedule.objects.get_or_create(minute="61")
    nothing, _ = IntervalSchedule.objects.get_or_create(every=0, period="seconds")
    PeriodicTask.objects.create(name="a", task="jobs.canary", crontab=impossible)
    assert "61" in found("schedules")["broken row"].sentence
    PeriodicTask.objects.all().delete()
    PeriodicTask.objects.create(name="b", task="jobs.canary", interval=nothing)
    assert "without a pause" in found("schedules")["broken row"].sentence


def test_tasks_that_are_not_there() -> None:
    every(60, "a", task="shop.tasks.gone")
    every(60, "b", task="shop.tasks.gone")
    every(60, "c", task="celery.backend_cleanup")
    every(60, "d", task="celery.chunks")
    findings = found("schedules")
    assert (findings["missing task"].names, findings["missing task"].status) == (("a", "b"), "fail")
    assert "'shop.tasks.gone'" in findings["missing task"].sentence
    assert (findings["clean-up of results"].names, findings["clean-up of results"].status) == (("c",), "warn")
    assert findings["task not offered"].names == ("d",)


def test_one_shots() -> None:
    now = database_now()
    once(now + timedelta(days=1), "to come")
    once(now - timedelta(hours=1), "just past", since=now)
    once(now - timedelta(days=3), "long past", since=now)
    PeriodicTask.objects.filter(pk=once(now, "ran", since=now).pk).update(total_run_count=1)
    every(3600, "ran too", one_off=True, total_run_count=1)
    findings = found("schedules")
    assert findings["one-shots in the past"].names == ("just past",)
    assert findings["one-shots long past"].names == ("long past",)
    assert findings["one-shots that ran"].names == ("ran", "ran too")
    PeriodicTask.objects.update(enabled=False)
    assert not any(name.startswith("one-shots") for name in found("schedules"))


def test_what_a_one_shot_of_the_past_is_said_to_do_it_does() -> None:
    from jobs.engine.ticking import Ticker
    from jobs.models import Job

    now = database_now()
    for name, ago in (("just past", timedelta(hours=1)), ("long past", timedelta(days=3))):
        clocked = ClockedSchedule.objects.create(clocked_time=now - ago)
        PeriodicTask.objects.create(name=name, task="jobs.canary", one_off=True, clocked=clocked)
    assert names("schedules", "one-shots in the past") == ("just past",)
    Ticker().tick(database_now())
    assert list(Job.objects.exclude(status="skipped").values_list("schedule_name", flat=True)) == [
        "just past"
    ]


def test_crontabs() -> None:
    cron("0 9 * * 7", "sunday")
    cron("0 9 * * */7", "a step is no Sunday")
    cron("0 9 13 * 5", "both")
    cron("30 2 * * *", "gap", tz=YORK)
    cron("30 2 * * *", "gap too", tz=YORK)
    cron("30 2 * * *", "same")
    findings = found("schedules")
    assert findings["weekday 7"].names == ("sunday",)
    assert (findings["both day fields"].names, findings["both day fields"].status) == (("both",), "ok")
    assert findings["times"].names == ("gap", "gap too")
    assert findings["times"].sentence.startswith("2 of 6 crontab row(s)")
    Schedule.objects.filter(periodic_task__name="both").update(day_match="vixie")
    assert "both day fields" not in found("schedules")


def test_the_other_columns() -> None:
    now = database_now()
    every(60, "expire_seconds", expire_seconds=30)
    every(60, "expires", expires=now + timedelta(days=1))
    every(60, "routed", exchange="media", routing_key="video")
    every(60, "routed and queued", exchange="media", queue="default")
    sun = SolarSchedule.objects.create(event="sunset", latitude=52, longitude=13)
    PeriodicTask.objects.create(name="sun", task="jobs.canary", solar=sun)
    findings = found("schedules")
    assert findings["expire_seconds"].names == ("expire_seconds",)
    assert findings["expires"].names == ("expires",)
    assert (findings["exchange and routing_key"].names, findings["exchange and routing_key"].status) == (
        ("routed",), "fail",
    )  # fmt: skip
    assert findings["solar"].names == ("sun",)
    Schedule.objects.update(overlap="allow_all", catch_up="none")
    assert not {"overlap", "catch-up"} & set(found("schedules"))


# --- Tasks --------------------------------------------------------------------------------------------


@current_app.task(name="tests.migrating.late", acks_late=True, reject_on_worker_lost=True, rate_limit="5/s")
def late() -> None:
    """A task that relies on Celery's way to survive."""


@current_app.task(name="tests.migrating.pickled", serializer="pickle", time_limit=60, track_started=True)
def pickled() -> None:
    """A task whose arguments are pickled."""


@current_app.task(name="tests.migrating.quiet", ignore_result=True, queue="nobody.takes.this")
def quiet() -> None:
    """A task without a result, on a queue of its own."""


def of_here(finding: Finding) -> tuple[str, ...]:
    """Return the tasks of this module that a finding names; other tests of this process have theirs."""
    return tuple(name for name in finding.names if name.startswith("tests.migrating."))


def test_tasks(conf: Any) -> None:
    worker()
    findings = found("tasks")
    assert "tests.migrating.late" in findings["acks_late"].names
    assert "tests.migrating.late" not in findings["at least once"].names
    assert "tests.add" in findings["at least once"].names
    assert of_here(findings["serializer"]) == ("tests.migrating.pickled",)
    assert of_here(findings["track_started"]) == ("tests.migrating.pickled",)
    assert "tests.migrating.quiet" in findings["ignore_result"].names
    assert of_here(findings["rate_limit"]) == ("tests.migrating.late",)
    assert "tests.auto" in findings["autoretry_for"].names
    assert "tests.auto" not in findings["retries"].names
    assert known.fails.name not in findings["retries"].names, "it says max_attempts"
    assert "tests.migrating.late" in findings["retries"].names
    assert "tests.swallow" not in findings["time limits"].names
    assert "3540 s (soft) and 3600 s (hard)" in findings["time limits"].sentence
    assert findings["queue nobody.takes.this"].names == ("tests.migrating.quiet",)
    assert "queue default" not in findings, "a worker takes jobs from there"
    assert "task class" not in findings
    assert not any(name.startswith(("celery.", "jobs.")) for one in findings.values() for name in one.names)


def test_a_task_of_another_class() -> None:
    class Plain(Task):  # type: ignore[misc]
        name = "tests.migrating.plain"

    plain = Plain()
    current_app.tasks.register(plain)
    try:
        assert found("tasks")["task class"].names == ("tests.migrating.plain",)
    finally:
        current_app.tasks.unregister(plain.name)


# --- Settings -----------------------------------------------------------------------------------------


def test_the_settings_of_this_project_are_as_they_must_be() -> None:
    assert {name for name, one in found("settings").items() if one.status != "ok"} == set()


@pytest.mark.parametrize(
    ("name", "value", "status"),
    [
        ("result_backend", "django-db", "fail"),
        ("result_backend", "redis://localhost/1", "fail"),
        ("beat_scheduler", "django_celery_beat.schedulers:DatabaseScheduler", "fail"),
        ("task_always_eager", True, "fail"),
        ("broker_url", "amqp://localhost//", "fail"),
        ("task_time_limit", None, "fail"),
        ("task_serializer", "pickle", "warn"),
        ("worker_pool", "gevent", "warn"),
        ("worker_consumer", "celery.worker.consumer:Consumer", "warn"),
        ("task_publish_retry", True, "warn"),
        ("task_ignore_result", True, "ok"),
    ],
)
def test_settings_that_differ(conf: Any, name: str, value: Any, status: str) -> None:
    setattr(conf, name, value)
    findings = {one.name: one for one in migrating_code.of_settings()}
    assert findings[name].status == status


def test_settings_that_have_no_say() -> None:
    current_app.conf.broker_transport_options["visibility_timeout"] = 43_200
    with override_settings(CELERY_TASK_ACKS_LATE=True, CELERY_RESULT_EXPIRES=3600):
        findings = {one.name: one for one in migrating_code.of_settings()}
    assert findings["task_acks_late"].status == "ok"
    assert findings["result_expires"].sentence.startswith("result_expires = 3600 has no say.")
    assert "beat_sync_every" not in findings
    assert "broker_transport_options.visibility_timeout" in findings
    del current_app.conf.broker_transport_options["visibility_timeout"]
    assert "broker_transport_options.visibility_timeout" not in {
        one.name for one in migrating_code.of_settings()
    }  # fmt: skip


def test_naive_times_are_refused(settings: Any) -> None:
    settings.USE_TZ = False
    assert {one.name for one in migrating_code.of_settings() if one.status == "fail"} == {"USE_TZ"}


# --- Redis and others ---------------------------------------------------------------------------------


def message(**changed: Any) -> str:
    """A message as plain Celery sends it."""
    head = {"id": "1", "task": "tests.add", **changed.pop("headers", {})}
    body = base64.b64encode(json.dumps([[1, 2], {}, {}]).encode()).decode()
    return json.dumps({"headers": head, "content-type": "application/json", "body": body, **changed})


def test_messages_without_jobs(redis: redis_client.Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    worker()
    known.add.delay(1, 2)
    redis.lpush("default", message())
    redis.lpush("default\x06\x163", message())
    redis.lpush("celery", message(), message(**{"content-type": "application/x-python-serialize"}), "rubbish")
    redis.sadd("_kombu.binding.shop", "shop\x06\x16\x06\x16shop")
    redis.lpush("shop", message())
    redis.hset("unacked", "tag", "[]")
    findings = [(one.name, one.status) for one in migrating_elsewhere.findings(database_now())]
    assert ("queue default", "ok") in findings
    assert ("queue celery", "warn") in findings
    assert ("queue celery", "fail") in findings, "what cannot be read goes into quarantine"
    assert ("queue shop", "warn") in findings, "kombu's bindings name queues that nobody here knows"
    assert ("unacknowledged messages", "warn") in findings
    sentences = " ".join(one.sentence for one in migrating_elsewhere.findings(database_now()))
    assert "2 message(s) of plain Celery wait in the queue 'default'" in sentences
    assert "2 message(s) in the queue 'celery' are pickled" in sentences
    monkeypatch.setattr(migrating_elsewhere, "conf", lambda: type("Conf", (), {"adopt_foreign": False}))
    refused = {one.name: one for one in migrating_elsewhere.findings(database_now())}
    assert "would be dropped" in refused["queue default"].sentence


def test_workers_of_plain_celery(monkeypatch: pytest.MonkeyPatch) -> None:
    worker("ours@here")

    class Inspect:
        def __init__(self, **_: Any) -> None:
            pass

        def ping(self) -> dict[str, Any]:
            return {"ours@here": {"ok": "pong"}, "old@there": {"ok": "pong"}}

    monkeypatch.setattr(current_app.control, "inspect", Inspect)
    assert names("Redis", "other workers") == ("old@there",)


def test_without_redis(conf: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(translating, "from_redbeat", lambda: None)
    with current_app.connection_for_read("redis://127.0.0.1:1/0", connect_timeout=1) as nowhere:
        monkeypatch.setattr(migrating_elsewhere.broker, "impatient", lambda: nowhere)
        [away, *_] = migrating_elsewhere.findings(database_now())
    assert (away.name, away.status) == ("Redis", "fail")


def test_apscheduler() -> None:
    assert found("other schedulers") == {}
    with connection.cursor() as cursor:
        cursor.execute(
            "CREATE TABLE apscheduler_jobs (id varchar(191) PRIMARY KEY, next_run_time float, job_state bytea)"
        )
        cursor.execute("INSERT INTO apscheduler_jobs VALUES ('shop.sync', 1.5, ''), ('shop.mail', NULL, '')")
    try:
        finding = found("other schedulers")["APScheduler"]
    finally:
        with connection.cursor() as cursor:
            cursor.execute("DROP TABLE apscheduler_jobs")
    assert (finding.status, finding.names) == ("fail", ("shop.sync", "shop.mail"))


# --- Taking schedules over ----------------------------------------------------------------------------


def redbeat(client: redis_client.Redis, name: str, when: dict[str, Any], **fields: Any) -> None:
    """Store an entry as RedBeat does: a hash with its definition, and its key in a sorted set."""
    definition = {
        "name": name,
        "task": "jobs.canary",
        "args": [],
        "kwargs": {},
        "options": {},
        "enabled": True,
    }
    text = json.dumps({**definition, "schedule": when, **fields})
    client.hset(f"redbeat:{name}", "definition", text)
    client.zadd("redbeat::schedule", {f"redbeat:{name}": 1})


CRON = {"__type__": "crontab", "minute": "30", "hour": "2", "day_of_week": "*", "day_of_month": "*",
        "month_of_year": "*"}  # fmt: skip


def test_redbeat(redis: redis_client.Redis) -> None:
    redbeat(redis, "nightly", CRON, kwargs={"note": "hello"}, options={"queue": "billing", "expires": 60})
    redbeat(redis, "often", {"__type__": "interval", "every": 90.0, "relative": True}, enabled=False)
    redbeat(redis, "rule", {"__type__": "rrule", "freq": 3})
    redis.hset("redbeat:unreadable", "definition", "nonsense")
    redis.zadd("redbeat::schedule", {"redbeat:unreadable": 1, "redbeat:gone": 2})
    entries = {one.name: one for one in translating.from_redbeat() or []}
    assert set(entries) == {"nightly", "often", "rule", "unreadable"}
    assert entries["nightly"].declaration == {
        "name": "nightly", "task": "jobs.canary", "cron": "30 2 * * *", "tz": "UTC", "kwargs": {"note": "hello"},
        "queue": "billing", "deadline": "1m",
    }  # fmt: skip
    assert entries["often"].declaration == {
        "name": "often", "task": "jobs.canary", "every": "1m30s", "paused": True,
    }  # fmt: skip
    assert "`relative`" in entries["often"].notes[0]
    assert "rrule" in entries["rule"].why
    assert "cannot be read" in entries["unreadable"].why
    findings = [one for one in migrating_elsewhere.findings(database_now()) if one.name == "RedBeat"]
    assert findings[0].names == ("nightly", "often")
    assert {one.names for one in findings[1:]} == {("rule",), ("unreadable",)}
    every(90, "often", task="jobs.canary")
    every(90, "rule", task="jobs.canary")
    findings = [one for one in migrating_elsewhere.findings(database_now()) if one.name.startswith("RedBeat")]
    assert [(one.name, one.status, one.names) for one in findings] == [
        ("RedBeat in rows", "ok", ("often", "rule")), ("RedBeat", "fail", ("nightly",)),
        ("RedBeat", "fail", ("unreadable",)),
    ]  # fmt: skip


BEAT_SCHEDULE: dict[str, Any] = {
    "crontab": {"task": "jobs.canary", "schedule": crontab(minute=0, hour="7, 19", day_of_week="mon-fri")},
    "both days": {
        "task": "jobs.canary",
        "schedule": crontab(minute={5, 0}, hour=1, day_of_month=13, day_of_week=5),
    },
    "seconds": {"task": "jobs.canary", "schedule": 30.0, "kwargs": {"note": "x"}},
    "timedelta": {
        "task": "jobs.canary",
        "schedule": timedelta(hours=2),
        "options": {"expires": timedelta(minutes=5)},
    },
    "schedule": {
        "task": "jobs.canary",
        "schedule": schedule(10),
        "options": {"priority": 3, "routing_key": "a"},
    },
    "sunset": {"task": "jobs.canary", "schedule": solar("sunset", 52.5, 13.4)},
    "lazy": {"task": "jobs.canary", "schedule": 10, "args": [BeatLazyFunc(datetime.now, UTC)]},
    "not json": {"task": "jobs.canary", "schedule": 10, "args": [object()]},
    "nothing": {"task": "jobs.canary", "schedule": timedelta(0)},
    "own": {"task": "jobs.canary", "schedule": "whenever"},
}


def test_schedules_in_code(conf: Any) -> None:
    conf.beat_schedule = BEAT_SCHEDULE
    entries = {one.name: one for one in translating.from_code()}
    declared = {name: one.declaration for name, one in entries.items() if one.declaration}
    assert declared["crontab"] == {
        "name": "crontab", "task": "jobs.canary", "cron": "0 7,19 * * mon-fri", "tz": "UTC",
    }  # fmt: skip
    assert declared["both days"] == {
        "name": "both days", "task": "jobs.canary", "cron": "0,5 1 13 * 5", "tz": "UTC", "day_match": "and",
    }  # fmt: skip
    assert declared["seconds"] | {"name": ""} == {
        "name": "", "task": "jobs.canary", "every": "30s", "kwargs": {"note": "x"},
    }  # fmt: skip
    assert (declared["timedelta"]["every"], declared["timedelta"]["deadline"]) == ("2h", "5m")
    assert (declared["schedule"]["priority"], declared["schedule"]["every"]) == (3, "10s")
    assert "routing_key" in entries["schedule"].notes[0]
    assert declared["sunset"]["solar"] == {"event": "sunset", "latitude": 52.5, "longitude": 13.4}
    why = {name: one.why for name, one in entries.items() if one.why}
    assert set(why) == {"lazy", "not json", "nothing", "own"}
    conf.beat_schedule = {
        "entry": ScheduleEntry("entry", "jobs.canary", schedule=schedule(5), app=current_app)
    }
    assert translating.from_code()[0].declaration == {"name": "entry", "task": "jobs.canary", "every": "5s"}


def test_a_zone_of_celery_is_the_zone_of_its_crontabs(conf: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    app = current_app._get_current_object()
    monkeypatch.setitem(app.__dict__, "timezone", ZoneInfo("Europe/Berlin"))
    conf.beat_schedule = {"crontab": {"task": "jobs.canary", "schedule": crontab(hour=3)}}
    [entry] = translating.from_code()
    assert entry.declaration is not None
    assert entry.declaration["tz"] == "Europe/Berlin"


def test_what_is_declared_can_be_applied(
    conf: Any, redis: redis_client.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    import io

    conf.beat_schedule = {
        name: BEAT_SCHEDULE[name] for name in ("crontab", "both days", "timedelta", "sunset")
    }
    redbeat(redis, "nightly", CRON, enabled=False)
    assert names("settings", "beat_schedule") == ("crontab", "both days", "timedelta", "sunset")
    declared = cli("doctor", "--migrate", "--declare")
    assert (declared.code, declared.err) == (0, "")
    monkeypatch.setattr("sys.stdin", io.StringIO(declared.out))
    applied = cli("schedules", "apply", "-f", "-")
    assert (applied.code, "5 created" in applied.out) == (0, True), applied.err
    assert set(PeriodicTask.objects.values_list("name", "enabled")) == {
        ("crontab", True), ("both days", True), ("timedelta", True), ("sunset", True), ("nightly", False),
    }  # fmt: skip
    assert Schedule.objects.get(periodic_task__name="timedelta").deadline == timedelta(minutes=5)
    again = cli("doctor", "--migrate", "--declare")
    assert (again.code, again.out) == (0, "")
    assert "5 are in the database already" in again.err
    assert names("settings", "beat_schedule in rows") == ("crontab", "both days", "timedelta", "sunset")


def test_the_deletion_of_results_is_not_taken_over(conf: Any) -> None:
    conf.beat_schedule = {
        "good": {"task": "jobs.canary", "schedule": 5},
        "tidy": {"task": "celery.backend_cleanup", "schedule": crontab(hour=4, minute=0)},
    }
    assert names("settings", "beat_schedule") == ("good",)
    assert names("settings", "clean-up in beat_schedule") == ("tidy",)
    result = cli("doctor", "--migrate", "--declare", "--json")
    assert result.code == 0
    assert [one["name"] for document in result.items for one in document["schedules"]] == ["good"]
    assert "tidy: left out" in result.err


def test_what_cannot_be_declared_is_said(conf: Any) -> None:
    conf.beat_schedule = {"good": {"task": "jobs.canary", "schedule": 5}, "bad": BEAT_SCHEDULE["own"]}
    result = cli("doctor", "--migrate", "--declare", "--json")
    assert result.code == 1
    assert [one["schedules"] for one in result.items] == [
        [{"name": "good", "task": "jobs.canary", "every": "5s"}]
    ]
    assert "bad: 'whenever' is not understood as a schedule" in result.err
    assert "1 schedule(s) could not be declared" in result.err


# --- The command --------------------------------------------------------------------------------------


def test_nothing_is_looked_at_before_the_migrations() -> None:
    every(60, "gone", task="shop.tasks.gone")
    (latest,) = MigrationLoader(connection).graph.leaf_nodes("jobs")
    MigrationRecorder(connection).record_unapplied(*latest)
    try:
        result = cli("doctor", "--migrate", "--json")
    finally:
        MigrationRecorder(connection).record_applied(*latest)
    assert result.code == 1
    assert [(one["name"], one["status"]) for one in result.items] == [("migrations", "fail")]
    assert result.items[0]["names"] == [".".join(latest)]


def test_the_command() -> None:
    worker()
    every(600, "plain")
    result = cli("doctor", "--migrate", "--json")
    assert set(result.items[0]) == {"area", "name", "status", "sentence", "remedy", "names"}
    failing = [one["name"] for one in result.items if one["status"] == "fail"]
    assert failing == ["serializer"], "a task of this test"
    assert (result.code, "1 finding(s) are of what would not run" in result.err) == (1, True)
    text = cli("doctor", "--migrate", "--years", "0.1")
    assert "WHAT TO DO" in text.out
    assert "skip a run while the one before" in text.out


def test_what_is_refused() -> None:
    assert cli("doctor", "--declare").code == 2
    assert cli("doctor", "--migrate", "--years", "0").code == 2
