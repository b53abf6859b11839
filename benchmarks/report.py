"""The table of the README: made from `results.json`, never typed.

`render` is a pure function of the stored document; a test compares the README with it.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks import results
from benchmarks.results import Record

README = Path(__file__).parent.parent / "README.md"
BEGIN, END = "<!-- bench:begin -->", "<!-- bench:end -->"

NAMES = {
    "celery": "Celery, results ignored",
    "celery_results": "Celery + django-celery-results, defaults",
    "celery_results_kept": "Celery + django-celery-results, kept connections",
    "procrastinate": "Procrastinate",
    "redbeat": "RedBeat",
    "dcb": "django-celery-beat",
    "apscheduler": "APScheduler",
    "cronsim": "cronsim",
    "croniter": "croniter",
}
PAGES = {
    "admin_overview_ms": "Admin overview",
    "admin_jobs_ms": "Admin list of jobs",
    "admin_waiting_ms": "Admin list of waiting jobs",
    "admin_completed_ms": "Admin list of completed jobs",
    "admin_failed_ms": "Admin list of failed jobs",
    "jobs_list_ms": "`jobs list`",
    "claim_100_ms": "Claim of 100 schedules",
    "start_ms": "Start of a job",
    "prune_1000_ms": "Pruning of 1,000 jobs",
}

Line = tuple[str, str, str]
"""What is measured, our figure, and those it is compared with, each with the ratio."""


def number(value: float) -> str:
    """Return a figure with three significant digits, thousands with commas."""
    if value >= 100:
        return f"{float(f'{value:.3g}'):,.0f}"
    text = f"{value:.3g}"
    return text if "e" not in text else f"{value:.4f}"


class Rows:
    """The rows of one part of a document, by what they are about."""

    def __init__(self, document: Record, part: str) -> None:
        self.rows: list[Record] = document["parts"].get(part, {}).get("rows", [])

    def one(self, **subject: Any) -> Record:
        """Return the row of `subject`; empty where it was not measured."""
        for row in self.rows:
            if all(row.get(key) == value for key, value in subject.items()):
                return row
        return {}

    def others(self, **subject: Any) -> list[Record]:
        """Return the rows of `subject` that are not ours."""
        return [
            row
            for row in self.rows
            if row["contender"] != "jadwal" and all(row.get(key) == value for key, value in subject.items())
        ]


def against(
    what: str, key: str, unit: str, own: Record, peers: list[Record], *, less: bool
) -> Iterator[Line]:
    """Yield one line, if measured; a ratio says how many times better we are (less: smaller is better)."""
    known = [peer for peer in peers if peer.get(key)]
    if not own.get(key) or not known:
        return
    cells = []
    for peer in known:
        ratio = peer[key] / own[key] if less else own[key] / peer[key]
        cells.append(f"{NAMES[peer['contender']]} {figure(peer, key, unit)} ({number(ratio)} x)")
    yield what, figure(own, key, unit), "; ".join(cells)


def figure(row: Record, key: str, unit: str) -> str:
    """Return a figure with its unit; a burst that was cut short says so."""
    return f"{number(row[key])} {unit}{', cut' if row.get('cut') else ''}"


def grown(what: str, key: str, unit: str, large: Record, small: Record, at: str) -> Iterator[Line]:
    """Yield one line, if measured, that compares us with ourselves at another size: the ratio of the figures.

    What is less than the clock of processes counts is 0, and has no ratio.
    """
    if large.get(key) is not None and small.get(key) is not None:
        ratio = f" ({number(large[key] / small[key])} x as much)" if small[key] and large[key] else ""
        yield what, figure(large, key, unit), f"{at}: {figure(small, key, unit)}{ratio}"


def schedulers(document: Record) -> Iterator[Line]:
    """Yield the lines about beats."""
    rows = Rows(document, "burst")
    for count in (1_000, 10_000, 100_000):
        own = rows.one(contender="jadwal", schedules=count, beats=1)
        peers = rows.others(schedules=count, beats=1)
        yield from against(
            f"{count:,} schedules due at one second, sent", "rate", "/s", own, peers, less=False
        )
        yield from against(f"{count:,} due: the last is sent after", "last_s", "s", own, peers, less=True)
        both = rows.one(contender="jadwal", schedules=count, beats=2)
        yield from grown(f"{count:,} due, two beats", "rate", "/s", both, own, "one beat")
    rows = Rows(document, "idle")
    own, peers = (rows.one(contender="jadwal", schedules=10_000), rows.others(schedules=10_000))
    yield from against(
        "10,000 schedules: beat's turn after an edit", "turn_after_edit_ms", "ms", own, peers, less=True
    )
    yield from against(
        "10,000 schedules: beat's turn, nothing due", "idle_turn_ms", "ms", own, peers, less=True
    )
    yield from against("10,000 schedules: memory of a beat", "memory_mib", "MiB", own, peers, less=True)
    small, large = (rows.one(contender="jadwal", schedules=count) for count in (1_000, 1_000_000))
    for key, what, unit in (
        ("idle_turn_ms", "a turn, nothing due", "ms"),
        ("in_force_ms", "an edit is in force after", "ms"),
        ("memory_mib", "memory of a beat", "MiB"),
        ("idle_cpu_s_min", "CPU of a beat's idle minute", "s"),
        ("idle_server_s_min", "the same in PostgreSQL and Redis", "s"),
        ("due_100_ms", "100 due are sent in", "ms"),
    ):
        yield from grown(f"1,000,000 schedules: {what}", key, unit, large, small, "with 1,000")


def queues(document: Record) -> Iterator[Line]:
    """Yield the lines about jobs."""
    rows = Rows(document, "drain")
    own, peers = rows.one(contender="jadwal"), rows.others()
    yield from against("No-op jobs drained, two worker processes", "drain", "/s", own, peers, less=False)
    yield from against("One call enqueues one job", "enqueue", "/s", own, peers, less=False)
    if own.get("bulk"):
        bulk = [{**peer, "bulk": peer.get("bulk") or peer["enqueue"]} for peer in peers]
        yield from against("Enqueued in bulk, where there is a way", "bulk", "/s", own, bulk, less=False)
    yield from against("Idle latency, p50", "p50_ms", "ms", own, peers, less=True)
    yield from against("Idle latency, p95", "p95_ms", "ms", own, peers, less=True)
    yield from against("Worker CPU per job", "worker_us", "us", own, peers, less=True)


def growth(document: Record) -> Iterator[Line]:
    """Yield the lines about big tables."""
    rows = Rows(document, "growth")
    small, large = (rows.one(size=size) for size in ("small", "large"))
    for key, what in PAGES.items():
        yield from grown(
            f"1,000,000 finished jobs, 100,000 waiting: {what}", key, "ms", large, small, "with 10,000"
        )


def crontabs(document: Record) -> Iterator[Line]:
    """Yield the lines about fire times."""
    rows = Rows(document, "crontab")
    for expression in dict.fromkeys(row["expression"] for row in rows.rows):
        own = rows.one(contender="jadwal", expression=expression)
        peers = rows.others(expression=expression)
        yield from against(f"Next fire time: {expression}", "us", "us", own, peers, less=True)


def table(document: Record) -> str:
    """Return the table of a document."""
    lines = ["| Measured | Jadwal | Compared with |", "|---|---:|---|"]
    for part in (schedulers, queues, growth, crontabs):
        lines += [f"| {' | '.join(line)} |" for line in part(document)]
    return "\n".join(lines)


def preamble(document: Record) -> str:
    """Return what one has to know to read the table: the machine, the date, the versions, how it counts."""
    about, dates = document["machine"], sorted({part["date"] for part in document["parts"].values()})
    versions = ", ".join(f"{name} {version}" for name, version in sorted(document["versions"].items()))
    when = dates[0] if dates[0] == dates[-1] else f"{dates[0]} to {dates[-1]}"
    text = (
        f"Measured on {when}: {about['cores']} cores ({about['cpu']}), {about['memory_gib']} GiB, {about['os']}, "
        f"Python {about['python']}, {versions}. PostgreSQL has its default settings "
        "(fsync on) but for jit = off and max_connections, Redis no "
        "persistence; all ran on this one machine, the contenders in turns. Figures are medians of the runs. A "
        'ratio of "2 x" means that Jadwal is twice as good; "x as much" compares two figures of Jadwal. Jobs of '
        "Jadwal count as drained when start, finish, attempt and result are committed. A burst marked as cut was "
        "not waited for, and is reckoned from how far it came."
    )
    noise = document["foreign"]
    text += f" Other programs took {number(noise)} cores meanwhile (median)." if noise >= 0.01 else ""
    late = Rows(document, "punctuality").one(contender="jadwal")
    if late:
        text += (
            f" At ten schedules a second jobs start {number(late['p50_ms'])} ms after their time (p50; p95 "
            f"{number(late['p95_ms'])} ms, the latest of {late['jobs']} {number(late['most_ms'])} ms)."
        )
    return _wrapped(text)


def _wrapped(text: str, width: int = 115) -> str:
    lines = [""]
    for word in text.split():
        if len(lines[-1]) + len(word) + 1 > width:
            lines.append("")
        lines[-1] += f"{' ' if lines[-1] else ''}{word}"
    return "\n".join(lines)


def render(document: Record) -> str:
    """Return the block of the README, markers included; an empty one while nothing is measured."""
    if not document["parts"]:
        return f"{BEGIN}\n{END}"
    return f"{BEGIN}\n{preamble(document)}\n\n{table(document)}\n{END}"


def replaced(readme: str, block: str) -> str:
    """Return the README's text with `block` in place of the marked one. ValueError where there is none."""
    marked = re.compile(f"{re.escape(BEGIN)}.*?{re.escape(END)}", re.DOTALL)
    if len(marked.findall(readme)) != 1:
        raise ValueError(f"the README must have one block between {BEGIN} and {END}")
    return marked.sub(lambda _: block, readme)


def run(options: argparse.Namespace) -> None:
    """Write `results.json` and the README's block from the latest runs, or print the table."""
    from benchmarks.parts import PARTS
    from benchmarks.versions import versions

    document = results.condense(PARTS, complete=True)
    if options.only_print:
        print(table(document))
        return
    document["versions"] = versions()
    results.save(document)
    README.write_text(replaced(README.read_text(), render(document)))
    print(f"wrote {results.STORE.name} and the block of {README.name}")
