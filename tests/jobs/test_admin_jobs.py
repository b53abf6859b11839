"""The jobs in the console: their story, the dead letters, and who may do what to them."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from auditlog.models import LogEntry
from django.contrib.admin.models import LogEntry as AdminLogEntry
from django.contrib.auth.models import Permission, User
from django.test import Client
from django.utils import timezone

from jobs.conf import Conf
from jobs.models import Job, JobLog
from jobs.rules.states import Outcome, Reason, Status
from tests.jobs import moves
from tests.jobs.builders import NOON, begin, every, job, worker

pytestmark = pytest.mark.django_db

LIST = "/admin/jobs/job/"
YES = {"_form_submitted": "true"}
VIEW = "jobs.view_job"
ACTS = {"replay": "jobs.retry_job", "discard": "jobs.discard_job", "cancel": "jobs.cancel_job"}


def user_with(*permissions: str) -> User:
    user = User.objects.create_user("eve", password="x", is_staff=True)
    for permission in permissions:
        app, codename = permission.split(".")
        user.user_permissions.add(Permission.objects.get(content_type__app_label=app, codename=codename))
    return user


def failed(error: str = "ValueError: no", **fields: Any) -> Job:
    row = job(**fields)
    execution = begin(row)
    text = 'Traceback (most recent call last):\n  File "x.py", line 7\nValueError: <no>'
    moves.fail(execution.fence, Reason.EXHAUSTED, outcome=Outcome.ERROR, error=error, traceback=text)
    return Job.objects.get(id=row.id)


def url(row: Job, act: str = "change") -> str:
    return f"{LIST}{row.id.replace('_', '_5F')}/{act}/"


def bulk(action: str, *rows: Job, **fields: Any) -> dict[str, Any]:
    return {"action": action, "_selected_action": [row.id for row in rows], "index": "0", **fields}


def status(row: Job) -> str:
    return Job.objects.get(id=row.id).status


def target(act: str) -> Job:
    return job() if act == "cancel" else failed()


# --- the story ------------------------------------------------------------------------------------


def test_the_story_of_a_failed_job(admin: Client) -> None:
    schedule = every(60, "minutely")
    row = failed(
        schedule_id=schedule.pk, schedule_name="minutely", scheduled_for=NOON, trigger="schedule",
        kwargs={"password": "hunter2", "note": "<b>bold</b>"}, headers={"api_key": "k-123"},
    )  # fmt: skip
    JobLog.objects.create(
        job=row, attempt=1, level=30, logger="x", content="<i>low</i> on ink", logged_at=NOON
    )
    page = admin.get(url(row)).content.decode()
    for text in ("Every attempt failed.", "ValueError: no", "Attempt 1 started", "w@test", "WARNING",
                 "minutely", "Scheduled for", "Created", "line 7"):  # fmt: skip
        assert text in page, text
    assert "hunter2" not in page
    assert "k-123" not in page
    assert "<i>low" not in page
    assert "<b>bold" not in page
    assert "&lt;i&gt;low" in page
    assert f"/periodictask/{schedule.pk}/change/" in page


def test_a_job_of_a_deleted_schedule(admin: Client) -> None:
    row = job(schedule_id=99_999, schedule_name="was here", scheduled_for=NOON, trigger="schedule")
    assert "(deleted)" in admin.get(url(row)).content.decode()
    assert "was here" in admin.get(LIST).content.decode()


def test_a_running_job(admin: Client) -> None:
    row = job()
    begin(row, worker_id=worker("busy@host"))
    page = admin.get(url(row)).content.decode()
    assert "busy@host" in page
    assert "running" in page


def test_a_job_with_an_odd_id(admin: Client) -> None:
    job(id="report_2027-01/x y")
    assert admin.get(LIST).status_code == 200
    assert admin.get("/admin/jobs/job/report_5F2027-01_2Fx%20y/change/").status_code == 200


def test_the_link_to_flower(admin: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    row = job()
    assert "Flower" not in admin.get(url(row)).content.decode()
    monkeypatch.setattr("jobs.admin.presenting.conf", lambda: Conf(flower_url="https://flower.example/"))
    assert f"https://flower.example/task/{row.id}" in admin.get(url(row)).content.decode()


def test_a_job_that_is_gone(admin: Client) -> None:
    assert admin.get(f"{LIST}nothing/change/").status_code == 302
    assert admin.post(f"{LIST}nothing/replay/", YES).status_code == 404


def test_nothing_is_edited(admin: Client) -> None:
    row = job()
    assert admin.get(f"{LIST}add/").status_code == 403
    assert admin.post(url(row), {"status": "completed"}).status_code == 403
    assert admin.post(url(row, "delete"), {"post": "yes"}).status_code == 403
    assert status(row) == "waiting"


# --- acts -----------------------------------------------------------------------------------------

AFTER = {"replay": "waiting", "discard": "cancelled", "cancel": "cancelled"}


@pytest.mark.parametrize("act", list(ACTS))
@pytest.mark.parametrize("route", ["page", "list"])
def test_an_act_is_done_and_written_down(admin: Client, act: str, route: str) -> None:
    row = target(act)
    if route == "page":
        assert admin.post(url(row, act), YES).status_code == 302
    else:
        asked = admin.post(LIST, bulk(f"{act}_selected", row)).content.decode()
        assert row.id in asked
        assert status(row) != AFTER[act]
        assert not LogEntry.objects.get_for_model(Job).exists()
        admin.post(LIST, bulk(f"{act}_selected", row, confirmed="yes"))
    assert status(row) == AFTER[act]
    entry = LogEntry.objects.get(object_pk=row.id)
    assert (entry.additional_data["verb"], entry.actor.username) == (act, "ada")
    assert AdminLogEntry.objects.filter(object_id=row.id, user__username="ada").count() == 1


def test_a_running_job_is_asked_to_stop(admin: Client) -> None:
    row = job()
    begin(row)
    admin.post(url(row, "cancel"), YES)
    row = Job.objects.get(id=row.id)
    assert row.status == "active"
    assert row.cancel_requested_at
    assert LogEntry.objects.filter(object_pk=row.id, additional_data__verb="cancel").exists()


@pytest.mark.parametrize(("act", "row_of"), [("replay", job), ("discard", job), ("cancel", failed)])
def test_what_cannot_be_done_is_said_and_not_written_down(admin: Client, act: str, row_of: Any) -> None:
    row = row_of()
    page = admin.post(url(row, act), YES, follow=True)
    assert "only a" in page.content.decode()
    assert status(row) == row.status
    assert not LogEntry.objects.get_for_model(Job).exists()


@pytest.mark.parametrize("act", list(ACTS))
def test_a_get_changes_nothing(admin: Client, act: str) -> None:
    row = target(act)
    page = admin.get(url(row, act), YES)
    assert page.status_code == 200
    assert row.task in page.content.decode()
    admin.get(LIST, bulk(f"{act}_selected", row, confirmed="yes"))
    if act != "cancel":
        assert admin.get(f"{LIST}{act}-matching/", {"status__exact": "failed"}).status_code == 200
        assert admin.get(f"{LIST}{act}-matching/", {"no_such": "filter"}).status_code == 400
    assert status(row) == row.status
    assert not LogEntry.objects.get_for_model(Job).exists()


@pytest.mark.parametrize("act", list(ACTS))
@pytest.mark.parametrize("held", ["nothing", "view", "the others", "the act without view"])
def test_nobody_acts_without_the_permission(client: Client, act: str, held: str) -> None:
    permissions = {
        "nothing": [],
        "view": [VIEW, "jobs.change_job", "jobs.delete_job"],
        "the others": [VIEW, *(name for other, name in ACTS.items() if other != act)],
        "the act without view": [ACTS[act]],
    }[held]
    row = target(act)
    client.force_login(user_with(*permissions))
    assert client.get(url(row, act)).status_code == 403
    assert client.post(url(row, act), YES).status_code == 403
    client.post(LIST, bulk(f"{act}_selected", row, confirmed="yes"))
    if act != "cancel":
        assert client.post(f"{LIST}{act}-matching/?status__exact=failed", YES).status_code == 403
    assert status(row) == row.status
    assert not LogEntry.objects.get_for_model(Job).exists()


def test_only_what_is_possible_and_allowed_is_offered(client: Client) -> None:
    dead, live = failed(), job()
    client.force_login(user_with(VIEW, "jobs.retry_job", "jobs.cancel_job"))
    page = client.get(url(dead)).content.decode()
    assert f"{dead.id}/replay/" in page
    assert "/discard/" not in page
    assert "/cancel/" not in page
    page = client.get(url(live)).content.decode()
    assert f"{live.id}/cancel/" in page
    assert "/replay/" not in page


# --- dead letters ---------------------------------------------------------------------------------


def test_dead_letters_are_grouped_by_error_and_task(admin: Client) -> None:
    for error in ("ValueError: a", "ValueError: b", "smtplib.SMTPException: c"):
        failed(error)
    page = admin.get(f"{LIST}?status__exact=failed")
    groups = [(item["group"].error, item["group"].count) for item in page.context["error_groups"]]
    assert groups == [("ValueError", 2), ("smtplib.SMTPException", 1)]
    only = admin.get(f"{LIST}?{page.context['error_groups'][1]['query']}")
    assert [row.error for row in only.context["cl"].result_list] == ["smtplib.SMTPException: c"]
    assert "error_groups" not in admin.get(LIST).context


def test_all_that_match_are_replayed_and_no_others(admin: Client) -> None:
    mine = [failed("ValueError: a"), failed("ValueError: b")]
    other, live = failed("KeyError: c"), job()
    query = "?status__exact=failed&exception=ValueError&task=jobs.canary"
    asked = admin.get(f"{LIST}replay-matching/{query}").content.decode()
    assert "2 failed jobs" in asked
    assert "exception: ValueError" in asked
    admin.post(f"{LIST}replay-matching/{query}", YES)
    assert [status(row) for row in mine] == ["waiting", "waiting"]
    assert (status(other), status(live)) == ("failed", "waiting")
    assert LogEntry.objects.filter(additional_data__verb="replay").count() == 2


def test_all_that_match_are_discarded(admin: Client) -> None:
    rows = [failed(), failed()]
    admin.post(f"{LIST}discard-matching/?status__exact=failed", YES)
    assert {status(row) for row in rows} == {"cancelled"}


def test_matching_never_touches_what_has_not_failed(admin: Client) -> None:
    live, dead = job(), failed()
    admin.post(f"{LIST}discard-matching/", YES)
    assert (status(live), status(dead)) == ("waiting", "cancelled")


# --- finding --------------------------------------------------------------------------------------


def found(admin: Client, query: str) -> set[str]:
    return {row.id for row in admin.get(f"{LIST}?{query}").context["cl"].result_list}


def test_finding_jobs(admin: Client) -> None:
    schedule = every(60, "Invoices of the month")
    one = job(schedule_id=schedule.pk, schedule_name="Invoices of the month", scheduled_for=NOON)
    two = job(task="billing.charge_cards", queue="billing")
    three = failed()
    assert found(admin, f"q={one.id}") == {one.id}
    assert found(admin, "q=invoices") == {one.id}
    assert found(admin, "q=charge_cards") == {two.id}
    assert found(admin, "q=canary") == {one.id, three.id}
    assert found(admin, "q=%25_nothing") == set()
    assert found(admin, "queue=billing") == {two.id}
    assert found(admin, "task=billing.charge_cards") == {two.id}
    assert found(admin, "status__exact=failed") == {three.id}
    assert found(admin, f"schedule={schedule.pk}") == {one.id}
    assert found(admin, f"schedule={schedule.pk}x") == {one.id, two.id, three.id}
    assert found(admin, "created_at_to_0=2020-01-02&created_at_to_1=00:00:00") == set()
    today = f"{timezone.localdate():%Y-%m-%d}"
    assert len(found(admin, f"created_at_from_0={today}&created_at_to_0={today}")) == 3
    assert len(found(admin, "created_at_to_0=2020-13-99&created_at_from_0=x")) == 3


def test_statuses_are_tabs(admin: Client) -> None:
    page = admin.get(LIST).content.decode()
    for value in Status:
        assert f"status__exact={value}" in page


def test_the_lists_have_an_order_that_an_index_gives(admin: Client) -> None:
    first, second = job(), job()
    for row, at in ((second, NOON), (first, NOON + timedelta(minutes=1))):
        moves.complete(begin(row).fence, now=at)
    later = job(Status.DELAYED, available_at=NOON + timedelta(days=1))
    held = job(Status.DELAYED, hold="overlap")
    listed = {
        name: [row.id for row in admin.get(f"{LIST}?status__exact={name}").context["cl"].result_list]
        for name in ("completed", "delayed")
    }
    assert listed["completed"] == [first.id, second.id], "the last that ended comes first"
    assert set(listed["delayed"]) == {later.id, held.id}
