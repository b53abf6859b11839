"""How late jobs start: started_at minus scheduled_for, at ten schedules a second.

    python -m benchmarks.punctuality [--seconds 60] [--rate 10]

One beat, one worker with two pool processes. Every schedule is an interval of ten seconds, and they are
spread so that `rate` of them fall due in each second.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import time
from datetime import timedelta

from benchmarks.accounting import Foreign, percentile
from benchmarks.bed import BEAT, ask, bed, running, worker

PERIOD = 10


def measure(seconds: float, rate: int) -> list[float]:
    """Return the start delays, in seconds, of all jobs that were due in the time."""
    from django_celery_beat.models import IntervalSchedule, PeriodicTask

    from jobs.engine.clock import database_now
    from jobs.models import Job

    interval = IntervalSchedule.objects.create(every=PERIOD, period="seconds")
    anchor = database_now() + timedelta(seconds=6)  # when the processes are up
    count = rate * PERIOD
    PeriodicTask.objects.bulk_create(
        [
            PeriodicTask(
                name=f"s{n}",
                task="jobs.canary",
                interval=interval,
                start_time=anchor + timedelta(seconds=PERIOD * n / count),
            )
            for n in range(count)
        ]
    )
    time.sleep(6 + seconds + 2)
    end = anchor + timedelta(seconds=seconds)
    jobs = Job.objects.filter(scheduled_for__gte=anchor, scheduled_for__lt=end)
    late = [job for job in jobs if job.started_at is None]
    if late:
        raise SystemExit(f"{len(late)} of {len(jobs)} jobs never started")
    return [(job.started_at - job.scheduled_for).total_seconds() for job in jobs if job.started_at]


def figures(seconds: float, rate: int) -> dict[str, float]:
    """Measure in a process of its own, which sets Django up; return what it printed."""
    program = [sys.executable, "-m", "benchmarks.punctuality", "--json"]
    words = ("--seconds", seconds, "--rate", rate)
    return ask("punctuality", program, *words, environment=os.environ)


def main() -> None:
    """Print one line of figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--rate", type=int, default=10)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args()
    with bed() as folder, running(folder, BEAT, worker()), Foreign() as seen:
        delays = sorted(delay * 1e3 for delay in measure(options.seconds, options.rate))
    found = {
        "contender": "jadwal",
        "jobs": len(delays),
        "p50_ms": statistics.median(delays),
        "p95_ms": percentile(delays, 95),
        "most_ms": delays[-1],
        "foreign": seen.cores,
    }
    if options.json:
        print(json.dumps(found))
        return
    print(
        f"start delay over {len(delays)} jobs at {options.rate} schedules/s: "
        f"p50 {found['p50_ms']:.1f} ms, p95 {found['p95_ms']:.1f} ms, max {found['most_ms']:.1f} ms"
    )


if __name__ == "__main__":
    main()
