"""Rows of django-celery-beat: when its own scheduler fired otherwise (SEMANTICS 7)."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django_celery_beat.models import CrontabSchedule, PeriodicTask

from jobs.insight.legacy import report
from jobs.models import Schedule
from tests.jobs.builders import cron, every, once
from tests.jobs.test_cli_runner import cli

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.semantics(7)]

NOW = datetime(2027, 1, 1, tzinfo=UTC)
YORK = "America/New_York"


def found(expression: str, tz: str = YORK, *, years: float = 1, **fields: Any) -> dict[str, Any]:
    schedule = cron(expression, tz=tz, **fields)
    return report(schedule, now=NOW, years=years).document()


def pairs(document: dict[str, Any]) -> list[tuple[str | None, str | None]]:
    return [(item["before_local"], item["now_local"]) for item in document["differences"]]


def test_a_fixed_time_in_the_gap_was_an_hour_late() -> None:
    document = found("30 2 * * *", years=5)
    assert (document["moved"], document["only_before"], document["only_now"]) == (5, 0, 0)
    assert pairs(document)[0] == ("2027-03-14T03:30:00-04:00", "2027-03-14T03:00:00-04:00")
    assert document["differences"][0]["why"] == "dst_gap"


def test_the_repeated_hour_was_lost() -> None:
    document = found("*/30 * * * *")
    assert pairs(document) == [
        (None, "2027-11-07T01:00:00-05:00"),
        (None, "2027-11-07T01:30:00-05:00"),
    ]
    assert pairs(found("0 * * * *", "Europe/Berlin")) == [(None, "2027-10-31T02:00:00+01:00")]


def test_every_minute_of_five_years_is_quick() -> None:
    document = found("* * * * *", "Europe/Berlin", years=5)
    assert document["only_now"] == 5 * 60
    assert (document["moved"], document["only_before"]) == (0, 0)


def test_half_an_hour_on_lord_howe() -> None:
    document = found("15 2 * * *", "Australia/Lord_Howe")
    assert pairs(document) == [("2027-10-03T02:45:00+11:00", "2027-10-03T02:30:00+11:00")]
    assert pairs(found("*/15 * * * *", "Australia/Lord_Howe")) == [
        (None, "2027-04-04T01:30:00+10:30"),
        (None, "2027-04-04T01:45:00+10:30"),
    ]


def test_what_does_not_differ_says_nothing() -> None:
    for expression, tz in (("30 2 * * *", "UTC"), ("0 12 * * 1-5", YORK), ("0 12 1 */3 *", "Europe/Berlin")):
        document = found(expression, tz, years=5)
        assert (document["differences"], document["notes"]) == ([], [])


def test_a_weekday_7_never_ran() -> None:
    document = found("0 9 * * 7", years=0.1)
    assert document["only_now"] == 5
    assert "never ran it" in document["notes"][0]
    assert "2027-01-03T09:00:00-05:00" in {item["now_local"] for item in document["differences"]}


def test_a_start_time_was_a_run_off_the_grid() -> None:
    start = datetime(2027, 2, 1, 12, 34, tzinfo=UTC)
    document = found("0 9 * * *", "UTC", start_time=start)
    assert pairs(document) == [("2027-02-01T12:34:00+00:00", None)]


def test_an_end_on_a_run_is_included_now() -> None:
    document = found("0 9 * * *", "UTC", expires=datetime(2027, 2, 1, 9, tzinfo=UTC))
    assert pairs(document) == [(None, "2027-02-01T09:00:00+00:00")]


def test_a_policy_that_the_old_scheduler_did_not_know() -> None:
    schedule = cron("0 9 * * *", tz="UTC")
    Schedule.objects.filter(pk=schedule.pk).update(cron_day_of_month="L")
    document = report(Schedule.objects.get(), now=NOW, years=0.2).document()
    assert (document["only_before"], document["only_now"]) == (71, 0)
    often = cron("* * 15 * 5", tz="UTC")
    Schedule.objects.filter(pk=often.pk).update(day_match="vixie")
    document = report(Schedule.objects.get(pk=often.pk), now=NOW, years=5).document()
    assert "too often to follow" in document["notes"][0]
    assert document["only_now"] > 0


def test_rows_that_are_not_crontabs_and_rows_that_are_broken() -> None:
    assert "drifts" in report(every(60), now=NOW, years=1).document()["notes"][0]
    assert "Once" in report(once(NOW + timedelta(days=9)), now=NOW, years=1).document()["notes"][0]
    bad = CrontabSchedule.objects.bulk_create([CrontabSchedule(minute="61")])[0]
    row = PeriodicTask.objects.create(name="bad", task="jobs.canary", crontab=bad)
    document = report(Schedule.objects.get(pk=row.pk), now=NOW, years=1).document()
    assert "cannot fire here" in document["notes"][0]


def test_the_command() -> None:
    cron("30 2 * * *", "gap", tz=YORK)
    cron("0 9 * * *", "same")
    result = cli("schedules", "import-celery-beat", "--report", "--json")
    assert result.code == 0
    gap, same = sorted(result.items, key=lambda item: item["name"])
    assert (gap["moved"], same["differences"]) == (5, [])
    assert json.loads(json.dumps(gap)) == gap
    text = cli("schedules", "import-celery-beat", "gap", "-n", "1")
    assert text.out.startswith("gap (30 2 * * * America/New_York): 5 moved")
    assert "... and 4 more" in text.out
    assert "0 taken over now" in text.err
    assert cli("schedules", "import-celery-beat", "nobody").code == 3
