"""The console as a person uses it."""

from __future__ import annotations

from datetime import timedelta

import pytest
import redis as redis_client
from django.contrib.auth.models import User
from django.utils import timezone
from django_celery_beat.models import PeriodicTask
from playwright.sync_api import Page, expect
from pytest_django.live_server_helper import LiveServer

from jobs.models import Job, JobLog, Schedule

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]

SCHEDULES = "/admin/django_celery_beat/periodictask/"


@pytest.fixture
def console(screen: Page, live_server: LiveServer, redis: redis_client.Redis) -> Page:
    """The overview, after logging in by hand."""
    User.objects.create_superuser("ada", "ada@example.com", "s3cret-enough")
    screen.goto(f"{live_server.url}/admin/")
    screen.fill("input[name=username]", "ada")
    screen.fill("input[name=password]", "s3cret-enough")
    screen.click("button[type=submit]")
    expect(screen.locator("#jw-beat")).to_be_visible()
    return screen


def open_page(console: Page, live_server: LiveServer, path: str) -> None:
    console.goto(f"{live_server.url}{path}")


def choose(console: Page, field: str, words: str) -> None:
    """Pick an entry of a searchable select."""
    console.locator(f"[data-name={field}] .select2-selection").click()
    console.keyboard.type(words)
    console.locator(".select2-results__option--highlighted").click()


def test_a_crontab_is_previewed_stored_and_run(console: Page, live_server: LiveServer) -> None:
    console.get_by_role("link", name="Schedules", exact=True).first.click()
    open_page(console, live_server, f"{SCHEDULES}add/")
    console.fill("input[name=name]", "nightly-report")
    choose(console, "task", "jobs.canary")
    console.fill("textarea[name=kwargs]", '{"note": "from the browser"}')
    console.fill("input[name=cron]", "0 0 30 2 *")
    preview = console.locator("#jw-preview")
    expect(preview).to_contain_text("never fires")
    console.fill("input[name=cron]", "0 3 * * *")
    choose(console, "timezone", "Kolkata")
    expect(preview).to_contain_text("At 03:00 every day, Asia/Kolkata")
    expect(preview.locator(".jw-runs > div")).to_have_count(5)
    expect(preview.locator(".jw-runs > div").first).to_contain_text("21:30:00 UTC")
    console.get_by_role("button", name="Save and continue editing").click()
    expect(console.locator("#jw-overview")).to_contain_text("At 03:00 every day, Asia/Kolkata")

    console.get_by_role("link", name="Run now").click()
    expect(console.locator("#dialog")).to_contain_text("nightly-report")
    assert not Job.objects.exists(), "it was only asked"
    console.locator("#dialog button[type=submit]").click()
    expect(console.locator("#jw-job")).to_contain_text("waiting")
    job = Job.objects.get()
    assert (job.trigger, job.kwargs) == ("manual", {"note": "from the browser"})
    expect(console.locator("#jw-timeline")).to_contain_text("Created")
    expect(console.locator("#jw-payload")).to_contain_text("from the browser")
    JobLog.objects.create(
        job=job, attempt=1, level=40, logger="x", content="ink is low", logged_at=timezone.now()
    )
    console.reload()
    expect(console.locator("#jw-logs .lv.danger")).to_have_text("ERROR")

    console.locator("a[href$='/cancel/']").click()
    console.locator("#dialog button[type=submit]").click()
    expect(console.locator("#jw-job")).to_contain_text("Somebody cancelled it.")


def test_a_one_shot(console: Page, live_server: LiveServer) -> None:
    open_page(console, live_server, f"{SCHEDULES}add/")
    console.fill("input[name=name]", "launch")
    choose(console, "task", "jobs.canary")
    expect(console.locator("[data-name=at]")).to_be_hidden()
    console.get_by_text("Once", exact=True).click()
    expect(console.locator("[data-name=cron]")).to_be_hidden()
    console.fill("input[name=at]", "2020-01-01T09:30:00")
    expect(console.locator("#jw-preview")).to_contain_text("has passed")
    console.get_by_role("button", name="Save", exact=True).click()
    expect(console.locator("[data-name=at] .text-red-600")).to_contain_text("has passed")
    assert not PeriodicTask.objects.exists()

    later = timezone.now() + timedelta(days=30)
    console.fill("input[name=at]", f"{later:%Y-%m-%dT09:30:00}")
    expect(console.locator("#jw-preview")).to_contain_text(f"Once at {later:%Y-%m-%d} 09:30 UTC")
    console.get_by_role("button", name="Save", exact=True).click()
    expect(console.locator("#result_list")).to_contain_text("launch")
    row = PeriodicTask.objects.get(name="launch")
    assert row.one_off
    assert f"{row.clocked.clocked_time:%Y-%m-%d %H:%M}" == f"{later:%Y-%m-%d} 09:30"


def test_pausing_in_a_dialog(console: Page, live_server: LiveServer) -> None:
    open_page(console, live_server, f"{SCHEDULES}add/")
    console.fill("input[name=name]", "pulse")
    choose(console, "task", "jobs.canary")
    console.get_by_text("Every so often").click()
    console.fill("input[name=every]", "15")
    expect(console.locator("#jw-preview")).to_contain_text("Every 15 minutes")
    console.get_by_role("button", name="Save and continue editing").click()

    console.get_by_role("link", name="Pause").click()
    console.fill("#dialog textarea[name=note]", "deploy")
    console.fill("#dialog input[name=until]", "2020-01-01T00:00:00")
    console.locator("#dialog button[type=submit]").click()
    expect(console.locator("#dialog")).to_contain_text("This has passed")
    console.fill("#dialog input[name=until]", "")
    console.locator("#dialog button[type=submit]").click()
    expect(console.locator("#jw-overview")).to_contain_text("Paused by ada")
    assert Schedule.objects.get().pause_note == "deploy"
    console.get_by_role("link", name="Resume").click()
    console.locator("#dialog button[type=submit]").click()
    expect(console.locator("#jw-overview")).not_to_contain_text("Paused by ada")
    assert PeriodicTask.objects.get().enabled
