"""Asking for jobs by HTTP."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest
import redis as redis_client
from auditlog.models import LogEntry
from django.contrib.auth.models import Permission, User
from django.core.management import CommandError, call_command
from django.test import Client

from jobs.engine import tokens
from jobs.engine.clock import database_now
from jobs.models import ApiToken, Job
from tests.jobs.builders import job

pytestmark = pytest.mark.django_db(transaction=True)


def client_of(user: User, name: str = "") -> Client:
    """A client that shows a new token of `user`."""
    _, text = tokens.create(name or user.username, user)
    return Client(headers={"Authorization": f"Bearer {text}"})


@pytest.fixture
def root(redis: redis_client.Redis) -> Client:
    return client_of(User.objects.create_superuser("root"))


def post(client: Client, path: str = "", **document: Any) -> Any:
    return client.post(f"/api/v1/jobs{path}", json.dumps(document), content_type="application/json")


def test_a_job_is_made_and_looked_at(root: Client, redis: redis_client.Redis) -> None:
    made = post(root, task="jobs.canary", kwargs={"note": "hello"})
    assert made.status_code == 201
    document = made.json()
    assert (document["status"], document["kwargs"], document["trigger"]) == (
        "waiting",
        {"note": "hello"},
        "action",
    )
    assert redis.llen("default") == 1
    assert root.get(f"/api/v1/jobs/{document['id']}").json() == document
    assert [item["id"] for item in root.get("/api/v1/jobs?status=waiting").json()["items"]] == [
        document["id"]
    ]
    assert root.get("/api/v1/jobs?status=failed").json() == {"items": []}


def test_an_id_makes_one_job(root: Client, redis: redis_client.Redis) -> None:
    first, second = (post(root, task="jobs.canary", id="order-17") for _ in range(2))
    assert (first.status_code, second.status_code) == (201, 200)
    assert Job.objects.count() == redis.llen("default") == 1


def test_a_time_to_come(root: Client) -> None:
    eta = database_now() + timedelta(hours=1)
    made = post(root, task="jobs.canary", eta=eta.isoformat())
    assert (made.json()["status"], Job.objects.get().available_at) == ("delayed", eta)


def test_ten_megabytes_are_too_large(root: Client) -> None:
    answer = post(root, task="jobs.canary", args=["x" * 10_000_000])
    assert (answer.status_code, answer["Content-Type"]) == (413, "application/problem+json")
    assert answer.json()["title"] == "Request Entity Too Large"
    assert Job.objects.count() == 0


@pytest.mark.parametrize("size", [1_100_000, 3_000_000])
def test_what_is_over_the_cap_is_too_large_whoever_notices(root: Client, size: int) -> None:
    answer = post(root, task="jobs.canary", args=["x" * size])
    assert (answer.status_code, Job.objects.count()) == (413, 0)


@pytest.mark.parametrize(
    ("document", "status", "word"),
    [
        ({"task": "no.such"}, 422, "no task named"),
        ({"task": "celery.backend_cleanup"}, 403, "celery.backend_cleanup"),
        ({}, 422, "right form"),
        ({"task": "jobs.canary", "args": "text"}, 422, "right form"),
        ({"task": "jobs.canary", "eta": "2026-01-01T00:00:00"}, 422, "right form"),
        ({"task": "jobs.canary", "kwargs": {"note": "\x00"}}, 422, "NUL"),
    ],
)
def test_what_is_refused(root: Client, document: dict[str, Any], status: int, word: str) -> None:
    answer = post(root, **document)
    assert (answer.status_code, answer["Content-Type"]) == (status, "application/problem+json")
    assert word in answer.json()["detail"]
    assert Job.objects.count() == 0


def test_without_a_token_there_is_nothing(redis: redis_client.Redis) -> None:
    user = User.objects.create_superuser("root")
    token, text = tokens.create("ci", user)
    for headers in ({}, {"Authorization": "Bearer jdw_wrong"}, {"Authorization": text}):
        answer = Client(headers=headers).get("/api/v1/jobs")
        assert (answer.status_code, answer["WWW-Authenticate"]) == (401, "Bearer")
    client = Client(headers={"Authorization": f"Bearer {text}"})
    assert client.get("/api/v1/jobs").status_code == 200
    ApiToken.objects.update(expires_at=database_now())
    assert client.get("/api/v1/jobs").status_code == 401
    ApiToken.objects.update(expires_at=None)
    tokens.revoke(token.name, database_now())
    assert client.get("/api/v1/jobs").status_code == 401


def test_a_session_of_the_console_does_not_open_the_api(redis: redis_client.Redis) -> None:
    browser = Client()
    browser.force_login(User.objects.create_superuser("root"))
    assert post(browser, task="jobs.canary").status_code == 401


def test_a_user_asks_for_what_the_user_may_schedule(redis: redis_client.Redis) -> None:
    user = User.objects.create_user("clerk")
    client = client_of(user)
    task = "notifications.send_email"
    assert post(client, task=task).status_code == 403
    user.user_permissions.add(
        Permission.objects.get(codename="schedule_tasks", content_type__app_label="notifications")
    )
    made = post(client, task=task)
    assert made.status_code == 201
    assert client.get(f"/api/v1/jobs/{made.json()['id']}").status_code == 200
    assert client.get("/api/v1/jobs").status_code == 403, "that takes jobs.view_job"
    other = job(task="billing.daily_sales_report")
    assert client.get(f"/api/v1/jobs/{other.id}").status_code == 403
    assert post(client, f"/{other.id}/cancel").status_code == 403


def test_a_job_is_cancelled_once(root: Client) -> None:
    row = job()
    assert post(root, f"/{row.id}/cancel").json()["status"] == "cancelled"
    assert post(root, f"/{row.id}/cancel").status_code == 409
    assert post(root, "/no-such-job/cancel").status_code == 404


def test_what_a_token_does_is_in_the_audit(root: Client) -> None:
    post(root, task="jobs.canary")
    entry = LogEntry.objects.order_by("-id").first()
    assert entry is not None
    assert (entry.actor.username, entry.object_pk) == ("root", Job.objects.get().id)


def test_the_description_names_every_path(root: Client) -> None:
    paths = root.get("/api/v1/openapi.json").json()["paths"]
    assert set(paths) == {"/api/v1/jobs", "/api/v1/jobs/{job_id}", "/api/v1/jobs/{job_id}/cancel"}


class TestTokensCommand:
    def test_made_used_listed_revoked(
        self, redis: redis_client.Redis, capsys: pytest.CaptureFixture[str]
    ) -> None:
        User.objects.create_superuser("root")
        call_command("tokens", "create", "ci", "--user", "root", "--expires", "90d", "--json")
        made = json.loads(capsys.readouterr().out)
        client = Client(headers={"Authorization": f"Bearer {made['token']}"})
        assert client.get("/api/v1/jobs").status_code == 200
        call_command("tokens", "list", "--json")
        (listed,) = json.loads(capsys.readouterr().out)["items"]
        assert listed["last_used_at"] is not None
        assert "token" not in listed
        call_command("tokens", "revoke", "ci")
        assert client.get("/api/v1/jobs").status_code == 401

    @pytest.mark.parametrize(
        ("words", "code"),
        [(("create", "x", "--user", "nobody"), 3), (("revoke", "nothing"), 3)],
    )
    def test_what_is_not_there(self, words: tuple[str, ...], code: int) -> None:
        with pytest.raises(CommandError) as failure:
            call_command("tokens", *words)
        assert failure.value.returncode == code
