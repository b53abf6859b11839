"""The end of an attempt as a document: recorded with others, or kept on disk while the database is away."""

from __future__ import annotations

import dataclasses
import json
import logging
import uuid
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from celery import chain, chord, current_app
from django.db import OperationalError
from django_celery_results.models import ChordCounter, TaskResult

from jobs import conf as conf_module
from jobs.engine import attending, ending, finishing, payload, spooling
from jobs.engine.attending import Look
from jobs.engine.ending import Ending, LogLine
from jobs.engine.records import Fence
from jobs.models import Attempt, Job, JobLog
from jobs.rules.states import Outcome, Reason, Status
from tests.jobs import tasks
from tests.jobs.builders import NOON, begin, job, worker

pytestmark = pytest.mark.django_db


@pytest.fixture
def spool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A spool folder of this test."""
    used = dataclasses.replace(conf_module.conf(), spool=tmp_path / "spool", lease=timedelta(seconds=60))
    monkeypatch.setattr(spooling, "conf", lambda: used)
    return used.spool


def full_ending(fence: Fence) -> Ending:
    """An ending with something of everything."""
    end = ending.completed(fence)
    end.logs = [LogLine(logging.INFO, "app", "hello", datetime(2026, 3, 10, tzinfo=UTC))]
    with ending.collecting(end):
        current_app.backend.store_result(fence.job_id, {"answer": 42}, "SUCCESS")
        tasks.add.apply_async((1, 2), eta=NOON)
        chain(chord([tasks.add.s(1, 1), tasks.add.s(2, 2)], tasks.add.s(1))).apply_async()
    return end


def test_it_survives_json() -> None:
    end = full_ending(begin(job()).fence)
    assert Job.objects.count() == 1, "nothing is written while it is collected"
    assert ChordCounter.objects.count() == 0
    again = Ending.of_document(json.loads(payload.document(end.as_document())))
    assert again == end
    assert (len(end.jobs), len(end.chords), len(end.results)) == (3, 1, 1)


def test_everything_of_it_is_recorded_at_once() -> None:
    fence = begin(job()).fence
    assert finishing.record([full_ending(fence)]) == {fence.job_id}
    assert Job.objects.get(id=fence.job_id).status == "completed"
    assert JobLog.objects.get().content == "hello"
    assert current_app.AsyncResult(fence.job_id).get(timeout=1) == {"answer": 42}
    assert Job.objects.exclude(id=fence.job_id).count() == 3
    assert ChordCounter.objects.get().count == 2


def test_nothing_of_it_is_recorded_by_a_worker_that_has_lost(caplog: pytest.LogCaptureFixture) -> None:
    fence = begin(job()).fence
    end = full_ending(fence)
    finishing.record([ending.crashed(fence, "lost")])
    caplog.clear()
    assert finishing.record([end]) == set()
    assert Job.objects.get().status == "waiting"
    assert (JobLog.objects.count(), TaskResult.objects.count()) == (0, 0)
    assert "changed nothing" in caplog.text


def test_many_ends_are_one_commit_and_each_has_its_fence() -> None:
    fences = [begin(job()).fence for _ in range(5)]
    finishing.record([ending.cancelled(fences[4])])
    ends = [
        ending.completed(fences[0]),
        ending.failed(fences[1], Reason.EXHAUSTED, outcome=Outcome.ERROR, error="no", traceback="tb"),
        ending.retried(fences[2], NOON, outcome=Outcome.RETRY, error="later", work={"args": [9]}),
        ending.interrupted(fences[3]),
        ending.completed(fences[4]),
    ]
    assert finishing.record(ends) == {fence.job_id for fence in fences[:4]}
    states = {row.id: (row.status, row.errors, row.reason) for row in Job.objects.all()}
    assert [states[fence.job_id] for fence in fences] == [
        ("completed", 0, ""),
        ("failed", 1, "exhausted"),
        ("delayed", 1, ""),
        ("waiting", 0, ""),
        ("cancelled", 0, "cancelled"),
    ]
    assert Job.objects.get(id=fences[2].job_id).args == [9]
    assert Attempt.objects.count() == 5


def test_a_late_end_and_a_copy_in_one_batch_write_nothing() -> None:
    row = job()
    late = begin(row).fence
    finishing.record([ending.crashed(late, "lost")])
    now = begin(row, attempt=2).fence
    stale = ending.completed(late)
    stale.logs = [LogLine(logging.INFO, "app", "late", datetime(2026, 3, 10, tzinfo=UTC))]
    assert finishing.record([stale, ending.completed(now), ending.completed(now)]) == {row.id}
    assert [a.outcome for a in Attempt.objects.order_by("number")] == ["crash", "completed"]
    assert JobLog.objects.count() == 0


def test_the_last_result_of_a_job_counts() -> None:
    first, second = begin(job()).fence, begin(job()).fence
    for fence, value in ((first, 1), (second, 2)):
        end = ending.completed(fence)
        for result in ("old", value):
            with ending.collecting(end):
                current_app.backend.store_result(fence.job_id, result, "SUCCESS")
        finishing.record([end])
    assert TaskResult.objects.count() == 2
    assert current_app.AsyncResult(second.job_id).get(timeout=1) == 2


def test_a_result_that_the_database_refuses_makes_a_failure_that_is_told() -> None:
    fence = begin(job()).fence
    end = ending.completed(fence)
    with ending.collecting(end):
        current_app.backend.store_result(fence.job_id, 3, "SUCCESS")
    end.results[0]["status"] = "x" * 51
    assert finishing.record_or_fail(end)
    assert Job.objects.get().status == "failed"
    result = current_app.AsyncResult(fence.job_id)
    assert (result.state, "could not be stored" in str(result.result)) == ("FAILURE", True)


class TestSpool:
    def test_an_outcome_waits_on_disk_while_the_database_is_away(
        self, spool: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        execution = begin(job())

        def away(*_: object) -> None:
            raise OperationalError("the server closed the connection")

        with monkeypatch.context() as broken:
            broken.setattr(finishing, "record", away)
            broken.setattr(finishing, "PAUSES", (0.0,))
            broken.setattr("django.db.connection.close", lambda: None)  # this test is in a transaction of it
            assert finishing.complete(execution)
        assert Job.objects.get().status == "active"
        assert len(list(spool.iterdir())) == 1
        assert finishing.replay_spool(execution.worker_id) == 1
        assert Job.objects.get().status == "completed"
        assert list(spool.iterdir()) == []

    def test_a_file_that_was_recorded_already_changes_nothing(self, spool: Path) -> None:
        fence = begin(job()).fence
        end = full_ending(fence)
        finishing.record([end])
        spooling.keep(end, "me")
        assert finishing.replay_spool("me") == 1
        assert Attempt.objects.count() == 1
        assert Job.objects.count() == 4

    def test_the_files_of_others_are_theirs_until_they_are_left_behind(self, spool: Path) -> None:
        fence = begin(job()).fence
        path = spooling.keep(ending.completed(fence), str(uuid.uuid4()))
        assert finishing.replay_spool("me") == 0
        import os

        os.utime(path, (0, 0))
        assert finishing.replay_spool("me") == 1
        assert Job.objects.get().status == "completed"

    def test_a_worker_that_starts_records_everything(self, spool: Path) -> None:
        fence = begin(job()).fence
        spooling.keep(ending.completed(fence), str(uuid.uuid4()))
        assert finishing.replay_spool("me", everything=True) == 1

    def test_a_file_that_is_no_outcome_is_put_aside(self, spool: Path) -> None:
        fence = begin(job()).fence
        spooling.keep(ending.completed(fence), "me")
        (spool / f"me.zzz{spooling.SUFFIX}").write_text("{")
        assert finishing.replay_spool("me") == 1
        assert [path.name for path in spool.iterdir()] == ["me.zzz.unreadable"]

    def test_any_job_id_makes_a_file_name(self, spool: Path) -> None:
        row = job(id="../../etc/passwd \n ü")
        path = spooling.keep(ending.completed(begin(row).fence), "me")
        assert path.parent == spool
        assert finishing.replay_spool("me") == 1


class TestLook:
    def test_what_both_sides_agree_on_is_nobodys_trouble(self) -> None:
        me = worker()
        fence = begin(job(), worker_id=me).fence
        not_started = Fence(job().id, 1)
        assert attending.look(me, [fence, not_started]) == Look()

    def test_an_attempt_that_another_worker_has_is_lost(self) -> None:
        me, other = worker("me"), worker("other")
        row = job()
        fence = begin(row, worker_id=me).fence
        finishing.record([ending.crashed(fence, "lost")])
        assert attending.look(me, [fence]).lost == {fence}
        begin(row, worker_id=other, attempt=2)
        assert attending.look(me, [fence]) == Look(lost=frozenset({fence}))

    def test_an_attempt_that_has_ended_here_is_not_lost(self) -> None:
        """The main loop has not heard of it: it waits for the broker, or for its last jobs."""
        me = worker("me")
        fences = [begin(job(), worker_id=me).fence for _ in range(2)]
        finishing.record([ending.completed(fences[0])])
        again = ending.retried(fences[1], NOON, outcome=Outcome.ERROR, error="x")
        finishing.record([again])
        assert attending.look(me, fences) == Look()

    def test_an_attempt_that_nobody_runs_is_an_orphan(self) -> None:
        me = worker()
        fence = begin(job(), worker_id=me).fence
        assert attending.look(me, []).orphans == {fence}

    def test_a_start_that_the_database_forgot_is_seen(self) -> None:
        row = job()
        begun, asked = Fence(row.id, 1), Fence(job().id, 1)
        seen = attending.look(worker(), [begun, asked], started=[begun])
        assert seen == Look(forgotten=frozenset([begun]))

    def test_a_wish_to_cancel_is_seen(self) -> None:
        from jobs.engine.cancelling import cancel

        me = worker()
        fence = begin(job(), worker_id=me).fence
        cancel([fence.job_id])
        assert attending.look(me, [fence]).to_cancel == {fence.job_id}


def test_the_clock_of_an_execution_is_the_databases() -> None:
    execution = begin(job())
    assert execution.started.started_at is not None
    assert timedelta(0) <= execution.now() - execution.started.started_at < timedelta(seconds=5)


def test_the_status_of_an_ending_says_whether_it_is_terminal() -> None:
    fence = Fence("x", 1)
    assert ending.completed(fence).is_terminal
    assert not ending.crashed(fence, "x").is_terminal
    assert ending.completed(fence).status is Status.COMPLETED
