"""Nothing larger than a job may carry reaches a row or Redis, by whatever way it comes."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import redis as redis_client
from celery import chain, current_app, group, shared_task
from django.core import checks
from django.db import connection, transaction
from django.test import Client
from django_celery_beat.models import PeriodicTask
from hypothesis import given
from hypothesis import strategies as st

from jobs.conf import MEBIBYTE, conf
from jobs.engine import backfilling, claiming, executing, payload, syncing, triggering
from jobs.engine.clock import database_now
from jobs.engine.payload import REPLACED, PayloadError, PayloadTooLarge, storable_result
from jobs.engine.permitting import LOOK_AGAIN, NotPermittedError
from jobs.engine.ticking import Ticker
from jobs.insight.explaining import explain
from jobs.models import Job, Quarantine, Schedule
from jobs.rules.messages import HEADERS, WRITTEN, MessageProblem, check
from jobs.rules.states import Status
from tests.jobs import tasks
from tests.jobs.builders import NOON, every, minutes
from tests.jobs.permits import fresh, stored
from tests.jobs.test_admin_schedules import ADD, create, errors, form, url
from tests.jobs.test_cli_runner import cli
from tests.jobs.test_executing import run_next
from tests.jobs.test_semantics import this_worker
from tests.unit.rules.test_messages import body, envelope

__all__ = ["this_worker"]

pytestmark = pytest.mark.django_db(transaction=True)

MOST = 4_096
OVER = "x" * MOST

Cap = Callable[..., None]


@pytest.fixture(autouse=True)
def cap(settings: Any) -> Cap:
    """Sets the most, as a restart with another environment would; 4 KiB at first."""

    def cap(most: object = MOST, *, result: object = MOST) -> None:
        sizes = {"MAX_PAYLOAD_BYTES": most, "MAX_RESULT_BYTES": result}
        settings.JADWAL = {**settings.JADWAL, **sizes}

    cap()
    return cap


@shared_task(name="tests.grow", bind=True, max_retries=3)
def grow(self: Any, text: str) -> None:
    """Ask for a retry with arguments that no job may carry."""
    raise self.retry(args=[text + OVER], countdown=60)


@shared_task(name="tests.become", bind=True)
def become(self: Any) -> None:
    """Become other work with arguments that no job may carry."""
    raise self.replace(tasks.add.s(OVER, ""))


@shared_task(name="tests.large")
def large() -> str:
    return OVER


# --- calls ------------------------------------------------------------------------------------------


def test_the_most_is_a_mebibyte_unless_it_is_set(settings: Any) -> None:
    settings.JADWAL = {}
    assert (conf().max_payload_bytes, conf().max_result_bytes) == (MEBIBYTE, MEBIBYTE)


def test_a_call_with_more_is_refused_in_a_sentence(redis: redis_client.Redis) -> None:
    with pytest.raises(PayloadTooLarge) as refused:
        tasks.add.delay(OVER, 1)
    assert re.fullmatch(
        r"The payload is too large: arguments and headers take 4,\d{3} bytes as JSON, and 4,096 is the most "
        r"\(JADWAL_MAX_PAYLOAD_BYTES\); store the data elsewhere and pass its id\.",
        str(refused.value),
    )
    assert isinstance(refused.value, PayloadError)
    assert (Job.objects.count(), redis.llen("default")) == (0, 0)


def test_it_can_be_caught_by_its_public_name(redis: redis_client.Redis) -> None:
    from jobs import public

    with transaction.atomic():
        with pytest.raises(public.PayloadTooLarge):
            tasks.add.delay(OVER, 1)
        tasks.add.delay(1, 1)
    assert Job.objects.count() == 1, "the caller's transaction goes on"


WAYS = {
    "kwargs": lambda: tasks.add.apply_async(kwargs={"x": OVER, "y": 1}),
    "custom headers": lambda: tasks.add.apply_async((1, 2), headers={"tenant": OVER}),
    "the rest of a chain": lambda: chain(tasks.add.s(1, 2), tasks.add.si(OVER, 1)).delay(),
    "a callback": lambda: tasks.add.apply_async((1, 2), link=tasks.add.si(OVER, 1)),
    "a group": lambda: group(tasks.add.s(OVER, 1)).delay(),
    "by name": lambda: current_app.send_task("of.another.program", [OVER]),
    "later": lambda: tasks.add.apply_async((OVER, 1), countdown=60),
    "all together": lambda: tasks.add.apply_async(("x" * 2_000, 1), headers={"tenant": "x" * 2_200}),
}


@pytest.mark.parametrize("way", WAYS)
def test_whatever_makes_it_large(way: str, redis: redis_client.Redis) -> None:
    with pytest.raises(PayloadTooLarge):
        WAYS[way]()
    assert (Job.objects.count(), redis.llen("default")) == (0, 0)


def test_exactly_the_most_is_taken(redis: redis_client.Redis) -> None:
    tasks.add.delay("x", 1)
    around = sum(payload.size_of(getattr(Job.objects.get(), name)) for name in ("args", "kwargs", "headers"))
    room = MOST - around + 1
    tasks.add.delay("x" * room, 1)
    with pytest.raises(PayloadTooLarge):
        tasks.add.delay("x" * (room + 1), 1)
    assert Job.objects.count() == 2


def test_it_is_measured_as_it_is_stored_and_not_as_it_is_written(redis: redis_client.Redis) -> None:
    tasks.add.delay("ü" * 1_900, 1)  # 2 bytes each in the database, 6 in the JSON that Python writes
    with pytest.raises(PayloadTooLarge):
        tasks.add.delay("ü" * 2_100, 1)
    assert Job.objects.count() == 1


VALUES = st.recursive(
    st.none() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(VALUES)
def test_the_measure_is_the_databases(value: Any) -> None:
    try:
        plain = payload.encode(value)
    except PayloadError:
        return  # NUL, half a pair
    with connection.cursor() as cursor:
        cursor.execute("SELECT octet_length((%s::jsonb)::text)", [json.dumps(plain)])
        assert cursor.fetchone()[0] == payload.size_of(plain)


def test_a_retry_with_more_fails_the_job_and_changes_nothing(this_worker: redis_client.Redis) -> None:
    grow.delay("small")
    run_next(this_worker)
    found = Job.objects.get()
    assert (found.status, found.args) == ("failed", ["small"])
    assert "The payload is too large" in found.error


def test_so_does_a_task_that_becomes_other_work(this_worker: redis_client.Redis) -> None:
    become.apply_async()
    run_next(this_worker)
    found = Job.objects.get()
    assert (found.task, found.args) == ("tests.become", [])
    assert "The payload is too large" in found.error


def test_a_result_that_no_next_step_may_carry_fails_the_job(this_worker: redis_client.Redis) -> None:
    chain(large.s(), tasks.add.s(1)).delay()
    with pytest.warns(RuntimeWarning, match="outside body"):
        run_next(this_worker)
    found = Job.objects.get()
    assert (found.status, "The payload is too large" in found.error) == ("failed", True)


def test_what_the_database_cannot_hold_is_refused_too(redis: redis_client.Redis) -> None:
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]
    for value, why in (
        ("a\x00b", "NUL"),
        ("\ud800", "half of a surrogate pair"),
        (deep, "nested too deeply"),
    ):
        with pytest.raises(PayloadError, match=why):
            tasks.add.delay(value, 1)
    for value in ("\\u0000", "\\\\u0000", "😀", "\\ud800"):
        tasks.add.delay(value, 1)
    assert sorted(Job.objects.values_list("args__0", flat=True)) == sorted(
        ["\\u0000", "\\\\u0000", "😀", "\\ud800"]
    )


# --- schedules --------------------------------------------------------------------------------------

TOO_LARGE = "The payload is too large"


def test_the_form_refuses(admin: Client) -> None:
    for name in ("args", "kwargs"):
        value = json.dumps([OVER] if name == "args" else {"note": OVER})
        assert TOO_LARGE in errors(admin.post(ADD, form(**{name: value})))[name][0]
    assert not PeriodicTask.objects.exists()
    schedule = create(admin, kwargs='{"note": "small"}')
    said = errors(admin.post(url(schedule), form(kwargs=json.dumps({"note": OVER}))))
    assert TOO_LARGE in said["kwargs"][0]
    assert fresh(schedule).periodic_task.kwargs == '{"note": "small"}'


def test_headers_that_are_stored_count_with_what_is_edited(admin: Client) -> None:
    schedule = create(admin)
    PeriodicTask.objects.update(headers=json.dumps({"tenant": "x" * 4_000}))
    said = errors(admin.post(url(schedule), form(kwargs=json.dumps({"note": "x" * 200}))))
    assert TOO_LARGE in said["kwargs"][0]
    result = cli("schedules", "update", "nightly", "--kwargs", json.dumps({"note": "x" * 200}))
    assert (result.code, TOO_LARGE in result.err) == (2, True)


def test_the_command_line_refuses(tmp_path: Path) -> None:
    every(3600, "mine")
    before = stored()
    kwargs = json.dumps({"note": OVER})
    file = tmp_path / "schedules.json"
    entry = {"name": "x", "task": "jobs.canary", "every": "1h"}
    for words in (
        ("create", "x", "--task", "jobs.canary", "--every", "1h", "--kwargs", kwargs),
        ("update", "mine", "--kwargs", kwargs),
        ("apply", "-f", file),
        ("validate", "-f", file),
    ):
        for what in ({"kwargs": {"note": OVER}}, {"headers": {"tenant": OVER}}):
            file.write_text(json.dumps({"manager": "shop", "schedules": [{**entry, **what}]}))
            result = cli("schedules", *words)
            assert (result.code, TOO_LARGE in result.err + result.out) == (2, True), words
    assert stored() == before


def by_sql(schedule: Schedule) -> Schedule:
    PeriodicTask.objects.filter(pk=schedule.pk).update(kwargs=json.dumps({"note": OVER}))
    return fresh(schedule)


def test_a_row_written_behind_our_back_makes_no_job(admin: Client) -> None:
    schedule = by_sql(every(60, "mine"))
    Schedule.objects.update(edited_at=NOON)
    ticker = Ticker()
    for minute in range(4):
        ticker.tick(NOON + minutes(minute))
    assert not Job.objects.exists()
    schedule = fresh(schedule)
    assert schedule.problem.startswith(TOO_LARGE)
    assert explain(schedule, now=database_now()).sentence == f"It will not run: {schedule.problem}"
    assert TOO_LARGE in admin.get(url(schedule)).content.decode()
    for act in (
        lambda: triggering.run_now(schedule),
        lambda: backfilling.slots(schedule, NOON, NOON + minutes(2)),
    ):
        with pytest.raises(NotPermittedError, match=TOO_LARGE):
            act()
    assert cli("schedules", "run", "mine").code == 2
    assert not Job.objects.exists()


def test_a_lower_most_holds_at_the_claim_and_a_higher_one_lets_go(cap: Cap) -> None:
    schedule = every(60, "mine", kwargs={"note": "x" * 3_000})
    cap(2_000)
    claiming.claim_due(NOON + minutes(1))
    assert not Job.objects.exists()
    held = fresh(schedule)
    assert held.problem.startswith(TOO_LARGE)
    assert (held.stale, held.next_run_at) == (False, NOON + minutes(1) + LOOK_AGAIN)
    cap(4_000)
    assert claiming.claim_due(NOON + minutes(2)) == 1
    syncing.sync_stale(NOON + minutes(2))
    claiming.claim_due(NOON + minutes(2))
    assert Job.objects.get(status="waiting").scheduled_for == NOON + minutes(2)
    assert fresh(schedule).problem == ""


def test_letters_of_many_bytes_count_at_the_claim(cap: Cap) -> None:
    every(60, "mine", kwargs={"note": "語" * 1_300})  # 3,900 bytes
    cap(3_000)
    claiming.claim_due(NOON + minutes(1))
    assert not Job.objects.exists()


@pytest.mark.parametrize("value", [0, -1, 1_000, "much", 10**12])
def test_a_size_that_makes_no_sense_is_refused_and_the_default_holds(cap: Cap, value: object) -> None:
    cap(value)
    assert {item.id for item in checks.run_checks() if item.level >= checks.ERROR} == {"jobs.E003"}
    assert conf().max_payload_bytes == MEBIBYTE


# --- messages of other programs ---------------------------------------------------------------------


def adopt(**changes: Any) -> object:
    values: dict[str, Any] = {"args": [], "kwargs": {}, "headers": {}, **changes}
    return executing.adopt(job_id="foreign", task="tests.add", queue="default", **values)


@pytest.mark.parametrize("part", [{"args": [OVER]}, {"kwargs": {"x": OVER}}, {"headers": {"tenant": OVER}}])
def test_a_foreign_message_with_more_goes_into_quarantine(part: dict[str, Any]) -> None:
    assert adopt(**part) is None
    kept = Quarantine.objects.get()
    assert (TOO_LARGE in kept.problem, "tests.add" in kept.body) == (True, True)
    assert not Job.objects.exists()


def test_so_does_one_that_the_database_cannot_hold() -> None:
    assert adopt(args=["a\x00b"]) is None
    assert "NUL" in Quarantine.objects.get().problem
    assert adopt(args=[1, 2]) is not None


def test_a_hopeless_message_is_not_even_read() -> None:
    item = json.dumps(envelope(body=body([["ü" * (MOST // 2 - 20)], {}, {}]))).encode()
    assert len(item) > 3 * MOST
    check(item, most=MOST)
    with pytest.raises(MessageProblem, match="is the most"):
        check(b" " * (WRITTEN * MOST + HEADERS + 1), most=MOST)


# --- results ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "result", [None, True, 3, 2.5, "text", [1, {"a": "b"}], "x" * (MOST - 2), "ü" * 2_000]
)
def test_a_result_within_the_most_is_stored_as_it_is(result: Any) -> None:
    assert storable_result(result) is result


def test_a_larger_one_is_replaced_by_a_text_that_says_so() -> None:
    text = storable_result({"rows": [OVER]})
    assert text.startswith(REPLACED)
    assert "it takes 4,110 bytes as JSON, and 4,096 is the most (JADWAL_MAX_RESULT_BYTES)" in text


def test_one_that_other_work_is_to_read_is_never_replaced() -> None:
    with pytest.raises(PayloadTooLarge, match="too large to be handed on"):
        storable_result(OVER, handed_on=True)
    assert storable_result("small", handed_on=True) == "small"


def test_what_json_cannot_hold_is_for_the_backend_to_refuse() -> None:
    odd = object()
    assert storable_result(odd) is odd


SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=80)


@given(
    st.lists(
        SCALARS | st.sampled_from(["x" * 65, "a\u0001\u001f", '"\\', 2**63, -(2**63), Status.WAITING]),
        max_size=9,
    )
)
def test_little_arguments_are_stored_as_all_others(args: list[Any]) -> None:
    """A keyword argument takes the long way, and so do the others beside it."""

    def stored(**kwargs: Any) -> Any:
        try:
            return repr(payload.encode_call(args, kwargs, {})[0])
        except payload.PayloadError as exc:
            return str(exc)

    assert stored() == stored(long="way")
