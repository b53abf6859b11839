"""What people may do to schedules in the console: run, pause, resume, delete; and who may not."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from auditlog.models import LogEntry
from django.contrib.admin.models import LogEntry as AdminLogEntry
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse
from django_celery_beat.models import IntervalSchedule, PeriodicTask

from jobs.engine import pausing
from jobs.models import Job, Schedule
from tests.jobs.builders import every
from tests.jobs.test_admin_schedules import CHANGE, LIST, VIEW, edit, form, url, user_with

pytestmark = pytest.mark.django_db


YES = {"_form_submitted": "true"}


def bulk(action: str, *schedules: Schedule, **fields: Any) -> dict[str, Any]:
    return {
        "action": action,
        "_selected_action": [str(item.pk) for item in schedules],
        "index": "0",
        **fields,
    }


def entry_of(schedule: Schedule, verb: str) -> LogEntry:
    return LogEntry.objects.get_for_object(schedule.periodic_task).get(additional_data__verb=verb)


def test_run_now(admin: Client) -> None:
    schedule = every(3600, "hourly")
    response = admin.post(url(schedule, "run-now"), YES)
    job = Job.objects.get()
    assert response.status_code == 302
    assert job.id in response.url
    assert (job.trigger, job.schedule_id) == ("manual", schedule.pk)
    entry = entry_of(schedule, "run now")
    assert entry.actor.username == "ada"
    assert entry.additional_data["job"] == job.id
    assert AdminLogEntry.objects.filter(change_message__contains=job.id).exists()


def test_htmx_is_told_where_to_go(admin: Client) -> None:
    response = admin.post(url(every(3600), "run-now"), YES, headers={"HX-Request": "true"})
    assert response.status_code == 200
    assert Job.objects.get().id in response["HX-Redirect"]


def test_pause_with_a_note_and_an_end_and_resume(admin: Client) -> None:
    schedule = every(3600, "hourly")
    admin.post(url(schedule, "pause"), {**YES, "note": "deploy", "until": "2033-01-01T00:00"})
    schedule = Schedule.objects.get(pk=schedule.pk)
    assert schedule.is_paused
    assert (schedule.pause_note, schedule.paused_by, schedule.paused_until) == (
        "deploy", "ada", datetime(2033, 1, 1, tzinfo=UTC),
    )  # fmt: skip
    assert entry_of(schedule, "pause").additional_data["note"] == "deploy"
    assert "deploy" in admin.get(url(schedule)).content.decode()
    admin.post(url(schedule, "resume"), YES)
    assert not Schedule.objects.get(pk=schedule.pk).is_paused
    assert entry_of(schedule, "resume")


def test_a_pause_that_ends_in_the_past_is_refused(admin: Client) -> None:
    schedule = every(3600)
    response = admin.post(url(schedule, "pause"), {**YES, "until": "2020-01-01T00:00"})
    assert "This has passed" in response.content.decode()
    assert not Schedule.objects.get(pk=schedule.pk).is_paused


def test_several_at_once_are_asked_about_first(admin: Client) -> None:
    one, two = every(3600, "one"), every(60, "two")
    page = admin.post(LIST, bulk("run_selected", one, two))
    assert "Run these schedules now?" in page.content.decode()
    assert not Job.objects.exists()
    admin.post(LIST, bulk("run_selected", one, two, confirmed="yes"))
    assert Job.objects.count() == 2
    admin.post(LIST, bulk("pause_selected", one, two, confirmed="yes", note="both"))
    assert {item.pause_note for item in Schedule.objects.all()} == {"both"}
    admin.post(LIST, bulk("resume_selected", one, confirmed="yes"))
    assert list(PeriodicTask.objects.filter(enabled=True).values_list("name", flat=True)) == ["one"]


def test_deleting_takes_the_policy_and_leaves_the_history(admin: Client) -> None:
    schedule = every(3600, "gone")
    admin.post(url(schedule, "run-now"), YES)
    assert admin.post(url(schedule, "delete"), {"post": "yes"}).status_code == 302
    assert not Schedule.objects.exists()
    job = Job.objects.get()
    assert "(deleted)" in admin.get(reverse("admin:jobs_job_change", args=[job.id])).content.decode()


ACTS = ("run-now", "pause", "resume")


@pytest.mark.parametrize("act", ACTS)
def test_a_get_changes_nothing(admin: Client, act: str) -> None:
    schedule = every(3600)
    if act == "resume":
        pausing.pause(schedule)
    before = Schedule.objects.filter(pk=schedule.pk).values("paused_by", "periodic_task__enabled").get()
    page = admin.get(url(schedule, act), {**YES, "note": "x", "confirmed": "yes"})
    assert page.status_code == 200
    assert "csrfmiddlewaretoken" in page.content.decode()
    admin.get(LIST, bulk("run_selected", schedule, confirmed="yes"))
    assert not Job.objects.exists()
    assert not LogEntry.objects.filter(additional_data__verb__isnull=False).exists()
    after = Schedule.objects.filter(pk=schedule.pk).values("paused_by", "periodic_task__enabled").get()
    assert after == before


def test_a_post_without_the_token_is_refused() -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(User.objects.create_superuser("ada", "", "x"))
    assert client.post(url(every(3600), "run-now"), YES).status_code == 403
    assert not Job.objects.exists()


@pytest.mark.parametrize("act", ACTS)
@pytest.mark.parametrize(
    "permissions", [(), (VIEW,), (VIEW, CHANGE), ("jobs.run_schedule", "jobs.pause_schedule")]
)
def test_nobody_acts_without_the_permission(client: Client, act: str, permissions: tuple[str, ...]) -> None:
    schedule = every(3600)
    if act == "resume":
        pausing.pause(schedule)
    enabled = PeriodicTask.objects.get(pk=schedule.pk).enabled
    client.force_login(user_with(*permissions))
    assert client.get(url(schedule, act)).status_code == 403
    assert client.post(url(schedule, act), YES).status_code == 403
    for name in ("run_selected", "pause_selected", "resume_selected"):
        client.post(LIST, bulk(name, schedule, confirmed="yes"))
    assert not Job.objects.exists()
    assert PeriodicTask.objects.get(pk=schedule.pk).enabled == enabled


def test_the_permission_to_run_is_not_the_permission_to_pause(client: Client) -> None:
    schedule = every(3600)
    client.force_login(user_with(VIEW, "jobs.run_schedule"))
    assert client.post(url(schedule, "run-now"), YES).status_code == 302
    assert client.post(url(schedule, "pause"), YES).status_code == 403
    page = client.get(url(schedule)).content.decode()
    assert url(schedule, "run-now") in page
    assert url(schedule, "pause") not in page


def test_whoever_may_edit_cannot_pause_through_the_form(client: Client) -> None:
    schedule = every(3600, "mine")
    client.force_login(user_with(VIEW, CHANGE))
    edit(client, schedule, description="x", enabled="")
    assert PeriodicTask.objects.get(pk=schedule.pk).enabled


def test_whoever_may_only_look_sees_the_summary_and_no_form(client: Client) -> None:
    schedule = every(3600, "mine")
    client.force_login(user_with(VIEW))
    page = client.get(url(schedule)).content.decode()
    assert "Every hour" in page
    assert 'name="cron"' not in page
    assert client.post(url(schedule), form(name="taken over")).status_code == 403
    assert IntervalSchedule.objects.count() == 1
    assert PeriodicTask.objects.get().name == "mine"
