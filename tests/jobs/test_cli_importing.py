"""`manage.py schedules import-crontab` and `import-celery-beat`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from celery import current_app
from django_celery_beat.models import PeriodicTask

from jobs.models import Schedule
from tests.jobs.builders import every
from tests.jobs.test_cli_runner import Result, cli

pytestmark = pytest.mark.django_db(transaction=True)


@current_app.task(name="tests.shell")
def shell_task(command: str) -> None:
    """A task that takes a command and nothing else."""


@current_app.task(name="tests.full_shell")
def full_shell_task(command: str, stdin: str = "", user: str = "", env: dict[str, str] | None = None) -> None:
    """A task that takes all that cron knows of a command."""


CRONTAB = """\
# nightly work
PATH=/usr/bin
MAILTO=ada@example.org
CRON_TZ=Europe/Berlin
30 2 1 * mon /usr/local/bin/backup.sh --full
@reboot /bin/start
0 4 * * * python manage.py clearsessions >> /var/log/x 2>&1
*/5 * * * * mail -s hi ada%Hello
61 * * * * nonsense
"""


def run(tmp_path: Path, text: str, *words: object) -> Result:
    file = tmp_path / "crontab"
    file.write_text(text)
    return cli("schedules", "import-crontab", file, *words, "--json")


def by_line(result: Result) -> dict[int, dict[str, Any]]:
    return {item["line"]: item for item in result.items}


def test_every_line_becomes_something_or_says_why(tmp_path: Path) -> None:
    result = run(tmp_path, CRONTAB, "--task", "tests.shell", "--prefix", "web1 ")
    assert result.code == 1
    lines = by_line(result)
    assert {number: item["outcome"] for number, item in lines.items()} == {
        1: "comment", 2: "noted", 3: "unmapped", 4: "mapped", 5: "mapped", 6: "unmapped", 7: "mapped",
        8: "unmapped", 9: "unmapped",
    }  # fmt: skip
    for number, why in (
        (3, "nothing is sent to ada@example.org"),
        (5, "the environment (PATH) is left out"),
        (6, "@reboot has no meaning"),
        (8, "standard input after a %"),
        (9, "61 is above 59"),
    ):
        assert why in lines[number]["reason"], lines[number]
    made = Schedule.objects.named("web1 backup.sh --full")
    row = made.periodic_task
    assert (made.day_match, made.manager, made.max_attempts) == ("vixie", "crontab", 1)
    assert (row.crontab.day_of_month, row.crontab.day_of_week, str(row.crontab.timezone)) == (
        "1", "mon", "Europe/Berlin",
    )  # fmt: skip
    assert json.loads(row.kwargs) == {"command": "/usr/local/bin/backup.sh --full"}
    assert made.note == "crontab, line 5: 30 2 1 * mon /usr/local/bin/backup.sh --full"
    assert "5 lines" not in result.err
    assert "4 lines could not be taken over" in result.err
    again = run(tmp_path, CRONTAB, "--task", "tests.shell", "--prefix", "web1 ")
    assert "0 created, 0 changed, 2 unchanged" in again.err


def test_strict_and_dry_run_create_nothing(tmp_path: Path) -> None:
    result = run(tmp_path, CRONTAB, "--task", "tests.shell", "--strict")
    assert (result.code, "Nothing was changed" in result.err) == (1, True)
    result = run(tmp_path, "0 1 * * * x\n", "--task", "tests.shell", "--dry-run")
    assert (result.code, "dry run: 1 created" in result.err) == (0, True)
    assert not Schedule.objects.exists()
    assert run(tmp_path, "0 1 * * * x\n", "--task", "tests.shell", "--strict").code == 0


def test_without_a_task_nothing_can_be_taken_over(tmp_path: Path) -> None:
    result = run(tmp_path, "0 1 * * * x\n0 2 * * * ./manage.py migrate\n")
    lines = by_line(result)
    assert (result.code, lines[1]["outcome"]) == (1, "unmapped")
    assert "add --task TASK" in lines[1]["reason"]
    if "jobs.management_command" not in current_app.tasks:
        assert "no task 'jobs.management_command' is registered" in lines[2]["reason"]


def test_users(tmp_path: Path) -> None:
    text = "0 1 * * * root x\n0 1 * * * ada x\n"
    lines = by_line(run(tmp_path, text, "--system", "--task", "tests.shell", "--as-user", "ada"))
    assert "add --as-user root" in lines[1]["reason"]
    assert (lines[2]["schedule"], lines[2]["kwargs"]) == ("x", {"command": "x"})


def test_a_task_that_takes_it_all_gets_it_all(tmp_path: Path) -> None:
    text = "A=b\n0 1 * * * root x%y\n0 1 * * * root x%y\n"
    result = run(tmp_path, text, "--user-column", "--task", "tests.full_shell")
    lines = by_line(result)
    assert result.code == 0
    assert lines[2]["kwargs"] == {"command": "x", "stdin": "y", "user": "root", "env": {"A": "b"}}
    assert (lines[2]["schedule"], lines[3]["schedule"]) == ("x", "x (2)")


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("./manage.py clearsessions", ["clearsessions"]),
        ("cd /srv/app && .venv/bin/python manage.py x --a 'b c' >> log 2>&1", ["x", "--a", "b c"]),
        ("python3 /srv/manage.py x > /dev/null", ["x"]),
        ("python manage.py x | mail ada", None),
        ("python manage.py x && y", None),
        ("python manage.py", None),
        ("flock lock python manage.py x", None),
        ("python manage.py 'x", None),
        ("grep manage.py x", None),
    ],
)
def test_commands_of_django(command: str, words: list[str] | None) -> None:
    from jobs.cli.crontab_import import _django_command

    assert _django_command(command) == words


def test_what_is_refused(tmp_path: Path) -> None:
    for words, why in (
        (("--tz", "Mars"), "no time zone named 'Mars'"),
        (("--task", "test.shell"), "Did you mean 'tests.shell'?"),
        (("--task", "celery.backend_cleanup"), "a task of Celery itself; name it in JADWAL_SCHEDULABLE"),
    ):
        result = run(tmp_path, "0 1 * * * x\n", *words)
        assert (result.code, why in result.err) == (2, True), result.err
    assert cli("schedules", "import-crontab", "/nowhere").code == 2
    every(60, "x")
    result = run(tmp_path, "0 1 * * * x\n", "--task", "tests.shell")
    assert (result.code, "was made by hand" in result.err) == (4, True)
    assert PeriodicTask.objects.count() == 1
