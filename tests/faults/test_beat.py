"""Faults of beats: they are killed between two statements, frozen in a transaction, many at once."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from datetime import datetime, timedelta

import psutil
import pytest
from django_celery_beat.models import PeriodicTask

from jobs.engine import dispatching, recovering
from jobs.engine.clock import database_now
from jobs.models import Beat, Job, Schedule
from tests.acceptance.line import FAST, eventually, kill_group, rows
from tests.faults.scene import Scene

TICK = timedelta(seconds=1)
"""Between two turns of a beat, at most."""
RECONCILE, PUBLISH_GRACE = (
    timedelta(seconds=float(FAST[f"JADWAL_{name}_SECONDS"])) for name in ("RECONCILE", "PUBLISH_GRACE")
)


def lateness(jobs: list[Job]) -> float:
    """Seconds from the nominal time to the turn that decided about it, the longest."""
    return max((job.created_at - job.scheduled_for for job in jobs), default=timedelta(0)).total_seconds()


def turning(*beats: subprocess.Popen[bytes]) -> bool:
    """Whether all of these have begun to turn."""
    return Beat.objects.filter(pid__in=[beat.pid for beat in beats]).count() == len(beats)


def has_died(process: subprocess.Popen[bytes]) -> bool:
    return process.poll() is not None


def has_stopped(process: subprocess.Popen[bytes]) -> bool:
    return psutil.Process(process.pid).status() == psutil.STATUS_STOPPED


def starts_counted(schedules: list[Schedule]) -> None:
    """Every start is counted once, in the policy and in django-celery-beat's own row."""
    for schedule in Schedule.objects.filter(pk__in=[one.pk for one in schedules]):
        started = Job.objects.filter(schedule_id=schedule.pk).exclude(status="skipped").count()
        total = PeriodicTask.objects.get(pk=schedule.pk).total_run_count
        assert (schedule.runs, total) == (started, started), schedule


@pytest.mark.fault(1, "kill -9 of a beat in its claim: after SELECT, after INSERT, before COMMIT")
def test_a_beat_killed_in_its_claim(scene: Scene) -> None:
    places = ("select", "insert", "claim")
    survivor = scene.line.beat()
    victims = {
        place: scene.line.beat(f"--die-after={place}", f"--fuse={scene.folder / place}") for place in places
    }
    scene.line.worker()
    eventually(lambda: turning(survivor, *victims.values()), 20, scene.tails)
    # One after another through the second, so that each beat soon has one of them in its hands.
    schedules = scene.schedules(10, spread=True)
    since = database_now()
    for place, victim in victims.items():
        (scene.folder / place).touch()
        eventually(lambda victim=victim: has_died(victim), 20, scene.tails)
        assert victim.returncode == -signal.SIGKILL
    scene.wait(2)
    through = scene.disable(schedules)
    scene.oracle.wait_until_at_rest(20, scene.tails)
    scene.figures = scene.oracle.judge()
    decided = scene.oracle.every_occurrence_once(schedules, since=since, through=through)
    starts_counted(schedules)
    late = lateness(list(Job.objects.filter(scheduled_for__gt=since)))
    assert late <= 2 * TICK.total_seconds()
    scene.figures |= {"beats_killed": len(places), "occurrences": decided, "decided_late_s": round(late, 3)}


def killed_with_fifty_jobs(scene: Scene, place: str) -> list[Schedule]:
    """Let a beat decide about 50 schedules at once, and die at `place`; another goes on."""
    victim = scene.line.beat(f"--die-after={place}")
    other = scene.line.beat()
    eventually(lambda: turning(victim, other), 20, scene.tails)
    os.kill(other.pid, signal.SIGSTOP)
    schedules = scene.schedules(50, every=3600, start=database_now() + timedelta(hours=1))
    # Making them takes a while; in one statement they are all due at the same time.
    start = database_now() + timedelta(seconds=2)
    PeriodicTask.objects.update(start_time=start)
    for schedule in schedules:
        schedule.periodic_task.start_time = start
    eventually(lambda: has_died(victim), 20, scene.tails)
    assert victim.returncode == -signal.SIGKILL
    assert Job.objects.filter(status="waiting").count() == 50
    os.kill(other.pid, signal.SIGCONT)
    return schedules


def once_each(scene: Scene, schedules: list[Schedule]) -> None:
    """Judge that each of the 50 has run once."""
    scene.oracle.wait_until_at_rest(30, scene.tails)
    scene.figures |= scene.oracle.judge()
    since = min(schedule.periodic_task.start_time for schedule in schedules) - TICK
    assert scene.oracle.every_occurrence_once(schedules, since=since, through=database_now()) == 50
    assert list(scene.oracle.begins().values()) == [1] * 50


@pytest.mark.fault(2, "kill -9 of a beat after COMMIT, before publishing 50 jobs")
def test_a_beat_killed_before_it_publishes(scene: Scene) -> None:
    schedules = killed_with_fifty_jobs(scene, "commit")
    born = {job.id: job.published_at for job in Job.objects.all()}
    eventually(lambda: len(set(recovering.queued_ids("default"))) == 50, 20, scene.tails)
    published = Job.objects.values_list("id", "published_at")
    late = max(at - born[job_id] for job_id, at in published)
    # They are not looked for before the grace; then the next reconcile finds them.
    assert late <= PUBLISH_GRACE + RECONCILE + TICK
    scene.figures |= {"republished": 50, "published_late_s": round(late.total_seconds(), 3)}
    scene.line.worker()
    once_each(scene, schedules)


@pytest.mark.fault(3, "kill -9 of a beat after publishing, before it knows that it has")
def test_a_beat_killed_when_it_has_published(scene: Scene) -> None:
    schedules = killed_with_fifty_jobs(scene, "publish")
    born = dict(Job.objects.values_list("id", "published_at"))
    first = Job.objects.order_by("published_at")[0].published_at
    eventually(lambda: database_now() > first + PUBLISH_GRACE + 2 * RECONCILE, 20)
    assert dict(Job.objects.values_list("id", "published_at")) == born, "what is there is not sent again"
    assert scene.client().llen("default") == 50
    # What one that did not look would do.
    assert dispatching.publish(dispatching.messages_for(born))
    assert scene.client().llen("default") == 100
    workers = [scene.line.worker(), scene.line.worker()]
    once_each(scene, schedules)
    eventually(lambda: scene.client().llen("default") == 0, 20, scene.tails)

    def dropped() -> int:
        return sum(scene.line.log_of(worker).count(b"starts nothing") for worker in workers)

    eventually(lambda: dropped() == 50, 10, lambda: f"{dropped()} dropped\n{scene.tails()}")
    scene.figures |= {"duplicates_dropped": dropped()}


@pytest.mark.fault(4, "3 beats, schedules due every second, a beat killed again and again")
@pytest.mark.timeout(1_500)
def test_beats_killed_one_after_another(scene: Scene) -> None:
    count, seconds, pause = scene.size((100, 12, 3), (1_000, 120, 10))
    # An fsync at both ends of each job would measure the disk: one schedule in ten keeps notes.
    schedules = scene.schedules(count // 10) + scene.schedules(count - count // 10, task="tests.silent")
    beats = [scene.line.beat() for _ in range(3)]
    eventually(lambda: turning(*beats), 20, scene.tails)
    eventually(lambda: not Schedule.objects.filter(stale=True).exists(), 30, scene.tails)
    since, end = database_now(), time.monotonic() + seconds
    killed = 0
    while time.monotonic() + pause < end:
        scene.wait(pause)
        victim = scene.random.randrange(len(beats))
        kill_group(beats[victim])
        beats[victim] = scene.line.beat()
        killed += 1
    scene.wait(max(0.0, end - time.monotonic()))
    through = scene.disable(schedules, 60)
    decided = scene.oracle.every_occurrence_once(schedules, since=since, through=through)
    starts_counted(schedules)
    scene.figures = {"killed": killed, "occurrences": decided, **spread_of_lateness(since)}
    began = time.monotonic()
    for _ in range(2):
        scene.line.worker(concurrency=4)
    scene.oracle.wait_until_at_rest(scene.size(60, 900), scene.tails)
    jobs = Job.objects.count()
    scene.figures |= scene.oracle.judge() | {"drained_per_s": round(jobs / (time.monotonic() - began))}


def spread_of_lateness(since: datetime) -> dict[str, float]:
    """How late the turns were that decided about what came after `since`."""
    times = Job.objects.filter(scheduled_for__gt=since).values_list("created_at", "scheduled_for")
    late = sorted((decided - nominal).total_seconds() for decided, nominal in times)
    return {
        "decided_late_p50_s": round(late[len(late) // 2], 3),
        "decided_late_p99_s": round(late[len(late) * 99 // 100], 3),
        "decided_late_max_s": round(late[-1], 3),
    }


@pytest.mark.fault(5, "SIGSTOP of a beat in the middle of its claim")
def test_a_beat_frozen_in_its_claim(scene: Scene) -> None:
    timeout, seconds = scene.size((3, 7), (20, 60))
    scene.line.env["DATABASE_IDLE_IN_TRANSACTION_TIMEOUT_MS"] = str(timeout * 1_000)
    frozen = scene.line.beat("--stop-after=insert", f"--fuse={scene.folder / 'fuse'}")
    other = scene.line.beat()
    scene.line.worker()
    eventually(lambda: turning(frozen, other), 20, scene.tails)
    os.kill(other.pid, signal.SIGSTOP)
    (scene.folder / "fuse").touch()
    held = scene.schedules(5)
    since = database_now()
    eventually(lambda: has_stopped(frozen), 20, scene.tails)
    os.kill(other.pid, signal.SIGCONT)
    free = scene.schedules(5)
    free_since = database_now()
    turns, waited = _watch(scene, other, free_since + timedelta(seconds=seconds))
    (scene.folder / "fuse").unlink()
    os.kill(frozen.pid, signal.SIGCONT)
    assert scene.stop_gracefully(other) == 0
    alone_since = database_now()
    eventually(
        lambda: Job.objects.filter(created_at__gt=alone_since, status="completed").count() >= 10,
        20,
        scene.tails,
    )
    through = scene.disable([*held, *free])
    scene.oracle.wait_until_at_rest(20, scene.tails)
    scene.figures = scene.oracle.judge()
    decided = scene.oracle.every_occurrence_once(held, since=since, through=through)
    decided += scene.oracle.every_occurrence_once(free, since=free_since, through=through)
    starts_counted([*held, *free])
    assert b"Traceback" not in scene.line.log_of(frozen), scene.line.tail(frozen)
    assert waited == 0, "somebody waited for a lock"
    assert turns <= 10 * seconds, "it turns and turns while it can do nothing"
    keys = [schedule.pk for schedule in free]
    frozen_then = Job.objects.filter(created_at__gt=since, created_at__lt=alone_since)
    late_free = lateness(list(frozen_then.filter(schedule_id__in=keys, scheduled_for__gt=free_since)))
    late_held = lateness(list(frozen_then.exclude(schedule_id__in=keys)))
    assert late_free <= 2 * TICK.total_seconds()
    assert late_held <= timeout + 2 * TICK.total_seconds()
    scene.figures |= {
        "occurrences": decided,
        "freed_after_s": round(late_held, 3),
        "others_late_s": round(late_free, 3),
        "turns_per_s": round(turns / seconds, 1),
    }


def _watch(scene: Scene, beat: subprocess.Popen[bytes], until: datetime) -> tuple[int, int]:
    """Look on until then; return how often `beat` turned, and how often anybody was seen to wait for a lock."""
    before, waited = _turns(beat), 0
    waits = """SELECT count(*) FROM pg_stat_activity
               WHERE wait_event_type = 'Lock' AND datname = current_database()"""

    def over() -> bool:
        nonlocal waited
        waited += rows(waits)[0][0]
        return database_now() > until

    eventually(over, (until - database_now()).total_seconds() + 20, scene.tails)
    return _turns(beat) - before, waited


def _turns(beat: subprocess.Popen[bytes]) -> int:
    turns: int = Beat.objects.get(pid=beat.pid).turns
    return turns
