"""Who may schedule which task, in the console: the form, the acts, and the permissions behind them."""

from __future__ import annotations

from typing import Any

import pytest
import redis as redis_client
from django.apps import apps
from django.contrib.auth.models import Group, Permission, User
from django.contrib.contenttypes.models import ContentType
from django.core.management import call_command
from django.test import Client
from django.urls import reverse
from django_celery_beat.models import PeriodicTask

from jobs.engine import pausing, permissions, permitting, syncing
from jobs.engine.clock import database_now
from jobs.models import Blackout, Job, Worker
from tests.jobs.builders import cron, every, worker
from tests.jobs.permits import CLEANUP, ELSEWHERE, REPORT, Allow, allow, by_sql, fresh, kept_back, stored
from tests.jobs.test_admin_schedule_acts import YES, bulk
from tests.jobs.test_admin_schedules import (
    ADD,
    CHANGE,
    LIST,
    VIEW,
    create,
    edit,
    errors,
    form,
    url,
    user_with,
)
from tests.jobs.test_cli_runner import cli

__all__ = ["allow", "kept_back"]

pytestmark = pytest.mark.django_db(transaction=True)

MAY_ADD = "django_celery_beat.add_periodictask"
MAY_RUN, MAY_PAUSE = "jobs.run_schedule", "jobs.pause_schedule"
BILLING = "billing.schedule_tasks"


@pytest.fixture(autouse=True)
def _redis(redis: redis_client.Redis) -> None:
    """Redis is there."""


def come_in(client: Client, *permissions: str) -> Client:
    client.force_login(user_with(*permissions))
    return client


def grant(app: str) -> None:
    """Give the user that came in the permission to schedule the tasks of an app."""
    permission = Permission.objects.get(codename="schedule_tasks", content_type__app_label=app)
    User.objects.get(username="eve").user_permissions.add(permission)


# --- the permissions --------------------------------------------------------------------------------


def test_every_app_with_tasks_has_its_permission() -> None:
    found = Permission.objects.filter(codename="schedule_tasks")
    names = {item.content_type.app_label: item.name for item in found.select_related("content_type")}
    assert names == {
        "backups": "Can schedule the tasks of Backups",
        "billing": "Can schedule the tasks of Billing",
        "jobs": "Can schedule the tasks of Jobs",
        "notifications": "Can schedule the tasks of Notifications",
    }
    assert all(item.content_type.model_class() for item in found), "none that Django would call stale"
    before = set(Permission.objects.values_list("pk", flat=True))
    permissions.create()
    assert set(Permission.objects.values_list("pk", flat=True)) == before


def test_a_grant_survives_the_cleaning_up_of_stale_content_types() -> None:
    user = user_with(BILLING)
    call_command("remove_stale_contenttypes", interactive=False, verbosity=0)
    assert User.objects.get(pk=user.pk).has_perm(BILLING)


def test_the_permissions_come_with_a_migration_and_can_be_picked(admin: Client) -> None:
    Permission.objects.filter(codename="schedule_tasks").delete()
    assert permissions.missing() == ["backups", "billing", "jobs", "notifications"]
    call_command("migrate", verbosity=0)
    assert permissions.missing() == []
    page = admin.get(reverse("admin:auth_group_add")).content.decode()
    assert "Can schedule the tasks of Billing" in page
    wanted = Permission.objects.get(codename="schedule_tasks", content_type__app_label="billing")
    admin.post(reverse("admin:auth_group_add"), {"name": "bookkeepers", "permissions": [wanted.pk]})
    eve = user_with()
    eve.groups.add(Group.objects.get(name="bookkeepers"))
    assert User.objects.get(pk=eve.pk).has_perm(BILLING)


def test_an_app_without_models_gets_one_too(monkeypatch: pytest.MonkeyPatch, admin: Client) -> None:
    bare = apps.get_app_config("scheduler_project")
    assert not list(bare.get_models())
    monkeypatch.setattr(permissions, "apps_with_tasks", lambda: {"scheduler_project"})
    permissions.create()
    assert ContentType.objects.get(app_label="scheduler_project").model == "task"
    assert user_with("scheduler_project.schedule_tasks").has_perm("scheduler_project.schedule_tasks")
    name = f"Can schedule the tasks of {bare.verbose_name}"
    assert name in admin.get(reverse("admin:auth_group_add")).content.decode()


def test_a_task_belongs_to_the_app_whose_package_defines_it() -> None:
    assert permitting.facts("jobs.canary").app == "jobs"
    assert permitting.facts(REPORT).app == "billing"
    assert permitting.facts("tests.add").app == ""
    assert permitting.facts(CLEANUP).of_celery
    assert [name for name in permitting.offered() if name.startswith("celery.")] == []


# --- the form ---------------------------------------------------------------------------------------


def tasks_in(response: Any) -> set[str]:
    widget = response.context["adminform"].form.fields["task"].widget
    return {value for value, _ in widget.choices if value}


def test_the_form_offers_what_the_user_may_schedule(client: Client, allow: Allow) -> None:
    come_in(client, MAY_ADD)
    assert tasks_in(client.get(ADD)) == {"jobs.canary"}
    grant("billing")
    assert tasks_in(client.get(ADD)) == {"jobs.canary", REPORT}
    allow(REPORT, "tests.add")
    assert tasks_in(client.get(ADD)) == {"jobs.canary", REPORT}
    grant("jobs")
    assert "tests.add" in tasks_in(client.get(ADD)), "what is named and of no app takes the platform's"


def test_a_post_of_another_task_is_refused_in_a_sentence(client: Client) -> None:
    come_in(client, MAY_ADD, "backups.schedule_tasks")
    said = errors(client.post(ADD, form(task=REPORT)))
    assert said == {
        "task": [f"You may not schedule {REPORT!r}: that takes the permission billing.schedule_tasks."]
    }
    assert not PeriodicTask.objects.exists()
    assert create(client, task="jobs.canary")


def test_with_the_permission_it_is_made(client: Client) -> None:
    come_in(client, MAY_ADD, BILLING)
    assert create(client, task=REPORT).periodic_task.task == REPORT


@pytest.mark.parametrize("task", [CLEANUP, "celery.starmap", ELSEWHERE, "tests.add"])
def test_not_even_a_superuser_may_schedule_what_is_built_in(admin: Client, allow: Allow, task: str) -> None:
    assert task not in tasks_in(admin.get(ADD))
    (said,) = errors(admin.post(ADD, form(task=task)))["task"]
    assert task in said
    assert not PeriodicTask.objects.exists()
    allow("celery.*", ELSEWHERE, "tests.*")
    assert task in tasks_in(admin.get(ADD))
    kwargs = {"tests.add": '{"x": 1, "y": 2}', "celery.starmap": '{"task": 1, "it": 2}'}.get(task, "{}")
    assert create(admin, task=task, kwargs=kwargs)


def test_what_an_author_keeps_back_is_for_nobody(admin: Client, allow: Allow, kept_back: str) -> None:
    allow(kept_back, "billing.*")
    assert kept_back not in tasks_in(admin.get(ADD))
    (said,) = errors(admin.post(ADD, form(task=kept_back)))["task"]
    assert "its author offers it to nobody" in said


def test_a_task_that_only_another_worker_has_is_offered_once_it_is_named(admin: Client, allow: Allow) -> None:
    Worker.objects.filter(pk=worker()).update(tasks=["jobs.canary", ELSEWHERE])
    assert ELSEWHERE not in tasks_in(admin.get(ADD))
    allow("warehouse.*")
    assert ELSEWHERE in tasks_in(admin.get(ADD))
    schedule = create(admin, task=ELSEWHERE, kwargs='{"what": "ever"}')
    assert schedule.periodic_task.task == ELSEWHERE


def test_who_may_not_schedule_the_task_may_not_edit(client: Client) -> None:
    schedule = every(3600, "sales", task=REPORT)
    come_in(client, VIEW, CHANGE)
    page = client.get(url(schedule)).content.decode()
    assert "You may not schedule &#x27;billing.daily_sales_report&#x27;" in page
    assert 'name="cron"' not in page
    before = stored()
    assert client.post(url(schedule), form(name="sales", task="jobs.canary")).status_code == 403
    assert client.post(reverse("admin:jobs_schedule_preview"), {"schedule": schedule.pk}).status_code == 403
    assert stored() == before


def test_with_the_permission_it_is_edited(client: Client) -> None:
    schedule = every(3600, "sales", task=REPORT)
    come_in(client, VIEW, CHANGE, BILLING)
    assert edit(client, schedule, description="for finance").periodic_task.description == "for finance"


def test_an_edit_to_another_task_is_refused(client: Client) -> None:
    schedule = every(3600, "mine")
    come_in(client, VIEW, CHANGE)
    client.get(url(schedule))
    said = errors(client.post(url(schedule), form(name="mine", task=REPORT)))
    assert "takes the permission billing.schedule_tasks" in said["task"][0]
    assert fresh(schedule).periodic_task.task == "jobs.canary"


def test_the_preview_knows_the_user(client: Client) -> None:
    come_in(client, MAY_ADD)
    answer = client.post(reverse("admin:jobs_schedule_preview"), form(task=REPORT))
    assert answer.json()["ok"], "the panel is about times"


def test_a_shared_time_is_changed_by_who_may_schedule_all_that_use_it(client: Client) -> None:
    mine, theirs = cron("5 4 * * *", "mine"), cron("5 4 * * *", "theirs", task=REPORT)
    may = "django_celery_beat.change_crontabschedule", "django_celery_beat.view_crontabschedule"
    come_in(client, *may)
    values = {
        "minute": "6", "hour": "4", "day_of_week": "*", "day_of_month": "*", "month_of_year": "*",
        "timezone": "UTC",
    }  # fmt: skip
    for schedule, code in ((mine, 302), (theirs, 403)):
        row = schedule.periodic_task.crontab
        page = reverse("admin:django_celery_beat_crontabschedule_change", args=[row.pk])
        answer = client.post(page, values)
        assert answer.status_code == code, answer.context["errors"]
        row.refresh_from_db()
        assert row.minute == ("6" if code == 302 else "5")


# --- the acts ---------------------------------------------------------------------------------------


def test_run_now_and_resume_take_the_permission(client: Client) -> None:
    schedule = every(3600, "sales", task=REPORT)
    pausing.pause(schedule)
    come_in(client, VIEW, MAY_RUN, MAY_PAUSE)
    for act in ("run-now", "resume"):
        shown = client.get(url(schedule, act)).content.decode()
        assert "You may not schedule" in shown
        said = client.post(url(schedule, act), YES)
        assert said.status_code == 200
        assert "You may not schedule" in said.content.decode()
        assert url(schedule, act) not in client.get(url(schedule)).content.decode(), "no button either"
    assert not Job.objects.exists()
    assert fresh(schedule).is_paused
    grant("billing")
    assert url(schedule, "resume") in client.get(url(schedule)).content.decode()
    assert client.post(url(schedule, "run-now"), YES).status_code == 302
    assert client.post(url(schedule, "resume"), YES).status_code == 302
    assert Job.objects.get().task == REPORT
    assert not fresh(schedule).is_paused


def test_stopping_takes_no_permission_of_the_app(client: Client) -> None:
    schedule = every(3600, "sales", task=REPORT)
    come_in(client, VIEW, MAY_PAUSE, "django_celery_beat.delete_periodictask")
    assert client.post(url(schedule, "pause"), YES).status_code == 302
    assert fresh(schedule).is_paused


def test_of_many_those_run_that_may(client: Client) -> None:
    theirs, mine = every(3600, "sales", task=REPORT), every(3600, "mine")
    come_in(client, VIEW, MAY_RUN, MAY_PAUSE)
    answer = client.post(LIST, bulk("run_selected", theirs, mine, confirmed="yes"), follow=True)
    assert list(Job.objects.values_list("schedule_name", flat=True)) == ["mine"]
    page = answer.content.decode()
    assert "sales: You may not schedule" in page
    assert "1 job made." in page
    PeriodicTask.objects.update(enabled=False)
    client.post(LIST, bulk("resume_selected", theirs, mine, confirmed="yes"))
    assert list(PeriodicTask.objects.filter(enabled=True).values_list("name", flat=True)) == ["mine"]


def test_a_superuser_cannot_run_what_nobody_may_schedule(admin: Client, allow: Allow) -> None:
    schedule = by_sql(every(3600, "cleanup"), CLEANUP)
    said = admin.post(url(schedule, "run-now"), YES).content.decode()
    assert "a task of Celery itself" in said
    admin.post(LIST, bulk("run_selected", schedule, confirmed="yes"))
    assert not Job.objects.exists()
    allow(CLEANUP)
    admin.post(url(schedule, "run-now"), YES)
    assert Job.objects.get().task == CLEANUP


def test_a_blackout_is_said_and_is_no_error_of_the_server(admin: Client) -> None:
    schedule = every(3600, "mine")
    always = [["2020-01-01T00:00:00+00:00", "2090-01-01T00:00:00+00:00"]]
    Blackout.objects.create(name="freeze", spans=always, enforced=True)
    syncing.sync_stale(database_now())
    answer = admin.post(url(schedule, "run-now"), YES, follow=True)
    assert answer.status_code == 200
    assert "enforced for manual runs" in answer.content.decode()
    assert cli("schedules", "run", "mine").code == 4
    assert not Job.objects.filter(trigger="manual").exists()
