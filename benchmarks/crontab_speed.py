"""How long one next fire time takes: ours beside Celery's crontab, cronsim and croniter.

    python benchmarks/crontab_speed.py

Prints microseconds per next fire, the median of several rounds; every library walks the same
expression from the same start. A library that is not installed is named as such, and one that
refuses an expression prints "refused"; one that cannot mean the same, "cannot say it".
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from jobs.rules.crontab import CronSpec, parse_expression
from jobs.rules.planning import FiringPolicy, plan
from jobs.rules.timing import IntervalSpec, SolarSpec, next_after

Step = Callable[[], object]

START = datetime(2026, 11, 21, 9, 17, 23, tzinfo=UTC)
ROUNDS = 5

CASES = (
    ("every minute, UTC", "* * * * *", "UTC"),
    ("every 15 minutes, New York", "*/15 * * * *", "America/New_York"),
    ("daily 02:30, Berlin", "30 2 * * *", "Europe/Berlin"),
    ("weekdays 09:00, Tokyo", "0 9 * * 1-5", "Asia/Tokyo"),
    ("monthly, UTC", "0 0 1 * *", "UTC"),
    ("yearly, Berlin", "0 0 1 1 *", "Europe/Berlin"),
    ("29 February, UTC", "0 0 29 2 *", "UTC"),
    ("29 February on a Monday, Berlin", "0 0 29 2 1", "Europe/Berlin"),
)


def ours(text: str, zone: str) -> Step:
    """Jadwal: a pure function of the spec and an instant."""
    spec = parse_expression(text, tz=zone, day_match="and")
    at = START

    def step() -> object:
        nonlocal at
        found = next_after(spec, at)
        at = START if found is None or found.at.year > 2200 else found.at
        return found

    return step


def celery_crontab(text: str, zone: str) -> Step:
    """Celery: the estimate of the time that remains, from the last run."""
    from celery import Celery
    from celery.schedules import crontab

    app = Celery(set_as_current=False)
    app.conf.timezone = zone
    at = START.astimezone(ZoneInfo(zone))
    minute, hour, day, month, weekday = text.split()
    schedule = crontab(minute, hour, weekday, day, month, nowfun=lambda: at, app=app)

    def step() -> object:
        nonlocal at
        at = at + schedule.remaining_estimate(at)
        if at.year > 2200:
            at = START.astimezone(ZoneInfo(zone))
        return at

    return step


def cronsim(text: str, zone: str) -> Step:
    """cronsim: an iterator; it can only join restricted day fields by OR."""
    from cronsim import CronSim

    if "*" not in text.split()[2::2]:
        raise NotImplementedError
    start = START.astimezone(ZoneInfo(zone))
    iterator = CronSim(text, start)

    def step() -> object:
        nonlocal iterator
        found = next(iterator)
        if found.year > 2200:
            iterator = CronSim(text, start)
        return found

    return step


def croniter(text: str, zone: str) -> Step:
    """croniter: an iterator, with the day fields joined by AND as Celery does."""
    import croniter as library

    start = START.astimezone(ZoneInfo(zone))
    iterator = library.croniter(text, start, day_or=False)

    def step() -> object:
        nonlocal iterator
        found = iterator.get_next(datetime)
        if found.year > 2200:
            iterator = library.croniter(text, start, day_or=False)
        return found

    return step


def measure(make: Callable[[str, str], Step], text: str, zone: str) -> str:
    """Return the median microseconds per step, or why there is none."""
    try:
        step = make(text, zone)
        step()
    except ImportError:
        return "not installed"
    except NotImplementedError:
        return "cannot say it"
    except Exception as error:  # a peer may raise anything; its table cell says which
        return f"refused: {type(error).__name__}"
    return f"{per_call(step):.1f}"


def per_call(step: Step) -> float:
    """Return microseconds per call, the median of a few rounds of at least 50 ms."""
    count = 1
    while elapsed(step, count) < 0.05 and count < 20_000:
        count *= 2
    return statistics.median(elapsed(step, count) / count * 1e6 for _ in range(ROUNDS))


def elapsed(step: Step, count: int) -> float:
    began = time.perf_counter()
    for _ in range(count):
        step()
    return time.perf_counter() - began


def planning_cases() -> dict[str, Step]:
    """The calls of the decision beat, with a label each."""
    daily = parse_expression("0 10 * * *", tz="Europe/Berlin")
    ten = datetime(2026, 11, 21, 9, tzinfo=UTC)
    second = timedelta(seconds=1)
    seconds = IntervalSpec(second, ten - timedelta(days=30))
    minutes = parse_expression("* * * * *", tz="Europe/Berlin")
    policy = FiringPolicy()
    jittered = FiringPolicy(jitter=timedelta(minutes=5))

    def on_time() -> object:
        return plan("k", daily, policy, cursor=ten - timedelta(days=1), now=ten + second)

    def with_jitter() -> object:
        return plan("k", daily, jittered, cursor=ten - timedelta(days=1), now=ten + second)

    def interval_on_time() -> object:
        return plan("k", seconds, policy, cursor=ten, now=ten + second)

    def missed_seconds() -> object:
        return plan("k", seconds, policy, cursor=ten - timedelta(days=1), now=ten)

    def missed_minutes() -> object:
        return plan("k", minutes, policy, cursor=ten - timedelta(days=30), now=ten)

    return {
        "plan: daily cron, one due on time": on_time,
        "plan: the same with jitter": with_jitter,
        "plan: 1 s interval, one due on time": interval_on_time,
        "plan: 1 s interval, a day of downtime": missed_seconds,
        "plan: every minute, 30 days of downtime": missed_minutes,
    }


def cold_cases() -> dict[str, Step]:
    """What is paid once per schedule or per zone and year, measured without any cache."""
    from jobs.rules import cron_search, zones

    zone = "America/New_York"
    rare = CronSpec("0", "0", "29", "2", "1", tz=zone)

    def forget() -> None:
        cron_search.matcher.cache_clear()
        cron_search._times.cache_clear()
        zones.segments.cache_clear()

    def first_next() -> object:
        forget()
        return next_after(rare, START)

    def parsing() -> object:
        return parse_expression("30 2 * * 1-5", tz=zone)

    return {
        "parse an expression": parsing,
        "29 February on a Monday, nothing cached": first_next,
        "sunset in Berlin, cached day": lambda: next_after(SolarSpec("sunset", 52.5, 13.4), START),
    }


PEERS = {"jadwal": ours, "celery": celery_crontab, "cronsim": cronsim, "croniter": croniter}


def records() -> Iterator[dict[str, Any]]:
    """Yield the microseconds of each library for each expression; those that cannot say it are left out."""
    for label, text, zone in CASES:
        for name, make in PEERS.items():
            cell = measure(make, text, zone)
            if cell.replace(".", "").isdigit():
                yield {"contender": name, "expression": label, "us": float(cell)}


def main() -> None:
    """Print the tables."""
    width = 36
    print(f"{'microseconds per next fire':<{width}}" + "".join(f"{name:>16}" for name in PEERS))
    for label, text, zone in CASES:
        cells = [measure(make, text, zone) for make in PEERS.values()]
        print(f"{label:<{width}}" + "".join(f"{cell:>16}" for cell in cells))
    for title, cases in (("planning", planning_cases()), ("paid once", cold_cases())):
        print(f"\n{title + ', microseconds per call':<{width}}")
        for label, step in cases.items():
            print(f"{label:<{width + 8}}{per_call(step):>8.1f}")


if __name__ == "__main__":
    main()
