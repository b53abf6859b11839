"""Faults of Redis: it forgets, it is silent, it refuses, it hangs up, it is full."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta

import pytest
import redis as redis_client
from django.db.models import QuerySet
from django_celery_beat.models import PeriodicTask

from jobs.engine import recovering
from jobs.engine.cancelling import cancel
from jobs.engine.clock import database_now
from jobs.models import Beat, Job
from tests.acceptance.line import FAST, eventually
from tests.faults.scene import Scene
from tests.jobs import tasks

BEAT_CALL = timedelta(seconds=5)
"""How long a call of beat, or of `.delay()`, may take whatever Redis does."""

RECONCILE, PUBLISH_GRACE = (float(FAST[f"JADWAL_{name}_SECONDS"]) for name in ("RECONCILE", "PUBLISH_GRACE"))
TURN = 1.0
"""Seconds between two turns of a beat, at most."""
LOADED = 3.0
"""Seconds that two cores which also run other tests may add."""


def waiting() -> list[str]:
    return list(Job.objects.filter(status="waiting").values_list("id", flat=True))


def lpushes(scene: Scene) -> int:
    """How often anything was pushed to a list of this Redis since it began."""
    return int(scene.client().info("commandstats").get("cmdstat_lpush", {}).get("calls", 0))


class Caller:
    """A program that calls `tests.record`, and how long its calls took."""

    def __init__(self, scene: Scene, *, every: float, seconds: float) -> None:
        self.scene = scene
        self.times = scene.folder / f"calls-{len(scene.line.processes)}"
        self.process: subprocess.Popen[bytes] = scene.line.spawn(
            "python", "-m", "tests.faults.calling",
            str(scene.notes), str(self.times), str(every), str(seconds),
        )  # fmt: skip

    def calls(self) -> list[tuple[float, float]]:
        """When each call began, by CLOCK_MONOTONIC, and its seconds."""
        lines = self.times.read_text().splitlines() if self.times.exists() else []
        return [(float(began), float(took)) for began, took in map(str.split, lines)]

    def wait_for_calls(self) -> None:
        eventually(self.calls, 20, lambda: self.scene.line.tail(self.process))

    def end(self, seconds: float) -> list[tuple[float, float]]:
        """Wait for its end, which must be in good order; return all calls."""
        assert self.process.wait(timeout=seconds) == 0, self.scene.line.tail(self.process)
        return self.calls()


@contextmanager
def silent(scene: Scene) -> Iterator[None]:
    """Redis takes connections and says nothing as long as the block lasts."""
    os.kill(scene.redis.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(scene.redis.pid, signal.SIGCONT)


def stop_schedules() -> None:
    """Let nothing be due any more."""
    PeriodicTask.objects.update(enabled=False)


def seconds(span: timedelta) -> float:
    return round(span.total_seconds(), 3)


def last_end(jobs: QuerySet[Job]) -> datetime:
    return max(moment for moment in jobs.values_list("finished_at", flat=True) if moment)


@pytest.mark.fault(12, "Redis without persistence killed with jobs waiting")
def test_redis_forgets_everything_with_jobs_waiting(scene: Scene) -> None:
    count = scene.size(150, 1_000)
    ids = {tasks.record.delay(str(scene.notes)).id for _ in range(count)}
    assert recovering.depth("default") == count
    scene.line.beat()
    worker = scene.line.worker()
    scene.wait_for_completed(count // 10, 30)
    scene.redis.kill()
    lost = len(waiting())
    scene.redis.start()
    back = time.monotonic()
    scene.oracle.wait_until_at_rest(scene.size(40, 120), scene.tails)
    scene.figures = scene.oracle.judge() | {
        "lost": lost,
        "drained_s": round(time.monotonic() - back, 1),
    }
    assert lost > count // 2
    assert scene.oracle.begins() == dict.fromkeys(ids, 1)
    assert worker.poll() is None, scene.tails()


@pytest.mark.fault(13, "FLUSHALL under load")
def test_redis_is_flushed_under_load(scene: Scene) -> None:
    count = scene.size(100, 1_000)
    bound = scene.size(PUBLISH_GRACE + RECONCILE + TURN + LOADED, 30.0)
    schedules = scene.schedules(2)
    since = database_now()
    scene.line.beat()
    scene.line.worker()
    caller = Caller(scene, every=0.2, seconds=scene.size(6, 30))
    caller.wait_for_calls()
    ids = {tasks.record.delay(str(scene.notes), 0.1).id for _ in range(count)}
    eventually(lambda: scene.oracle.begins().keys() & ids, 20, scene.tails)
    flushed_at = database_now()
    scene.client().flushall()
    lost = waiting()
    noticed = eventually(lambda: _noticed(lost, flushed_at), bound + 15, scene.tails)
    caller.end(60)
    through = scene.decided_through(schedules)
    stop_schedules()
    scene.oracle.wait_until_at_rest(scene.size(40, 180), scene.tails)
    scene.figures = scene.oracle.judge() | {"lost": len(lost), "noticed_s": seconds(noticed - flushed_at)}
    scene.figures["occurrences"] = scene.oracle.every_occurrence_once(schedules, since=since, through=through)
    assert len(lost) > count // 2
    assert scene.figures["noticed_s"] <= bound
    begins = scene.oracle.begins()
    assert {begins[job_id] for job_id in ids} == {1}


def _noticed(lost: list[str], flushed_at: datetime) -> datetime | None:
    """When the last of these jobs was published again; None while one of them waits for nothing."""
    again = Job.objects.filter(id__in=lost).exclude(status="waiting", published_at__lte=flushed_at)
    times = again.filter(published_at__gt=flushed_at).values_list("published_at", flat=True)
    return max((time for time in times if time), default=None) if again.count() == len(lost) else None


@pytest.mark.fault(13, "a backlog of 6 h is not published again, and of a part that is lost just that part")
def test_a_backlog_is_not_published_again(scene: Scene) -> None:
    count = scene.size(300, 5_000)
    ids = [tasks.record.delay(str(scene.notes)).id for _ in range(count)]
    long_ago = database_now() - timedelta(hours=6)
    Job.objects.update(available_at=long_ago, published_at=long_ago)
    client, before = scene.client(), lpushes(scene)
    for _ in range(2):
        scene.line.beat()
    eventually(lambda: Beat.objects.count() == 2, 20, scene.tails)
    _let_beats_reconcile(scene)
    assert lpushes(scene) == before, scene.tails()
    assert client.llen("default") == count

    lost = scene.random.sample(ids, count // 3)
    _lose(client, set(lost))
    eventually(lambda: client.llen("default") == count, 20, scene.tails)
    _let_beats_reconcile(scene)
    assert sorted(recovering.queued_ids("default")) == sorted(ids), "not more, and not twice by two beats"

    worker = scene.line.worker()
    scene.oracle.wait_until_at_rest(scene.size(30, 120), scene.tails)
    # What a worker holds in its hands at such a moment may be sent once more, and is then dropped.
    dropped = scene.line.log_of(worker).count(b" starts nothing: ")
    scene.figures = scene.oracle.judge() | {"lost": len(lost), "duplicates_dropped": dropped}
    assert dropped <= count // 20
    assert scene.oracle.begins() == dict.fromkeys(ids, 1)


def _let_beats_reconcile(scene: Scene) -> None:
    """Until every beat has reconciled again; if it finds nothing, there is no event to wait for."""
    scene.wait(RECONCILE + TURN)


def _lose(client: redis_client.Redis, lost: set[str]) -> None:
    """Take these out of the list, all at one moment: nobody who reads it sees half of that."""
    items: list[bytes] = client.lrange("default", 0, -1)  # type: ignore[assignment]
    left = [item for item in items if recovering._job_id(item) not in lost]
    with client.pipeline(transaction=True) as pipe:
        pipe.delete("default")
        pipe.rpush("default", *left)
        pipe.execute()
    assert len(items) - len(left) == len(lost)


@pytest.mark.fault(14, "SIGSTOP Redis while schedules are due")
@pytest.mark.timeout(400)
def test_redis_is_silent(scene: Scene) -> None:
    schedules = scene.schedules(3)
    since = database_now()
    beat, worker = scene.line.beat(), scene.line.worker()
    running, other = (tasks.record.delay(str(scene.notes), 300).id for _ in range(2))
    length = scene.size(12.0, 90.0)
    warm = Caller(scene, every=0.3, seconds=length + 6)
    warm.wait_for_calls()
    eventually(lambda: scene.oracle.begins()[running] and scene.oracle.begins()[other], 10, scene.tails)
    cancel([other])  # so that this process has a connection for it
    scene.wait_for_completed(4, 20)
    with silent(scene):
        stopped, stopped_at = time.monotonic(), database_now()
        cold = Caller(scene, every=0.3, seconds=length / 2)
        cancel([running])
        cancelling = time.monotonic() - stopped
        scene.wait(stopped + length - time.monotonic())
        back, back_at = time.monotonic(), database_now()
    calls = [took for began, took in warm.end(60) if stopped <= began <= back] + [t for _, t in cold.end(60)]
    through = scene.decided_through(schedules)
    stop_schedules()
    scene.oracle.wait_until_at_rest(60, scene.tails)
    late = _decided_after(stopped_at, back_at)
    scene.figures = scene.oracle.judge() | {
        "decided_s": seconds(max(late)),
        "call_s": round(max(calls), 3),
        "cancel_s": round(cancelling, 3),
        "resumed_s": round(min(note.at for note in scene.oracle.notes("begin") if note.at > back) - back, 3),
        "occurrences": scene.oracle.every_occurrence_once(schedules, since=since, through=through),
    }
    assert len(late) >= len(schedules) * int(length - BEAT_CALL.total_seconds())
    assert max(late) <= BEAT_CALL
    assert len(calls) > 10
    assert max(calls) <= BEAT_CALL.total_seconds()
    assert cancelling <= BEAT_CALL.total_seconds()
    assert set(Job.objects.filter(id__in=[running, other]).values_list("status", flat=True)) == {"cancelled"}
    assert (beat.poll(), worker.poll()) == (None, None), scene.tails()


def _decided_after(since: datetime, until: datetime) -> list[timedelta]:
    """How long after its time each occurrence of that span was decided, by the database's clock."""
    decided = Job.objects.filter(scheduled_for__gt=since, scheduled_for__lte=until)
    return [made - due for made, due in decided.values_list("created_at", "scheduled_for") if due]


@pytest.mark.fault(15, "Redis refuses")
@pytest.mark.timeout(600)
def test_redis_refuses(scene: Scene) -> None:
    schedules = scene.schedules(2)
    since = database_now()
    beat, worker = scene.line.beat(), scene.line.worker()
    length = scene.size(10.0, 300.0)
    caller = Caller(scene, every=0.1, seconds=length + 2)
    caller.wait_for_calls()
    scene.wait_for_completed(3, 20)
    scene.redis.kill()
    away = time.monotonic()
    scene.wait(length)
    back, piled = time.monotonic(), len(waiting())
    scene.redis.start()
    back_at = database_now()
    calls = [took for began, took in caller.end(60) if away <= began <= back]
    through = scene.decided_through(schedules)
    stop_schedules()
    behind = set(waiting())
    scene.oracle.wait_until_at_rest(120, scene.tails)
    ended = last_end(Job.objects.filter(id__in=behind))
    scene.figures = scene.oracle.judge() | {
        "piled_up": piled,
        "drained_s": seconds(ended - back_at),
        "call_p99_s": round(sorted(calls)[len(calls) * 99 // 100], 3),
        "occurrences": scene.oracle.every_occurrence_once(schedules, since=since, through=through),
    }
    assert piled >= len(calls) + len(schedules) * int(length - 2), "every call made its row"
    assert scene.figures["drained_s"] <= 60
    assert scene.figures["call_p99_s"] <= 0.5
    assert (beat.poll(), worker.poll()) == (None, None), scene.tails()
    assert set(scene.oracle.begins().values()) == {1}


@pytest.mark.fault(16, "CLIENT KILL TYPE normal every 2 s")
def test_redis_hangs_up(scene: Scene) -> None:
    length = scene.size(10.0, 60.0)
    schedules = scene.schedules(2)
    since = database_now()
    beat, worker = scene.line.beat(), scene.line.worker(concurrency=2)
    count = scene.size(10, 12)
    ids = [tasks.record.delay(str(scene.notes), scene.size(2, 10)).id for _ in range(count)]
    scene.line.worker("default", concurrency=2)
    eventually(lambda: scene.oracle.begins().keys() & set(ids), 20, scene.tails)
    client, killed, end = scene.client(), 0, time.monotonic() + length
    while time.monotonic() < end:
        killed += int(client.client_kill_filter(_type="normal", skipme=True))
        scene.wait(2)
    through = scene.decided_through(schedules)
    stop_schedules()
    scene.oracle.wait_until_at_rest(scene.size(40, 120), scene.tails)
    scene.figures = scene.oracle.judge() | {
        "hung_up": killed,
        "occurrences": scene.oracle.every_occurrence_once(schedules, since=since, through=through),
    }
    assert killed >= length / 2 * 3, "each time there was one of beat, and of each worker"
    assert set(scene.oracle.begins().values()) == {1}
    assert (beat.poll(), worker.poll()) == (None, None), scene.tails()


@pytest.mark.fault(17, "Redis at maxmemory with noeviction")
def test_redis_is_full(scene: Scene) -> None:
    count = scene.size(40, 500)
    schedules = scene.schedules(2)
    since = database_now()
    beat, worker = scene.line.beat(), scene.line.worker()
    scene.wait_for_completed(2, 20)
    client = scene.client()
    early = [tasks.record.delay(str(scene.notes), 0.05).id for _ in range(count)]
    client.config_set("maxmemory", 1)
    refused = [tasks.record.delay(str(scene.notes)).id for _ in range(count)]
    late = scene.line.worker(name="late")
    seen = eventually(lambda: Beat.objects.filter(publish_failures__gt=1).first(), 20, scene.tails)
    eventually(lambda: not Job.objects.filter(id__in=early, status="waiting").exists(), 20, scene.tails)
    scene.wait(scene.size(3, 30))
    held = Job.objects.filter(id__in=refused, status="waiting").count()
    client.config_set("maxmemory", 0)
    raised_at = database_now()
    through = scene.decided_through(schedules)
    stop_schedules()
    scene.oracle.wait_until_at_rest(60, scene.tails)
    scene.figures = scene.oracle.judge() | {
        "publish_failures": Beat.objects.get().publish_failures,
        "held": held,
        "drained_s": seconds(last_end(Job.objects.all()) - raised_at),
        "occurrences": scene.oracle.every_occurrence_once(schedules, since=since, through=through),
    }
    assert "maxmemory" in seen.last_error
    assert held == count
    assert (beat.poll(), worker.poll(), late.poll()) == (None, None, None), scene.tails()
    assert set(scene.oracle.begins().values()) == {1}
