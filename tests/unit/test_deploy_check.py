"""`manage.py check`: clean as in production, and every variable that is missing or bad named at once."""

from __future__ import annotations

import os
import re
import secrets
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured

from scheduler_project.variables import Variables
from tests.unit.test_compose import OURS, SERVICES, settings_variables

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ("check", "--deploy", "--fail-level", "WARNING")
PRODUCTION = {
    "SECRET_KEY": secrets.token_urlsafe(64),
    "DATABASE_URL": "postgres://jadwal:password@db.example.com:5432/jadwal",
    "REDIS_URL": "redis://web:password@redis.example.com:6379/0",
    "EMAIL_URL": "smtp+tls://user:password@mail.example.com:587",
    "ALLOWED_HOSTS": "jadwal.example.com",
    "HTTPS": "True",
}


def manage(*words: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run a command with these variables and none of ours."""
    # The tests with a browser, in this same process, need the last one.
    ours = set(settings_variables()) | {"DJANGO_SETTINGS_MODULE", "DJANGO_ALLOW_ASYNC_UNSAFE"}
    environment = {name: value for name, value in os.environ.items() if name not in ours}
    return subprocess.run(
        [sys.executable, "manage.py", *words],
        cwd=ROOT,
        env={**environment, "JADWAL_STATE_DIR": "nowhere", **variables},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_the_settings_of_production_pass_every_check() -> None:
    done = manage(*DEPLOY, **PRODUCTION)
    assert (done.returncode, done.stderr) == (0, "")
    assert "no issues" in done.stdout


@pytest.mark.parametrize("service", sorted(set(OURS) - {"migrate"}))
def test_what_the_containers_are_given_passes_every_check(service: str) -> None:
    given = {}
    for name, value in SERVICES[service]["environment"].items():
        if value is not None and name in settings_variables():
            given[name] = re.sub(r"\$\{(\w+):\?[^}]*\}", lambda match: PRODUCTION.get(match[1], "pw"), value)
    behind_a_proxy = {"HTTPS": "True", "ALLOWED_HOSTS": "jadwal.example.com"}
    done = manage(*DEPLOY, **given, **behind_a_proxy)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"HTTPS": "False"}, "security.W008"),
        ({"DEBUG": "True"}, "security.W018"),
        ({"SECRET_KEY": "short"}, "security.W009"),
        ({"SECRET_KEY": ""}, "SECRET_KEY is not set"),
        ({"DATABASE_URL": ""}, "DATABASE_URL is not set"),
        ({"DATABASE_URL": "postgres://jadwal@db.example.com/jadwal"}, "DATABASE_URL has no password"),
        ({"REDIS_URL": "redis://redis.example.com:6379/0"}, "REDIS_URL has no password"),
        ({"ALLOWED_HOSTS": "*"}, "answers to any name"),
        ({"JADWAL_RETENTION_FAILED_DAYS": "1"}, "jobs.W001"),
        ({"JADWAL_SECRETS_DIR": "/tmp"}, "Everybody may write into JADWAL_SECRETS_DIR"),
    ],
)
def test_what_is_not_fit_for_production_is_told(changes: dict[str, str], complaint: str) -> None:
    done = manage(*DEPLOY, **{**PRODUCTION, **changes})
    assert done.returncode == 1
    assert complaint in done.stderr


def test_on_a_machine_of_ones_own_the_ordinary_check_is_clean() -> None:
    assert manage("check", SECRET_KEY="x").returncode == 0


def test_everything_that_does_not_go_together_is_said_at_once() -> None:
    done = manage(
        "check",
        JADWAL_LEASE_SECONDS="12",
        JADWAL_SWEEP_SECONDS="0",
        JADWAL_TIME_LIMIT="10",
        JADWAL_MAX_ATTEMPTS="0",
        JADWAL_SHUTDOWN_GRACE="-1",
        JADWAL_RETENTION_FAILED_DAYS="never",
        JADWAL_SECRETS_DIR="/nonexistent",
        REDIS_URL="amqp://elsewhere",
    )
    assert done.returncode == 1
    for said in (
        "SECRET_KEY is not set",
        "JADWAL_LEASE_SECONDS is 12: it must be at least 3 times JADWAL_HEARTBEAT_SECONDS, 10",
        "JADWAL_SWEEP_SECONDS must be more than 0",
        "JADWAL_SOFT_TIME_LIMIT is 3540: it must be more than 0, and no more than JADWAL_TIME_LIMIT, 10",
        "JADWAL_MAX_ATTEMPTS must be 1 or more",
        "JADWAL_SHUTDOWN_GRACE must not be less than 0",
        "retention of 'failed' is 'never'",
        "JADWAL_SECRETS_DIR is '/nonexistent'",
        "REDIS_URL must begin with redis://",
    ):
        assert said in done.stderr, said


@pytest.mark.parametrize("words", [("check",), ("jobs", "list"), ("migrate", "--plan")], ids=" ".join)
def test_everything_that_cannot_be_read_is_one_line_without_secrets(words: tuple[str, ...]) -> None:
    done = manage(
        *words,
        **{
            **PRODUCTION,
            "HTTPS": "maybe",
            "JADWAL_LEASE_SECONDS": "soon",
            "JADWAL_MAX_ATTEMPTS": "5.5",
            "DATABASE_URL": "mysql://root:hunter22@db/jadwal",
            "EMAIL_URL": "pigeon://user:hunter22@mail",
        },
    )
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr == (
        "error: DATABASE_URL must be an address such as postgres://user:password@host:5432/name; "
        "HTTPS must be True or False, not 'maybe'; "
        "EMAIL_URL must be an address such as smtp+tls://user:password@host:587; "
        "JADWAL_LEASE_SECONDS must be a number, not 'soon'; "
        "JADWAL_MAX_ATTEMPTS must be a whole number, not '5.5'.\n"
    )


def test_no_process_starts_with_a_value_that_cannot_be_read() -> None:
    for program in (
        [sys.executable, "-c", "import scheduler_project.wsgi"],
        [sys.executable, "-m", "celery", "-A", "scheduler_project", "report"],
    ):
        done = subprocess.run(
            program,
            cwd=ROOT,
            env={**os.environ, **PRODUCTION, "JADWAL_LEASE_SECONDS": "soon"},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode != 0
        assert "JADWAL_LEASE_SECONDS must be a number, not 'soon'" in done.stderr


# --- Reading one variable --------------------


@pytest.mark.parametrize(
    ("kind", "text", "default", "value"),
    [
        ("bool", "True", False, True), ("bool", "1", False, True), ("bool", "yes", False, True),
        ("bool", "off", True, False), ("bool", "0", True, False), ("bool", "", True, True),
        ("int", " 7 ", 1, 7), ("int", "", 1, 1), ("float", "2.5", 1.0, 2.5),
        ("list", "a, b,,c ", ["x"], ["a", "b", "c"]), ("list", "", ["x"], []),
        ("str", "$HOME is kept, \\$too", "", "$HOME is kept, \\$too"), ("str", "", "x", ""),
    ],
)  # fmt: skip
def test_a_value_is_read(kind: str, text: str, default: Any, value: Any) -> None:
    env = Variables({"NAME": text})
    assert getattr(env, kind)("NAME", default=default) == value
    env.refuse_bad_ones()
    assert getattr(env, kind)("OTHER", default=default) == default


@pytest.mark.parametrize(
    ("kind", "text"),
    [("bool", "maybe"), ("int", "1.5"), ("int", "one"), ("float", "nan"), ("float", "inf"), ("float", "1,5")],
)
def test_a_bad_value_counts_as_the_default_until_it_is_refused(kind: str, text: str) -> None:
    env = Variables({"NAME": text})
    assert getattr(env, kind)("NAME", default=1) == 1
    with pytest.raises(ImproperlyConfigured, match=f"^NAME must be .*, not '{text}'.$"):
        env.refuse_bad_ones()


@pytest.mark.parametrize(
    "text", ["nonsense", "mysql://h/x", "postgres://host", "postgres://u:hunter22@h:port/x"]
)
def test_a_bad_address_is_not_repeated(text: str) -> None:
    env = Variables({"DATABASE_URL": text})
    assert env.db_url("DATABASE_URL", default="postgres://a@b/c")["NAME"] == "c"
    with pytest.raises(ImproperlyConfigured) as caught:
        env.refuse_bad_ones()
    assert text not in str(caught.value)
