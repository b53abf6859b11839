"""The schedule page: one form for a schedule, its timing and its policy; and what people may do to it."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from auditlog.models import LogEntry
from django.contrib.admin.models import LogEntry as AdminLogEntry
from django.contrib.auth.models import Permission, User
from django.test import Client
from django_celery_beat.models import CrontabSchedule, PeriodicTask

from jobs.engine import syncing
from jobs.engine.clock import database_now
from jobs.models import Blackout, Calendar, Limit, Schedule
from tests.jobs import tasks  # noqa: F401  (registers `tests.add`)
from tests.jobs.builders import cron, once

pytestmark = pytest.mark.django_db

LIST = "/admin/django_celery_beat/periodictask/"
ADD = f"{LIST}add/"

VIEW = "django_celery_beat.view_periodictask"
CHANGE = "django_celery_beat.change_periodictask"


def user_with(*permissions: str, name: str = "eve") -> User:
    user = User.objects.create_user(name, password="x", is_staff=True)
    for permission in permissions:
        app, codename = permission.split(".")
        user.user_permissions.add(Permission.objects.get(content_type__app_label=app, codename=codename))
    return user


def form(**fields: Any) -> dict[str, Any]:
    """What a browser posts for a new schedule; the policy as the page first shows it."""
    values = {
        "name": "nightly",
        "task": "jobs.canary",
        "kind": "cron",
        "cron": "0 3 * * *",
        "timezone": "Europe/Berlin",
        "enabled": "on",
        "unit": "minutes",
        "solar_event": "sunrise",
        "overlap": "skip",
        "catch_up": "latest",
        "catchup_window": "1d",
        "max_catchup": "100",
        "jitter": "0",
        "month_end": "skip",
        "dst_gap": "next_valid",
        "dst_fold": "first",
        "on_complete": "disable",
    }
    return {**values, **fields}


def url(schedule: Any, act: str = "change") -> str:
    return f"{LIST}{schedule.pk}/{act}/"


def errors(response: Any) -> dict[str, list[str]]:
    assert response.status_code == 200, "it was accepted"
    return dict(response.context["adminform"].form.errors)


def create(client: Client, **fields: Any) -> Schedule:
    response = client.post(ADD, form(**fields))
    if response.status_code != 302:
        pytest.fail(str(response.context["adminform"].form.errors))
    return Schedule.objects.select_related("periodic_task").get(
        periodic_task__name=fields.get("name", "nightly")
    )


def edit(client: Client, schedule: Schedule, **changes: Any) -> Schedule:
    """Open the page of a schedule and post back what it shows, with `changes`."""
    shown = client.get(url(schedule)).context["adminform"].form
    values = {}
    for field in shown:
        value = field.value()
        values[field.name] = "" if value is None else value
    response = client.post(url(schedule), {**values, **changes})
    if response.status_code != 302:
        pytest.fail(str(response.context["adminform"].form.errors))
    return Schedule.objects.select_related("periodic_task").get(pk=schedule.pk)


# --- making ---------------------------------------------------------------------------------------


def test_a_crontab_with_its_policy(admin: Client) -> None:
    schedule = create(
        admin, kwargs='{"note": "hi"}', queue="billing", priority="3", overlap="buffer_one", deadline="2h",
        jitter="30s", timeout="10m", max_attempts="7", backoff_base="1m", backoff_factor="3",
        backoff_cap="1h", max_runs="9", note="Ask finance", starts="2031-01-01T00:00:00",
    )  # fmt: skip
    row = schedule.periodic_task
    assert (row.crontab.hour, str(row.crontab.timezone), row.queue, row.priority) == (
        "3",
        "Europe/Berlin",
        "billing",
        3,
    )
    assert json.loads(row.kwargs) == {"note": "hi"}
    assert row.start_time == datetime(2030, 12, 31, 23, tzinfo=UTC), "the date is in the schedule's zone"
    assert (schedule.overlap, schedule.max_runs, schedule.max_attempts) == ("buffer_one", 9, 7)
    assert (schedule.deadline, schedule.jitter, schedule.timeout) == (
        timedelta(hours=2), timedelta(seconds=30), timedelta(minutes=10),
    )  # fmt: skip
    assert (schedule.backoff_base, schedule.backoff_factor, schedule.backoff_cap) == (
        timedelta(minutes=1), 3.0, timedelta(hours=1),
    )  # fmt: skip
    assert schedule.note == "Ask finance"
    syncing.sync_stale(database_now())
    schedule.refresh_from_db()
    assert schedule.problem == ""
    assert schedule.next_run_at == datetime(2031, 1, 1, 2, tzinfo=UTC)


def test_a_crontab_with_extended_days_keeps_them_in_the_policy(admin: Client) -> None:
    schedule = create(admin, cron="30 23 L * *")
    assert (schedule.periodic_task.crontab.day_of_month, schedule.cron_day_of_month) == ("*", "L")
    schedule = edit(admin, schedule, cron="0 9 * * MON#2")
    assert (schedule.cron_day_of_month, schedule.cron_day_of_week) == ("", "MON#2")


@pytest.mark.parametrize(
    ("number", "unit", "stored"),
    [("90", "minutes", (90, "minutes")), ("0.5", "seconds", (500_000, "microseconds"))],
)
def test_an_interval(admin: Client, number: str, unit: str, stored: tuple[int, str]) -> None:
    schedule = create(admin, kind="every", every=number, unit=unit, cron="")
    interval = schedule.periodic_task.interval
    assert (interval.every, interval.period) == stored


def test_a_one_shot(admin: Client) -> None:
    schedule = create(admin, kind="once", at="2031-07-01T09:30:00", on_complete="delete")
    row = schedule.periodic_task
    assert row.clocked.clocked_time == datetime(2031, 7, 1, 7, 30, tzinfo=UTC)
    assert row.one_off
    assert schedule.on_complete == "delete"


def test_a_solar_event(admin: Client) -> None:
    schedule = create(admin, kind="solar", solar_event="sunset", latitude="52.5", longitude="13.4")
    solar = schedule.periodic_task.solar
    assert (solar.event, float(solar.latitude), float(solar.longitude)) == ("sunset", 52.5, 13.4)


def test_one_can_be_stored_paused(admin: Client) -> None:
    values = form()
    del values["enabled"]
    assert admin.post(ADD, values).status_code == 302
    assert not PeriodicTask.objects.get(name="nightly").enabled


# --- refusing -------------------------------------------------------------------------------------

REFUSED = {
    "no name": ({"name": ""}, "name", "required"),
    "unknown task": ({"task": "jobs.canery"}, "task", "Did you mean 'jobs.canary'?"),
    "argument too many": ({"task": "tests.add", "args": "[1, 2, 3]"}, "args", "do not fit"),
    "argument missing": ({"task": "tests.add"}, "args", "do not fit"),
    "unknown keyword": ({"kwargs": '{"nose": 1}'}, "kwargs", "unexpected keyword"),
    "args that are no JSON": ({"args": "[1,"}, "args", "This is not JSON"),
    "args that are no list": ({"args": "{}"}, "args", "must be a JSON list"),
    "kwargs that are no object": ({"kwargs": "[]"}, "kwargs", "must be a JSON object"),
    "four fields": ({"cron": "0 3 * *"}, "cron", "has 4 fields"),
    "no such minute": ({"cron": "61 3 * * *"}, "cron", "61"),
    "never fires": ({"cron": "0 0 30 2 *"}, "cron", "never fires"),
    "no crontab": ({"cron": ""}, "cron", "Write a crontab"),
    "both days": ({"cron": "0 0 1 * MON"}, "day_match", "choose how they combine"),
    "unknown zone": ({"timezone": "Europe/Berlim"}, "timezone", "no time zone named 'Europe/Berlim'"),
    "no interval": ({"kind": "every"}, "every", "Write how often"),
    "interval of zero": ({"kind": "every", "every": "0"}, "every", "longer than zero"),
    "endless interval": ({"kind": "every", "every": "1e300"}, "every", "too long"),
    "one-shot without a time": ({"kind": "once"}, "at", "Write a date and a time"),
    "one-shot in the past": ({"kind": "once", "at": "2020-01-01T00:00"}, "at", "has passed"),
    "one-shot that no clock shows": ({"kind": "once", "at": "2031-03-30T02:30"}, "at", "does not exist"),
    "one-shot that is no time": ({"kind": "once", "at": "soon"}, "at", "Write a date and a time"),
    "sun nowhere": ({"kind": "solar", "latitude": "1"}, "longitude", "Write where"),
    "sun off the map": ({"kind": "solar", "latitude": "91", "longitude": "0"}, "latitude", "less than"),
    "ends before it starts": ({"starts": "2031-01-02T00:00", "ends": "2031-01-01T00:00"}, "ends", "before"),
    "ends before it fires": ({"ends": "2020-01-01T00:00"}, "ends", "never fires"),
    "no duration": ({"jitter": "soon"}, "jitter", "30s, 10m, 2h, 1d"),
    "priority": ({"priority": "10"}, "priority", "less than or equal to 9"),
    "overlap": ({"overlap": "maybe"}, "overlap", "not one of the available choices"),
}  # fmt: skip


@pytest.mark.parametrize("what", list(REFUSED))
def test_refused_at_its_field_in_a_sentence(admin: Client, what: str) -> None:
    fields, name, sentence = REFUSED[what]
    found = errors(admin.post(ADD, form(**fields)))
    assert list(found) == [name], found
    assert sentence in found[name][0]
    assert len(found[name]) == 1
    assert not PeriodicTask.objects.exists()
    assert not CrontabSchedule.objects.exists()


def test_a_name_in_use_is_refused(admin: Client) -> None:
    create(admin)
    assert "already" in errors(admin.post(ADD, form()))["name"][0]


def test_day_match_is_taken_when_it_is_said(admin: Client) -> None:
    schedule = create(admin, cron="0 0 1 * MON", day_match="vixie")
    assert schedule.day_match == "vixie"
    assert edit(admin, schedule, description="x").day_match == "vixie"


# --- editing --------------------------------------------------------------------------------------


def test_saving_an_untouched_page_changes_nothing(admin: Client) -> None:
    for schedule in (
        create(admin, name="a", cron="0 9 * * 5L", ends="2033-01-01T00:00:00", deadline="1h 30m"),
        create(admin, name="b", kind="every", every="0.5", unit="seconds"),
        create(admin, name="c", kind="once", at="2031-07-01T09:30:00"),
        create(admin, name="d", kind="solar", latitude="1.25", longitude="-3"),
    ):
        syncing.sync_stale(database_now())
        edit(admin, schedule)
        assert not Schedule.objects.get(pk=schedule.pk).stale, schedule


def test_a_shared_crontab_is_left_alone(admin: Client) -> None:
    mine, yours = create(admin, name="mine"), create(admin, name="yours")
    assert mine.periodic_task.crontab_id == yours.periodic_task.crontab_id
    mine = edit(admin, mine, cron="15 4 * * *")
    assert mine.periodic_task.crontab.hour == "4"
    assert PeriodicTask.objects.get(name="yours").crontab.hour == "3"


def test_the_kind_can_change(admin: Client) -> None:
    schedule = edit(admin, create(admin, cron="0 0 L * *"), kind="every", every="5", unit="hours")
    row = schedule.periodic_task
    assert (row.crontab, row.interval.every, schedule.cron_day_of_month) == (None, 5, "")
    schedule = edit(admin, schedule, kind="once", at="2032-01-01T00:00")
    assert schedule.periodic_task.one_off
    assert not edit(admin, schedule, kind="cron", cron="@daily").periodic_task.one_off


def test_a_one_shot_that_has_fired_can_still_be_described(admin: Client) -> None:
    schedule = once(datetime(2026, 3, 10, 13, tzinfo=UTC), "fired")
    assert edit(admin, schedule, note="It was me").note == "It was me"
    shown = admin.post(url(schedule), form(name="fired", kind="once", at="2026-03-11T00:00"))
    assert "has passed" in errors(shown)["at"][0]


def test_what_the_page_does_not_name_is_not_reset(admin: Client) -> None:
    schedule = cron("0 3 * * *", "old", headers='{"x": 1}', exchange="e")
    Schedule.objects.filter(pk=schedule.pk).update(pause_note="kept", anchor=datetime(2020, 1, 1, tzinfo=UTC))
    schedule = edit(admin, schedule, description="new")
    assert (schedule.periodic_task.headers, schedule.periodic_task.exchange) == ('{"x": 1}', "e")
    assert (schedule.pause_note, schedule.anchor.year) == ("kept", 2020)


def test_a_schedule_with_a_problem_can_be_opened_and_mended(admin: Client) -> None:
    schedule = cron("0 0 30 2 *", "broken")
    page = admin.get(url(schedule))
    assert "never fires" in page.content.decode()
    assert page.context["state"] == "problem"
    schedule = edit(admin, schedule, cron="0 0 28 2 *")
    syncing.sync_stale(database_now())
    schedule.refresh_from_db()
    assert schedule.problem == ""
    assert schedule.next_run_at


def test_changes_are_written_down(admin: Client) -> None:
    schedule = edit(admin, create(admin), cron="0 4 * * *", overlap="allow_all")
    changes: dict[str, Any] = {}
    for entry in LogEntry.objects.get_for_object(schedule.periodic_task).filter(
        action=LogEntry.Action.UPDATE
    ):
        assert entry.actor.username == "ada"
        changes |= entry.changes_dict
    assert changes["overlap"] == ["skip", "allow_all"]
    assert "crontab" in changes
    assert AdminLogEntry.objects.filter(object_id=str(schedule.pk), user__username="ada").count() >= 2


# --- the preview ----------------------------------------------------------------------------------


def test_the_preview_shows_five_runs_in_the_zone_and_in_utc(admin: Client) -> None:
    found = admin.post(f"{LIST}preview/", form(name="", task="", cron="0 3 * * *")).json()
    assert found["ok"]
    assert found["description"] == "At 03:00 every day, Europe/Berlin"
    assert len(found["runs"]) == 5
    assert "03:00:00" in found["runs"][0]["local"]
    assert not PeriodicTask.objects.exists()
    assert not CrontabSchedule.objects.exists()


def test_the_preview_says_what_is_wrong(admin: Client) -> None:
    found = admin.post(f"{LIST}preview/", form(cron="0 0 30 2 *")).json()
    assert not found["ok"]
    assert "never fires" in found["problem"]
    assert found["runs"] == []


def test_the_preview_is_asked_by_post_and_by_those_who_may_edit(admin: Client) -> None:
    assert admin.get(f"{LIST}preview/").status_code == 405
    admin.force_login(user_with(VIEW))
    assert admin.post(f"{LIST}preview/", form()).status_code == 403


# --- calendars, dependencies, limits ----------------------------------------------------------------


def test_a_calendar_and_a_dependency_are_chosen_on_the_page(admin: Client) -> None:
    first = create(admin, name="extract")
    holidays = Calendar.objects.create(name="holidays", exclude_dates=["2031-01-01"])
    second = create(
        admin, name="load", calendar=holidays.pk, roll="next", after=first.pk, after_mode="gate",
        after_on="any", after_within="6h", group="night", concurrency_key="warehouse", pause_after_failures="3",
        starts="2031-01-01T00:00:00",
    )  # fmt: skip
    assert (second.calendar, second.roll, second.after, second.after_mode) == (
        holidays,
        "next",
        first,
        "gate",
    )
    assert (second.after_on, second.after_within, second.group) == ("any", timedelta(hours=6), "night")
    assert (second.concurrency_key, second.pause_after_failures) == ("warehouse", 3)
    syncing.sync_stale(database_now())
    second.refresh_from_db()
    assert second.next_run_at == datetime(2031, 1, 2, 2, tzinfo=UTC), "New Year's day is closed"


def test_a_cycle_is_refused_at_its_field(admin: Client) -> None:
    first = create(admin, name="extract")
    second = create(admin, name="load", after=first.pk)
    response = admin.post(url(first), form(name="extract", after=second.pk))
    assert errors(response)["after"] == [
        "These schedules would wait for each other for ever: extract after load after extract."
    ]


@pytest.mark.parametrize("model", ["calendar", "blackout", "limit"])
def test_the_pages_of_what_schedules_share_open(admin: Client, model: str) -> None:
    Calendar.objects.create(name="c")
    Blackout.objects.create(name="b", queue="billing")
    Limit.objects.create(name="queue:billing", max_active=1)
    assert admin.get(f"/admin/jobs/{model}/").status_code == 200
    assert admin.get(f"/admin/jobs/{model}/add/").status_code == 200


def test_a_calendar_that_excludes_everything_is_refused(admin: Client) -> None:
    window = [{"days": [1, 2, 3, 4, 5, 6, 7], "start": "00:00", "end": "00:00"}]
    values = {"name": "never", "exclude_windows": json.dumps(window), "exclude_dates": "[]"}
    response = admin.post(
        "/admin/jobs/calendar/add/", {**values, "include_dates": "[]", "include_windows": "[]"}
    )
    assert response.status_code == 200
    assert "excludes every time" in response.content.decode()
    assert not Calendar.objects.exists()
