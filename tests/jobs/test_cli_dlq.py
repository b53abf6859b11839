"""`manage.py dlq`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import redis as redis_client

from jobs.models import Job, JobLog
from jobs.rules.states import Status
from tests.jobs.builders import job
from tests.jobs.test_cli_jobs import failed
from tests.jobs.test_cli_runner import cli

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def letters() -> list[Job]:
    return [
        failed("ValueError: one", queue="billing"),
        failed("ValueError: two", task="other.task"),
        failed("TimeLimitExceeded: killed", schedule_name="nightly"),
        failed("The worker w@x was lost."),
    ]


def statuses() -> list[str]:
    return list(Job.objects.order_by("created_at", "id").values_list("status", flat=True))


def test_list_and_groups(letters: list[Job]) -> None:
    job()
    items = cli("dlq", "list", "--json").items
    assert [item["id"] for item in items] == [letter.id for letter in reversed(letters)]
    assert items[1]["exception"] == "TimeLimitExceeded"
    groups = cli("dlq", "list", "--group-by", "exception", "--json").items
    assert {group["exception"]: group["count"] for group in groups} == {
        "ValueError": 2,
        "TimeLimitExceeded": 1,
        "exhausted": 1,
    }
    assert groups[0]["example"] == letters[1].id
    queues = cli("dlq", "list", "--group-by", "queue", "--json").items
    assert [(group["queue"], group["count"]) for group in queues] == [("default", 3), ("billing", 1)]
    assert "ValueError" in cli("dlq", "list", "--group-by", "exception").out
    assert cli("dlq", "list", "--group-by", "moon").code == 2


def test_show_has_tracebacks_and_logs() -> None:
    letter = failed()
    JobLog.objects.create(
        job=letter, attempt=1, level=20, logger="t", content="hi", logged_at=letter.started_at
    )
    document = cli("dlq", "show", letter.id, "--json").json
    assert document["attempt_history"][0]["traceback"] == "Traceback\n  here"
    assert document["logs"][0]["message"] == "hi"
    assert "Traceback" in cli("dlq", "show", letter.id).out
    waiting = job()
    assert cli("dlq", "show", waiting.id).code == 3


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        (("--exception", "ValueError"), ["waiting", "waiting", "failed", "failed"]),
        (("--queue", "billing"), ["waiting", "failed", "failed", "failed"]),
        (("--task", "other.task"), ["failed", "waiting", "failed", "failed"]),
        (("--schedule", "nightly"), ["failed", "failed", "waiting", "failed"]),
        (("--exception", "ValueError", "--queue", "billing"), ["waiting", "failed", "failed", "failed"]),
        (("--all",), ["waiting"] * 4),
    ],
)
def test_replay_selects(
    redis: redis_client.Redis, letters: list[Job], flags: tuple[str, ...], expected: list[str]
) -> None:
    result = cli("dlq", "replay", *flags, "--yes", "--json")
    assert statuses() == expected
    count = expected.count("waiting")
    assert (result.json["selected"], result.json["replayed"], len(result.json["ids"])) == (
        count,
        count,
        count,
    )
    assert "selected" in result.err


def test_ids_need_no_confirmation_and_are_all_or_nothing(
    redis: redis_client.Redis, letters: list[Job]
) -> None:
    alive = job()
    refused = cli("dlq", "replay", letters[0].id, alive.id)
    assert (refused.code, statuses().count("failed")) == (4, 4)
    assert cli("dlq", "replay", letters[0].id, letters[1].id).out == "replayed 2 of 2\n"
    assert cli("dlq", "discard", letters[2].id, "--json").json["discarded"] == 1
    assert Job.objects.get(id=letters[2].id).status == Status.CANCELLED
    assert cli("dlq", "discard", letters[2].id).code == 4
    assert cli("dlq", "replay", "no-such-job-id").code == 3


@pytest.mark.parametrize("verb", ["replay", "discard"])
def test_bulk_needs_a_filter_and_a_yes(letters: list[Job], verb: str) -> None:
    nothing = cli("dlq", verb)
    assert (nothing.code, "--all" in nothing.err) == (2, True)
    unconfirmed = cli("dlq", verb, "--all")
    assert (unconfirmed.code, "--yes" in unconfirmed.err) == (2, True)
    assert unconfirmed.err.startswith("4 dead letters selected")
    assert cli("dlq", verb, "--all", "--queue", "billing", "--yes").code == 2
    assert cli("dlq", verb, letters[0].id, "--queue", "billing").code == 2
    assert statuses() == ["failed"] * 4
    assert cli("dlq", verb, "--queue", "nobody", "--json").json == {"selected": 0, f"{verb}ed": 0, "ids": []}


def test_export(letters: list[Job], tmp_path: Path) -> None:
    items = cli("dlq", "export", "--exception", "ValueError").items
    assert {item["id"] for item in items} == {letters[0].id, letters[1].id}
    assert items[0]["attempt_history"][0]["traceback"].startswith("Traceback")
    path = tmp_path / "letters.json"
    assert cli("dlq", "export", "--output", path).out == ""
    assert len(json.loads(path.read_text())["items"]) == 4
    assert cli("dlq", "export", "--output", tmp_path / "no" / "folder").code == 1
