"""Every page of the console opens, says what matters, and asks the database a bounded number of questions."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from auditlog.models import LogEntry
from django.contrib.admin import site
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django_celery_results.models import TaskResult

from jobs.admin import paging
from jobs.admin.fields import read_duration, write_duration
from jobs.admin.presenting import relative, span
from jobs.engine import attending, pausing
from jobs.engine.clock import database_now
from jobs.insight import dashboard
from jobs.models import Job, Quarantine, Schedule, Worker
from tests.jobs.builders import NOON, begin, cron, every, job, once, turning_beat, worker
from tests.jobs.test_admin_jobs import failed, user_with

pytestmark = pytest.mark.django_db

SCHEDULES, JOBS = "/admin/django_celery_beat/periodictask/", "/admin/jobs/job/"
PAGES = [
    "/admin/", SCHEDULES, f"{SCHEDULES}add/", JOBS, f"{JOBS}?status__exact=failed", "/admin/jobs/worker/",
    "/admin/jobs/quarantine/", "/admin/django_celery_results/taskresult/", "/admin/auditlog/logentry/",
    "/admin/auth/user/", "/admin/auth/group/", "/admin/django_celery_beat/crontabschedule/",
    "/admin/django_celery_beat/intervalschedule/", "/admin/django_celery_beat/clockedschedule/",
    "/admin/django_celery_beat/solarschedule/",
]  # fmt: skip


def populate(count: int) -> None:
    now = database_now()
    for number in range(count):
        schedule = every(3600 + number, f"s-{number}-{Schedule.objects.count()}", anchor=now)
        job(schedule_id=schedule.pk, schedule_name=str(schedule), scheduled_for=now, trigger="schedule")
        row = failed(f"Error{number}: x")
        begin(job(), worker_id=worker(f"w{number}@test"))
        TaskResult.objects.create(task_id=row.id, status="SUCCESS", result='{"password": "x"}')
        Quarantine.objects.create(queue="default", body="{", problem="not JSON")
        LogEntry.objects.log_create(
            schedule.periodic_task, force_log=True, action=1, changes={"a": ["1", "2"]}
        )


@pytest.mark.parametrize("page", PAGES)
def test_it_opens_when_there_is_nothing(admin: Client, page: str) -> None:
    assert admin.get(page).status_code == 200


@pytest.mark.parametrize("page", PAGES)
def test_the_number_of_queries_does_not_grow_with_the_rows(admin: Client, page: str) -> None:
    counts = []
    for _ in range(2):
        populate(4)
        admin.get(page)  # content types and the like are read once
        with CaptureQueriesContext(connection) as queries:
            assert admin.get(page).status_code == 200
        counts.append(len(queries))
    assert counts[1] <= counts[0], queries.captured_queries
    assert counts[1] <= 25


def test_every_row_has_a_page(admin: Client) -> None:
    populate(1)
    for model in (Job, Worker, Quarantine, TaskResult, LogEntry):
        for pk in model.objects.values_list("pk", flat=True):
            found = admin.get(f"/admin/{model._meta.app_label}/{model._meta.model_name}/{pk}/change/")
            assert found.status_code == 200, (model, pk)
    for pk in Schedule.objects.values_list("pk", flat=True):
        assert admin.get(f"{SCHEDULES}{pk}/change/").status_code == 200
        assert admin.get(f"{SCHEDULES}{pk}/history/").status_code == 200


def test_every_page_is_closed_to_strangers(client: Client) -> None:
    for page in PAGES:
        assert client.get(page).status_code == 302
    client.force_login(user_with())
    for page in PAGES[1:]:
        assert client.get(page).status_code == 403
    home = client.get("/admin/")
    assert home.status_code == 200
    assert "tiles" not in home.context
    assert "beat" not in home.context


def test_big_tables_are_not_counted(admin: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    for _ in range(7):
        job()
    monkeypatch.setattr(paging, "LIMIT", 5)
    with CaptureQueriesContext(connection) as queries:
        page = admin.get(JOBS)
    assert str(page.context["cl"].result_count) == "5+"
    counting = [item["sql"] for item in queries if "COUNT(" in item["sql"] and "jobs_job" in item["sql"]]
    assert len(counting) == 1
    assert "LIMIT 5" in counting[0]


def test_the_list_of_schedules(admin: Client) -> None:
    now = database_now()
    every(3600, "runs", anchor=now)
    cron("0 0 30 2 *", "broken")
    pausing.pause(every(60, "resting"), note="holiday", actor="ada")
    done = once(NOON, "fired")
    Schedule.objects.filter(pk=done.pk).update(next_run_at=None, runs=1)
    page = admin.get(SCHEDULES).content.decode()
    for text in ("Every hour", "holiday", "never fires", "paused", "problem", "ended", "active"):
        assert text in page, text
    names = {
        state: [row.name for row in admin.get(SCHEDULES, {"state": state}).context["cl"].result_list]
        for state in ("active", "paused", "problem", "ended")
    }
    assert names == {"active": ["runs"], "paused": ["resting"], "problem": ["broken"], "ended": ["fired"]}
    assert len(admin.get(SCHEDULES, {"enabled": "0"}).context["cl"].result_list) == 1
    assert len(admin.get(SCHEDULES, {"q": "rest"}).context["cl"].result_list) == 1


def test_the_last_job_of_a_schedule_is_in_the_list(admin: Client) -> None:
    schedule = every(3600, "runs")
    row = failed(schedule_id=schedule.pk, schedule_name="runs", scheduled_for=NOON)
    page = admin.get(SCHEDULES).content.decode()
    assert "failed: exhausted" in page
    assert f"/jobs/job/{row.id}/change/" in page


# --- workers, results, audit ----------------------------------------------------------------------


def test_workers(admin: Client) -> None:
    alive, dead, stopped = worker("a@host"), worker("d@host"), worker("s@host")
    attending.stop(stopped)
    Worker.objects.filter(id=dead).update(heartbeat_at=NOON)
    begin(job(), worker_id=alive)
    listed = admin.get("/admin/jobs/worker/")
    page = listed.content.decode()
    for text in ("alive", "dead", "stopped", "1 of 1"):
        assert text in page, text
    assert [row.name for row in admin.get("/admin/jobs/worker/?state=dead").context["cl"].result_list] == [
        "d@host"
    ]
    assert "jobs.canary" in admin.get(f"/admin/jobs/worker/{alive}/change/").content.decode()


def test_results_hide_secrets(admin: Client) -> None:
    row = TaskResult.objects.create(task_id="t", status="SUCCESS", result='{"api_key": "k-1", "n": "<b>"}')
    page = admin.get(f"/admin/django_celery_results/taskresult/{row.pk}/change/").content.decode()
    assert "k-1" not in page
    assert "<b>" not in page.split("jw-code")[1].split("</pre>")[0]
    assert "k-1" not in admin.get("/admin/django_celery_results/taskresult/").content.decode()


@pytest.mark.parametrize("model", [Job, Worker, TaskResult, LogEntry, Quarantine])
def test_records_are_not_changed_by_hand(admin: Client, model: Any) -> None:
    populate(1)
    row = model.objects.first()
    base = f"/admin/{model._meta.app_label}/{model._meta.model_name}/"
    assert admin.get(f"{base}add/").status_code == 403
    assert admin.post(f"{base}{row.pk}/change/", {}).status_code == 403
    if model is not Quarantine:
        assert admin.post(f"{base}{row.pk}/delete/", {"post": "yes"}).status_code == 403


def test_the_platform_is_dressed_in_one_style() -> None:
    plain = [
        model._meta.label for model, page in site._registry.items() if "unfold" not in str(type(page).__mro__)
    ]
    assert plain == []


# --- the dashboard --------------------------------------------------------------------------------


def test_the_dashboard(admin: Client) -> None:
    populate(2)
    turning_beat()
    page = admin.get("/admin/")
    assert page.context["beat"].state == "ok"
    tiles = {tile["name"]: tile["count"] for tile in page.context["tiles"]}
    assert (tiles["failed"], tiles["active"], tiles["waiting"]) == ("2", "2", "2")
    assert len(page.context["failures"]) == 2
    assert len(page.context["upcoming"]) == 10
    assert {row["name"] for row in page.context["workers"]} >= {"w0@test", "w1@test"}
    default = next(item["row"] for item in page.context["queues"] if item["row"].name == "default")
    assert (default.waiting, default.active) == (2, 2)


def test_a_beat_that_is_gone_is_noticed(admin: Client) -> None:
    schedule = every(60, "late")
    Schedule.objects.filter(pk=schedule.pk).update(next_run_at=database_now() - timedelta(minutes=5))
    page = admin.get("/admin/")
    assert page.context["beat"].state == "late"
    assert "Is beat running?" in page.content.decode()


def test_nobody_who_could_be_late_is_noticed(admin: Client) -> None:
    every(3600, "hourly", anchor=database_now())
    page = admin.get("/admin/")
    assert page.context["beat"].state == "down"
    assert "No scheduler shows a sign of life" in page.content.decode()


def test_what_the_broker_refused_is_shown(admin: Client) -> None:
    turning_beat(failures=3, error="OutOfMemoryError: Redis is <full>")
    page = admin.get("/admin/").content.decode()
    assert "1 scheduler(s) had trouble lately: OutOfMemoryError: Redis is &lt;full&gt;. 3 publish(es)" in page


def test_an_edit_that_no_beat_has_seen_is_noticed() -> None:
    schedule = every(60)
    Schedule.objects.filter(pk=schedule.pk).update(stale=True, next_run_at=None, edited_at=NOON)
    assert dashboard.beat_health(database_now()).state == "late"


def test_a_queue_without_a_worker_is_noticed(admin: Client) -> None:
    job(queue="backups")
    assert "no live worker takes from there" in admin.get("/admin/").content.decode()


def test_the_next_runs_are_in_order_over_all_schedules() -> None:
    now = database_now()
    every(3600, "hourly", anchor=now)
    every(600, "often", anchor=now)
    found = [item.name for item in dashboard.upcoming(now, limit=8)]
    assert found == ["often"] * 5 + ["hourly", "often", "often"]


# --- writing lengths and times --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("30s", 30), ("10m", 600), ("2h", 7200), ("1d", 86_400), ("1h 30m", 5400), ("1h30m", 5400), ("0", 0),
     ("1.5h", 5400), ("500ms", 0.5), ("1w", 604_800)],
)  # fmt: skip
def test_lengths_of_time(text: str, seconds: float) -> None:
    length = read_duration(text)
    assert length == timedelta(seconds=seconds)
    assert read_duration(write_duration(length)) == length


@pytest.mark.parametrize("text", ["", "5", "m", "10 parsecs", "-5m", "1h and 5m", "9" * 40 + "d"])
def test_what_is_no_length_of_time(text: str) -> None:
    with pytest.raises(ValueError):
        read_duration(text)


def test_times_at_a_glance() -> None:
    assert [span(timedelta(seconds=n)) for n in (0.25, 12.4, 200, 3 * 3600, 50 * 3600)] == [
        "250 ms", "12.4 s", "3 m 20 s", "3 h", "2 d 2 h",
    ]  # fmt: skip
    assert relative(NOON + timedelta(minutes=3), NOON) == "in 3 m"
    assert relative(NOON - timedelta(seconds=5), NOON) == "5 s ago"
