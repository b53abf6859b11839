"""References to secrets: what is one, who has the secret, and that a payload keeps the reference."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from django_celery_beat.models import PeriodicTask

from jobs.engine import executing, held_secrets
from jobs.engine.executing import Execution
from jobs.engine.held_secrets import SecretError
from jobs.insight import doctoring
from jobs.models import Job, Quarantine
from jobs.rules import secret_references
from jobs.rules.states import Trigger
from tests.jobs.builders import begin, every, job
from tests.jobs.test_admin_schedules import ADD, errors, form
from tests.jobs.test_cli_runner import cli

SECRET = "s3cr3t-of-the-tests"


@pytest.fixture
def token(monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("JADWAL_SECRET_TOKEN", SECRET)
    return SECRET


@pytest.fixture
def folder(tmp_path: Path, settings: Any) -> Path:
    settings.JADWAL = {**settings.JADWAL, "SECRETS_DIR": str(tmp_path)}
    return tmp_path


# --- What is a reference --------------------


@pytest.mark.parametrize(
    ("payload", "found"),
    [
        ({"$secret": "TOKEN"}, ["TOKEN"]),
        ({"a": [{"b": {"$secret": "smtp_password"}}, {"$secret": "A1"}]}, ["A1", "smtp_password"]),
        ([{"$secret": "X"}, {"$secret": "X"}], ["X"]),
        ({"secret": "TOKEN", "$": "x"}, []),
        ("{'$secret': 'TOKEN'}", []),
        ({"$secret": "TOKEN", "more": 1}, []),
        ({"$secret": "../etc/passwd"}, []),
        ({"$secret": 7}, []),
    ],
)
def test_names(payload: Any, found: list[str]) -> None:
    assert secret_references.names(payload) == found


@pytest.mark.parametrize(
    ("reference", "why"),
    [
        ({"$secret": "../passwd"}, "'../passwd' is no name of a secret"),
        ({"$secret": "a-b"}, "is no name of a secret"),
        ({"$secret": "9x"}, "is no name of a secret"),
        ({"$secret": ""}, "is no name of a secret"),
        ({"$secret": "x" * 101}, "is no name of a secret"),
        ({"$secret": "X\n"}, "is no name of a secret"),
        ({"$secret": None}, "None is no name of a secret"),
        ({"$secret": "X", "default": "y"}, "and no other; this one has 'default'"),
    ],
)
@pytest.mark.django_db
def test_what_is_no_reference_is_refused_on_save(admin_client: Any, reference: Any, why: str) -> None:
    payload = json.dumps({"note": reference})
    result = cli("schedules", "create", "x", "--task", "jobs.canary", "--every", "1h", "--kwargs", payload)
    assert result.code == 2
    assert why in result.err
    assert not PeriodicTask.objects.exists()
    refused = errors(admin_client.post(ADD, form(kwargs=payload)))
    assert why in " ".join(refused["kwargs"])
    every(3600, "by SQL", kwargs={"note": reference})
    assert why in cli("schedules", "validate").out


@pytest.mark.django_db
def test_a_reference_is_stored_and_shown_as_it_is() -> None:
    kwargs = '{"note": {"$secret": "TOKEN"}}'
    made = cli(
        "schedules", "create", "x", "--task", "jobs.canary", "--every", "1h", "--kwargs", kwargs, "--json"
    )
    assert made.json["kwargs"] == {"note": {"$secret": "TOKEN"}}
    assert json.loads(PeriodicTask.objects.get().kwargs) == {"note": {"$secret": "TOKEN"}}
    assert "$secret: TOKEN" in cli("schedules", "export").out


# --- Who has it --------------------


def test_the_environment_comes_before_the_folder(token: str, folder: Path) -> None:
    (folder / "TOKEN").write_text("from the file")
    (folder / "OTHER").write_text("from the file\n")
    assert held_secrets.look_up("TOKEN") == token
    assert held_secrets.look_up("OTHER") == "from the file"
    assert held_secrets.look_up("NONE") is None


@pytest.mark.parametrize(
    ("content", "value"),
    [
        (b"x\n", "x"),
        (b"x\r\n", "x"),
        (b"x\n\n", "x\n"),
        (b" x ", " x "),
        (b"a\nb\n", "a\nb"),
        (b"", None),
        (b"\n", None),
    ],
)
def test_a_file_ends_with_one_line_break_at_most(folder: Path, content: bytes, value: str | None) -> None:
    (folder / "X").write_bytes(content)
    assert held_secrets.look_up("X") == value


def test_a_file_that_cannot_be_read_is_said_by_its_name_only(folder: Path) -> None:
    (folder / "BINARY").write_bytes(b"\xff\xfesecret")
    (folder / "LARGE").write_bytes(b"x" * 70_000)
    (folder / "FOLDER").mkdir()
    for name in ("BINARY", "LARGE", "FOLDER"):
        with pytest.raises(SecretError, match=f"secret {name}") as caught:
            held_secrets.look_up(name)
        assert caught.value.__cause__ is None or "xff" not in str(caught.value.__cause__)


def test_a_link_of_a_mounted_secret_is_followed(folder: Path) -> None:
    (folder / "..data").mkdir()
    (folder / "..data" / "KEY").write_text("mounted")
    (folder / "KEY").symlink_to(Path("..data") / "KEY")
    assert held_secrets.look_up("KEY") == "mounted"


def test_no_folder_is_not_this_folder(settings: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "TOKEN").write_text("x")
    monkeypatch.chdir(tmp_path)
    assert held_secrets.look_up("TOKEN") is None


# --- In a started job --------------------


@pytest.mark.django_db
def test_a_started_job_has_the_value_and_its_row_the_reference(token: str) -> None:
    row = job(
        args=[{"$secret": "TOKEN"}, 1],
        kwargs={"deep": [{"x": {"$secret": "TOKEN"}}], "job_id": "{{ job_id }}"},
    )
    execution = begin(row)
    assert execution.started.args == [token, 1]
    assert execution.started.kwargs == {"deep": [{"x": token}], "job_id": "{{ job_id }}"}, (
        "a call has no names"
    )
    assert execution.secrets == {"TOKEN": token}
    stored = Job.objects.get(id=row.id)
    assert stored.args == [{"$secret": "TOKEN"}, 1]
    assert token not in repr(execution)


@pytest.mark.django_db
def test_names_and_secrets_are_filled_in_and_neither_looks_into_the_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("JADWAL_SECRET_TOKEN", "{{ job_id }}")
    schedule = every(
        60, "hourly", args=[{"$secret": "TOKEN"}, "{{ schedule }}", '{"$secret": "{{ schedule }}"}']
    )
    row = job(
        schedule_id=schedule.pk, schedule_name="hourly", nonce="1", trigger=Trigger.MANUAL,
        args=[{"$secret": "TOKEN"}, "{{ schedule }}", {"$secret": "{{ schedule }}"}],
    )  # fmt: skip
    execution = begin(row)
    assert execution.started.args == ["{{ job_id }}", "hourly", {"$secret": "hourly"}]
    assert execution.secrets == {"TOKEN": "{{ job_id }}"}


@pytest.mark.django_db
def test_a_secret_that_is_not_here_keeps_the_task_from_being_entered() -> None:
    execution = begin(job(args=[{"$secret": "NO_SUCH"}]))
    assert execution.problem == (
        "There is no secret named NO_SUCH here: set it in the environment of this worker, or give it a file "
        "with its name."
    )
    assert execution.started.args == [{"$secret": "NO_SUCH"}]
    two = begin(job(args=[{"$secret": "B"}, {"$secret": "A"}]))
    assert "no secrets A, B here" in two.problem


@pytest.mark.django_db
def test_a_secret_that_cannot_be_read_is_named(folder: Path) -> None:
    (folder / "BINARY").write_bytes(b"\xff\xfe")
    assert (
        begin(job(args=[{"$secret": "BINARY"}])).problem == "The file of the secret BINARY is not UTF-8 text."
    )


@pytest.mark.django_db
def test_what_another_program_sends_names_no_secret(token: str) -> None:
    said = {"args": [{"$secret": "TOKEN"}], "kwargs": {}, "headers": {}}
    for where in ("args", "kwargs", "headers"):
        call: dict[str, Any] = {"args": [], "kwargs": {}, "headers": {}}
        call[where] = said["args"] if where == "args" else {"x": said["args"]}
        assert executing.adopt(job_id=f"foreign-{where}", task="jobs.canary", queue="default", **call) is None
    assert Quarantine.objects.filter(problem__contains="may not name a secret").count() == 3
    assert not Job.objects.exists()
    row = job(trigger=Trigger.FOREIGN, args=[{"$secret": "TOKEN"}])
    assert begin(row).started.args == [{"$secret": "TOKEN"}], "not even if it came in otherwise"


@pytest.mark.django_db
def test_what_a_task_hands_back_has_references_again(token: str) -> None:
    execution: Execution = begin(job(args=[{"$secret": "TOKEN"}]))
    back = execution.concealed({"a": token, "b": [f"<{token}>", 7], token: None})
    assert back == {"a": {"$secret": "TOKEN"}, "b": ["<********>", 7], "********": None}


# --- doctor --------------------


def _said(name: str) -> Any:
    checks = cli("doctor", "--json").items
    return next(check for check in checks if check["name"] == name)


@pytest.mark.django_db(transaction=True)
def test_doctor_tells_of_secrets_that_are_written_out(token: str) -> None:
    assert _said("secrets")["sentence"] == "No schedule keeps a secret."
    every(60, "good", kwargs={"note": {"$secret": "TOKEN"}})
    assert _said("secrets")["status"] == doctoring.OK
    assert "does not have" not in _said("secrets")["sentence"]
    every(60, "elsewhere", kwargs={"note": {"$secret": "ONLY_THERE"}})
    said = _said("secrets")
    assert (said["status"], said["remedy"]) == (doctoring.OK, None), "it may be where the workers are"
    assert "does not have ONLY_THERE" in said["sentence"]
    every(60, "bad", kwargs={"smtp": {"password": "hunter22"}})
    said = _said("secrets")
    assert said["status"] == doctoring.WARN
    assert "bad: kwargs.smtp.password" in said["sentence"]
    assert "hunter22" not in json.dumps(cli("doctor", "--json").items)


@pytest.mark.django_db
def test_validate_advises_and_does_not_fail(tmp_path: Path) -> None:
    every(60, "bad", kwargs={"note": "x", "api_key": "abcdefgh"})
    result = cli("schedules", "validate")
    assert result.code in (0, 1)
    assert "bad: kwargs.api_key is a secret that is written out" in result.err
    assert "abcdefgh" not in result.err + result.out
    declared = tmp_path / "a.yaml"
    declared.write_text(
        "manager: shop\nschedules:\n- {name: n, task: jobs.canary, cron: '0 1 * * *', kwargs: {note: x}, "
        "headers: {authorization: abcdefgh}}\n"
    )
    result = cli("schedules", "validate", "-f", declared)
    assert result.code == 0
    assert "n: headers.authorization is a secret" in result.err


def test_this_process_has_no_secrets_of_its_own() -> None:
    assert not [name for name in os.environ if name.startswith(held_secrets.PREFIX)]
