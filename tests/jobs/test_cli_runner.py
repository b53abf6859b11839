"""What all commands have in common: JSON, one-line errors, exit codes; and the way tests call them."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError

from tests.jobs.builders import job

PROJECT = Path(__file__).resolve().parents[2]
NOWHERE = {"DATABASE_URL": "postgres://nobody@127.0.0.1:1/nothing", "REDIS_URL": "redis://127.0.0.1:1/0"}


@dataclass(frozen=True)
class Result:
    """What a command wrote, and how it ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    @property
    def items(self) -> list[dict[str, Any]]:
        return list(self.json["items"])


def cli(*words: object) -> Result:
    """Run a command in this process, as `manage.py` would."""
    out, err = io.StringIO(), io.StringIO()
    command, *arguments = map(str, words)
    try:
        call_command(command, *arguments, stdout=out, stderr=err)
    except CommandError as error:
        return Result(error.returncode, out.getvalue(), f"{err.getvalue()}{error}")
    return Result(0, out.getvalue(), err.getvalue())


def shell(*words: str, **environment: str) -> Result:
    """Run a command in a process of its own."""
    done = subprocess.run(
        [sys.executable, "manage.py", *words],
        cwd=PROJECT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return Result(done.returncode, done.stdout, done.stderr)


def test_a_preview_of_an_expression_needs_no_database_and_no_broker() -> None:
    result = shell("schedules", "preview", "--cron", "0 3 * * *", "--json", **NOWHERE)
    assert (result.code, result.err) == (0, "")
    assert len(result.items) == 10
    assert set(result.items[0]) == {"scheduled_for", "local", "runs_at", "note"}


def test_a_database_that_is_away_is_one_line_and_exit_5() -> None:
    result = shell("schedules", "list", **NOWHERE)
    assert (result.code, result.out) == (5, "")
    assert result.err.startswith("error: The database does not answer (connection failed")
    assert result.err.count("\n") == 1
    assert "manage.py up" in result.err


def test_usage_errors_exit_2_and_name_the_help() -> None:
    result = shell("schedules", "show", **NOWHERE)
    assert (result.code, result.out) == (2, "")
    assert result.err == "error: Missing argument 'NAME': see 'manage.py schedules show --help'.\n"


def test_a_traceback_only_on_request_and_with_the_same_exit_code() -> None:
    plain = shell("schedules", "preview", "--cron", "61 * * * *")
    traced = shell("schedules", "preview", "--cron", "61 * * * *", "--traceback")
    before = shell("schedules", "--traceback", "preview", "--cron", "61 * * * *")
    assert (plain.code, traced.code, before.code) == (2, 2, 2)
    assert plain.err == "error: The minute field '61' is not valid: 61 is above 59.\n"
    assert "Traceback" in traced.err
    assert "Traceback" in before.err


def test_a_closed_pipe_is_no_error() -> None:
    words = [sys.executable, "manage.py", "schedules", "preview", "--cron", "* * * * *", "-n", "20000"]
    process = subprocess.Popen(words, cwd=PROJECT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.readline()
    process.stdout.close()
    assert (process.wait(30), process.stderr.read()) == (0, "")
    process.stderr.close()


@pytest.mark.parametrize("noun", ["schedules", "jobs", "dlq", "queues", "workers"])
def test_an_unknown_verb_names_the_known_ones(noun: str) -> None:
    result = cli(noun, "frobnicate")
    assert result.code == 2
    assert "list" in result.err


@pytest.mark.parametrize("noun", ["schedules", "jobs", "dlq", "workers"])
@pytest.mark.django_db
def test_an_empty_list_is_a_document_too(noun: str) -> None:
    assert cli(noun, "list", "--json").json == {"items": []}
    assert cli(noun, "--json", "list").json == {"items": []}
    assert cli(noun, "list").out == ""


@pytest.mark.django_db
def test_piped_text_is_aligned_and_has_no_colours() -> None:
    job()
    head, row = cli("jobs", "list").out.splitlines()
    assert head.index("STATUS") == row.index("waiting")
    assert "\x1b" not in row


def test_a_table_on_a_terminal_has_colours_unless_no_color_is_set() -> None:
    command = f"{sys.executable} manage.py schedules preview --cron '0 3 * * *' -n 1"
    outputs = []
    for extra in ({"NO_COLOR": ""}, {"NO_COLOR": "1"}):
        done = subprocess.run(
            ["script", "-qec", command, "/dev/null"],
            cwd=PROJECT,
            env={**os.environ, "TERM": "xterm-256color", **NOWHERE, **extra},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            stdin=subprocess.DEVNULL,
        )
        outputs.append(done.stdout)
    assert "SCHEDULED FOR" in outputs[0]
    assert "\x1b[1" in outputs[0]
    assert not any(f"\x1b[{code}m" in outputs[1] for code in range(30, 38))
