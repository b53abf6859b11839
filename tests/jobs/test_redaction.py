"""What is shown has no secrets in it: by the names of keys, by known values, by what looks like one."""

from __future__ import annotations

import io
import json
import logging
import time
from pathlib import Path
from typing import Any

import pytest
import redis as redis_client
import yaml
from django.contrib.auth.models import User
from django.test import Client
from django_celery_beat.models import PeriodicTask
from django_celery_results.models import TaskResult
from hypothesis import given
from hypothesis import strategies as st

from jobs.engine import finishing, quarantining
from jobs.engine.enqueueing import action
from jobs.models import Job, JobLog, Quarantine
from jobs.rules.redaction import (
    MASK,
    MaskedError,
    conceal,
    forms,
    literal_secrets,
    redact,
    redact_json,
    redact_text,
    restore,
    sensitive_values,
    summary,
)
from jobs.rules.retry import FailureKind
from jobs.runtime import masking
from tests.jobs import secret_tasks  # noqa: F401  (registers `tests.keep`)
from tests.jobs.builders import begin, every, job
from tests.jobs.test_admin_schedules import edit, url
from tests.jobs.test_cli_runner import cli

SECRET = "hunter22-of-the-tests"
REFERENCE = {"$secret": "SMTP_PASSWORD"}

# --- By key --------------------


@pytest.mark.parametrize(
    "key",
    [
        "password", "PASSWORD", "db_password", "passwd", "passphrase", "pass", "secret", "client_secret", "token",
        "access_token", "api_key", "apikey", "X-Api-Key", "access-key", "Authorization", "credentials", "private_key",
        "private-key", "cvc", "card_number", "secret_key_base",
    ],
)  # fmt: skip
def test_values_of_telling_keys_are_masked(key: str) -> None:
    for value in (SECRET, 4711, ["a", "b"], {"a": "b"}, True):
        assert redact([{key: value, "other": 1}]) == [{key: MASK, "other": 1}]


@pytest.mark.parametrize("key", ["note", "key", "passenger", "compass_bearing", "author", "number"])
def test_other_keys_are_shown(key: str) -> None:
    assert redact({key: SECRET}) == {key: SECRET}


@pytest.mark.parametrize("value", [None, "", REFERENCE])
def test_nothing_and_references_are_shown(value: Any) -> None:
    assert redact({"password": value}) == {"password": value}


def test_what_only_looks_like_a_reference_is_masked() -> None:
    assert redact({"password": {"$secret": "not a name!"}}) == {"password": MASK}
    assert redact({"note": {"$secret": "not a name!"}}) == {"note": {"$secret": MASK}}


def test_texts_in_arguments_are_masked_too() -> None:
    assert redact({"url": "postgres://jadwal:pw@db/x"}) == {"url": f"postgres://jadwal:{MASK}@db/x"}


def test_a_summary_is_masked_before_it_is_cut() -> None:
    text = summary({"password": "x" * 500, "note": "y" * 500})
    assert len(text) == 120
    assert text.startswith(f"{{'password': '{MASK}', 'note': 'yyy")


def test_json_that_is_none_is_masked_as_text() -> None:
    assert redact_json('{"token": "abc", "n": "é"}') == f'{{"token": "{MASK}", "n": "é"}}'
    assert redact_json("[broken, token=abc") == f"[broken, token={MASK}"


# --- Texts --------------------


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("password=hunter2 next", f"password={MASK} next"),
        ("DB_PASSWORD: hunter2", f"DB_PASSWORD: {MASK}"),
        ('{"api_key": "a b c", "n": 1}', f'{{"api_key": {MASK}, "n": 1}}'),
        ("{'token': 'it\\'s', 'n': 1}", f"{{'token': {MASK}, 'n': 1}}"),
        ("client.secret_key = 'q'", f"client.secret_key = {MASK}"),
        ("?access_token=abc&page=2", f"?access_token={MASK}&page=2"),
        ("(password='x', y=1)", f"(password={MASK}, y=1)"),
        ("Authorization: Bearer abc.def", f"Authorization: Bearer {MASK}"),
        ("'Authorization': 'Basic dXNlcjpwYXNz'", f"'Authorization': 'Basic {MASK}'"),
        ("sent Bearer abcdefghijklmnop1234", f"sent Bearer {MASK}"),
        ("connect postgres://jadwal:s3cr3t@db:5432/x", f"connect postgres://jadwal:{MASK}@db:5432/x"),
        ("redis://:pw@redis:6379/0", f"redis://:{MASK}@redis:6379/0"),
        ("['pg_dump', '--password', 'abc d']", f"['pg_dump', '--password', {MASK}]"),
        ("curl --token abcdef -v", f"curl --token {MASK} -v"),
        ("key sk_live_abcdefgh12345678 used", f"key {MASK} used"),
        ("AKIAABCDEFGHIJKLMNOP", MASK),
        ("token jdw_0123456789-abcdefghijk_lmnop", f"token {MASK}"),
        ("ghp_0123456789012345678901234567890123456", MASK),
        ("age AGE-SECRET-KEY-1QQQQQQQQQQQQQQQQQQQQQQQQQQ", f"age {MASK}"),
        ("jwt eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.sig-1", f"jwt {MASK}"),
        (
            "-----BEGIN RSA PRIVATE KEY-----\nMIIE\nabc\n-----END RSA PRIVATE KEY-----\nafter",
            f"-----BEGIN RSA PRIVATE KEY-----{MASK}\nafter",
        ),
        ("-----BEGIN PRIVATE KEY-----\nMIIE cut off", f"-----BEGIN PRIVATE KEY-----{MASK}"),
    ],
)
def test_what_looks_like_a_secret_is_masked(text: str, masked: str) -> None:
    assert redact_text(text) == masked
    assert redact_text(masked) == masked


@pytest.mark.parametrize(
    "text",
    [
        "charging invoice 42 for customer 7 took 0.12 s",
        "KeyError: 'token'",
        "max_tokens=5, tokenizer=fast",
        "http://host:8080/path?x=a@b",
        "mail to ada@example.com: done",
        "the secret is out, and the password too",
        "Unexpected token } in JSON at position 3",
        '{"token": {"$secret": "SMTP_TOKEN"}}',
        "monkey=1 keyboard: 2 author: Ada",
        "postgres://jadwal@127.0.0.1:5432/jadwal",
        "asian cards in Asia/Tokyo",
    ],
)
def test_what_does_not_is_left_alone(text: str) -> None:
    assert redact_text(text) == text


@given(st.text(max_size=200), st.lists(st.text(min_size=4, max_size=20), max_size=3))
def test_masking_twice_changes_nothing(text: str, values: list[str]) -> None:
    hidden = forms(values)
    once = redact_text(text, hidden)
    assert redact_text(once, ()) == once


@given(st.text(min_size=4, max_size=40), st.text(max_size=50), st.text(max_size=50))
def test_a_known_value_is_gone_in_every_form(value: str, before: str, after: str) -> None:
    hidden = forms([value])
    for shape in (value, repr(value)[1:-1], json.dumps(value)[1:-1]):
        text = redact_text(f"{before}{shape}{after}", hidden)
        assert not shape or shape in MASK * 2 or shape not in text or shape in f"{before}{MASK}{after}"


def test_of_a_key_each_line_is_masked_by_itself() -> None:
    key = "-----BEGIN X-----\nAAAAAAAAAAAAAAAAAAAAAAAA\nBBBBBBBBBBBBBBBBBBBBBBBB\nend"
    assert redact_text("line 2: BBBBBBBBBBBBBBBBBBBBBBBB.", forms([key])) == f"line 2: {MASK}."
    assert redact_text(repr(key), forms([key])) == f"'{MASK}'"


def test_values_that_are_part_of_each_other_leave_nothing_behind() -> None:
    assert redact_text("abcdef-long and abcdef", forms(["abcdef", "abcdef-long"])) == f"{MASK} and {MASK}"


@pytest.mark.parametrize(
    "fragment",
    ["a.b-c_", "token=", "token ", "-", "--", "eyJ-", "xoxa-", "://", "://a:b", "authorization: ", 'password: "',
     "-----BEGIN PRIVATE KEY-----", "Bearer ", ",;,)", "token=,,,,,,", "token_a.", "token     ", "--token "],
)  # fmt: skip
def test_nobody_can_write_a_text_that_takes_long(fragment: str) -> None:
    def took(length: int) -> float:
        text = fragment * (length // len(fragment)) + " token x"
        before = time.perf_counter()
        redact_text(text)
        return time.perf_counter() - before

    assert took(200_000) < 2, "a squared time would be minutes"


def test_a_line_without_secrets_costs_little() -> None:
    line = "charging invoice 42 for customer 7 done in 0.12 s, and everything went well"
    before = time.perf_counter()
    for _ in range(10_000):
        redact_text(line, ())
    assert time.perf_counter() - before < 1, "100 µs a line would be seen"


# --- Values in arguments --------------------


def test_values_under_telling_keys_are_looked_for_elsewhere() -> None:
    payload = [
        {"token": "abcdef", "pin": "abcdef2", "password": "short", "keys": {"api_key": ["uvwxyz", 1, None]}}
    ]
    assert sorted(sensitive_values(payload)) == ["abcdef", "uvwxyz"]
    assert list(sensitive_values({"token": REFERENCE})) == []


def test_secrets_that_are_written_out_are_found() -> None:
    payload = {
        "args": [{"token": "x"}],
        "kwargs": {"a": {"password": "y", "note": "z"}, "secret": REFERENCE, "cvc": ""},
    }
    assert list(literal_secrets(payload)) == ["args[0].token", "kwargs.a.password"]


# --- Given back --------------------

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.sampled_from(["", "x", "redis://:pw@r/0", "token=abc", MASK]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["a", "password", "api_key", "$secret"]), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(JSON)
def test_what_was_shown_masked_can_be_given_back(value: Any) -> None:
    assert restore(redact(value), value) == value


@pytest.mark.parametrize(
    ("given_", "before", "place"),
    [
        ({"password": MASK}, {}, "kwargs.password"),
        ({"password": MASK}, {"password": ""}, "kwargs.password"),
        ({"a": {"token": MASK}}, {"token": "x"}, "kwargs.a.token"),
        ([{"token": MASK}], [{"token": "x"}, {"token": "y"}], "kwargs[0].token"),
        ({"url": f"redis://:{MASK}@new/0"}, {"url": "redis://:pw@old/0"}, "kwargs.url"),
        ({"note": MASK}, {"note": "shown as it was"}, "kwargs.note"),
    ],
)
def test_a_mask_is_never_stored(given_: Any, before: Any, place: str) -> None:
    with pytest.raises(MaskedError, match=rf"^{place.replace('[', r'.').replace(']', '.')} is masked"):
        restore(given_, before, "kwargs")


def test_what_is_not_masked_counts() -> None:
    before = {"password": "old", "note": "a", "gone": 1}
    assert restore({"password": MASK, "note": "b", "more": [2]}, before) == {
        "password": "old",
        "note": "b",
        "more": [2],
    }
    assert restore({"password": "new"}, before) == {"password": "new"}


def test_conceal_leaves_other_things_alone() -> None:
    moment = object()
    assert conceal({"a": moment, "b": (1, "x")}, {"N": "abcd"}, forms(["abcd"])) == {
        "a": moment,
        "b": [1, "x"],
    }


# --- Errors and log lines --------------------


class OddError(Exception):
    def __init__(self, told: str) -> None:
        super().__init__("odd")
        self.told, self.sent, self.fixed = told, {"x": [told]}, object()

    def __str__(self) -> str:
        return f"odd: {self.told}"


def test_an_error_is_masked_with_all_its_causes() -> None:
    try:
        try:
            raise OddError(SECRET)
        except OddError as exc:
            raise ValueError("a", 7, f"see {SECRET}", "redis://:pw@r") from exc
    except ValueError as exc:
        error = exc
    error.__context__ = error  # a ring, as re-raising can make one
    masking.mask_exception(error, forms([SECRET]))
    assert error.args == ("a", 7, f"see {MASK}", f"redis://:{MASK}@r")
    assert isinstance(error.__cause__, OddError)
    assert (str(error.__cause__), error.__cause__.sent) == (f"odd: {MASK}", {"x": [MASK]})


def test_an_error_that_cannot_be_changed_is_no_error() -> None:
    class Frozen(Exception):
        def __setattr__(self, name: str, value: object) -> None:
            raise TypeError("frozen")

    error = Frozen(SECRET)
    masking.mask_exception(error, forms([SECRET]))
    assert str(error) == SECRET


@pytest.fixture
def written() -> Any:
    """A logger and what it writes, masked as a process of ours does."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(logging.Formatter("%(levelname)s %(message)s"))
    logger = logging.getLogger("tests.masking")
    logger.addHandler(handler)
    masking.install()
    yield logger, stream
    logger.removeHandler(handler)


def test_log_lines_are_masked_with_their_tracebacks(written: Any) -> None:
    logger, stream = written
    masking.look_for(lambda: forms([SECRET]))
    try:
        logger.warning("using %s for %s", SECRET, "postgres://u:pw@h")
        try:
            raise ValueError(f"refused {SECRET}")
        except ValueError:
            logger.exception("oops")
    finally:
        masking.look_for(tuple)
    text = stream.getvalue()
    assert text.startswith(f"WARNING using {MASK} for postgres://u:{MASK}@h\n")
    assert f"ValueError: refused {MASK}" in text
    assert SECRET not in text


def test_a_handler_is_masked_once(written: Any) -> None:
    logger, _ = written
    before = logger.handlers[0].formatter
    masking.install()
    assert logger.handlers[0].formatter is before


def test_every_process_masks_what_it_logs(settings: Any) -> None:
    name = settings.LOGGING["formatters"]["line"]["class"]
    assert name == f"{masking.MaskingFormatter.__module__}.{masking.MaskingFormatter.__qualname__}"


# --- Where arguments are shown --------------------

PAYLOAD = {"note": "seen", "smtp": {"password": SECRET}, "url": f"smtp://u:{SECRET}@h"}
SHOWN = {"note": "seen", "smtp": {"password": MASK}, "url": f"smtp://u:{MASK}@h"}


def dead_letter(**fields: Any) -> Job:
    row = job(kwargs=PAYLOAD, args=[{"token": SECRET}], headers={"authorization": SECRET}, **fields)
    execution = begin(row, max_attempts=1)
    execution.logs.append(_line(f"password={SECRET}"))
    execution.judge(FailureKind.ERROR)
    finishing.fail(execution, error=f"ValueError: {SECRET}", traceback=f"Traceback: {SECRET}")
    return Job.objects.get(id=row.id)


def _line(text: str) -> Any:
    from datetime import UTC, datetime

    from jobs.engine.ending import LogLine

    return LogLine(20, "tests", redact_text(text), datetime.now(UTC))


@pytest.mark.django_db(transaction=True)
def test_jobs_on_the_command_line(redis: redis_client.Redis, tmp_path: Path) -> None:
    row = dead_letter()
    shown = cli("jobs", "show", row.id, "--json").json
    assert (shown["args"], shown["kwargs"]) == ([{"token": MASK}], SHOWN)
    for words in (
        ["jobs", "list"],
        ["dlq", "list"],
        ["dlq", "show", row.id],
        ["jobs", "show", row.id],
        ["jobs", "logs", row.id],
    ):
        for extra in ([], ["--json"]):
            result = cli(*words, *extra)
            assert result.code == 0
            assert SECRET not in result.out, words
    assert cli("dlq", "export", "-o", tmp_path / "dead.json").code == 0
    assert SECRET not in (tmp_path / "dead.json").read_text()
    assert Job.objects.get(id=row.id).kwargs == PAYLOAD, "it still runs with what it was given"
    assert JobLog.objects.get().content == f"password={MASK}"


@pytest.mark.django_db(transaction=True)
def test_jobs_and_results_in_the_console(client: Client) -> None:
    client.force_login(User.objects.create_superuser("ada", "ada@example.com", "x"))
    row = dead_letter()
    done = job(kwargs=PAYLOAD)
    finishing.complete(begin(done))
    TaskResult.objects.create(
        task_id=done.id, status="SUCCESS", result=json.dumps({"api_key": SECRET}), traceback=f"token={SECRET}"
    )
    not_json = job()
    finishing.complete(begin(not_json))
    odd = TaskResult.objects.create(task_id=not_json.id, status="SUCCESS", result=f"token={SECRET}, raw")
    for path in (
        f"/admin/jobs/job/{row.id}/change/",
        f"/admin/jobs/job/{done.id}/change/",
        f"/admin/jobs/job/{not_json.id}/change/",
        "/admin/jobs/job/?status__exact=failed",
        "/admin/django_celery_results/taskresult/",
        f"/admin/django_celery_results/taskresult/{odd.pk}/change/",
        f"/admin/django_celery_results/taskresult/{TaskResult.objects.get(task_id=done.id).pk}/change/",
    ):
        response = client.get(path)
        assert response.status_code == 200
        assert SECRET not in response.content.decode(), path


@pytest.mark.django_db(transaction=True)
def test_a_message_in_redis(redis: redis_client.Redis) -> None:
    action(task="jobs.canary", queue="default", args=[{"token": SECRET}], kwargs=PAYLOAD)
    item = redis.lindex("default", 0).decode()
    assert SECRET not in item
    assert MASK in json.loads(item)["headers"]["kwargsrepr"]


@pytest.mark.django_db
def test_a_message_in_quarantine() -> None:
    quarantining.quarantine(f'{{"password": "{SECRET}"'.encode(), "default", "cut off")
    assert SECRET not in Quarantine.objects.get().body


# --- Schedules: shown masked, and given back --------------------


@pytest.fixture
def scheduled() -> Any:
    return every(
        3600, "mailer", task="tests.keep", kwargs={"path": "x", "token": SECRET, "more": {"password": SECRET}}
    )


def stored(row: Any) -> Any:
    return json.loads(PeriodicTask.objects.get(pk=row.pk).kwargs)


@pytest.mark.django_db(transaction=True)
def test_schedules_on_the_command_line(scheduled: Any) -> None:
    for words in (["show", "mailer"], ["list"], ["export"], ["explain", "mailer"], ["validate"]):
        for extra in ([], ["--json"]):
            result = cli("schedules", *words, *extra)
            assert SECRET not in result.out + result.err, words
    assert cli("schedules", "show", "mailer", "--json").json["kwargs"]["token"] == MASK


@pytest.mark.django_db(transaction=True)
def test_an_export_is_applied_without_a_change_and_without_the_secret(scheduled: Any, tmp_path: Path) -> None:
    text = cli("schedules", "export").out
    assert f"token: '{MASK}'" in text
    file = tmp_path / "a.yaml"
    document = yaml.safe_load(text)
    document["manager"] = "shop"
    file.write_text(yaml.safe_dump(document))
    first = cli("schedules", "apply", "-f", file, "--adopt", "--json").json
    assert first["items"][0]["changes"] == {"manager": ["", "shop"]}
    assert stored(scheduled)["token"] == SECRET
    assert cli("schedules", "apply", "-f", file, "--json").json["unchanged"] == 1
    document["schedules"][0]["kwargs"]["path"] = "y"
    file.write_text(yaml.safe_dump(document))
    changed = cli("schedules", "apply", "-f", file, "--json")
    assert SECRET not in changed.out
    assert changed.json["items"][0]["changes"]["kwargs"][1]["path"] == "y"
    assert stored(scheduled) == {"path": "y", "token": SECRET, "more": {"password": SECRET}}


@pytest.mark.django_db(transaction=True)
def test_an_export_makes_no_schedule_with_a_mask_for_a_secret(scheduled: Any, tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    file.write_text(cli("schedules", "export").out.replace("name: mailer", "name: elsewhere"))
    result = cli("schedules", "apply", "-f", file, "--manager", "shop")
    assert result.code == 2
    assert "kwargs.token is masked: write the value, or name a secret." in result.err
    assert not PeriodicTask.objects.filter(name="elsewhere").exists()
    made = cli(
        "schedules", "create", "z", "--task", "tests.keep", "--every", "1h", "--kwargs",
        json.dumps({"path": "x", "token": MASK}),
    )  # fmt: skip
    assert (made.code, "kwargs.token is masked" in made.err) == (2, True)


@pytest.mark.django_db(transaction=True)
def test_update_takes_what_show_said(scheduled: Any) -> None:
    kwargs = cli("schedules", "show", "mailer", "--json").json["kwargs"]
    result = cli("schedules", "update", "mailer", "--kwargs", json.dumps({**kwargs, "path": "z"}), "--json")
    assert result.code == 0, result.err
    assert SECRET not in result.out
    assert stored(scheduled) == {"path": "z", "token": SECRET, "more": {"password": SECRET}}


@pytest.mark.django_db
def test_the_form_shows_masks_and_stores_values(client: Client, scheduled: Any) -> None:
    client.force_login(User.objects.create_superuser("ada", "ada@example.com", "x"))
    page = client.get(url(scheduled)).content.decode()
    assert SECRET not in page
    assert MASK in page
    edit(client, scheduled, note="only the note")
    assert stored(scheduled)["token"] == SECRET
    shown = json.loads(client.get(url(scheduled)).context["adminform"].form["kwargs"].value())
    edit(client, scheduled, kwargs=json.dumps({**shown, "path": "w", "token": "changed-by-hand"}))
    assert stored(scheduled) == {"path": "w", "token": "changed-by-hand", "more": {"password": SECRET}}
