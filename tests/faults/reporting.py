"""What a run of the faults prints: one line a fault, with its seed and its figures."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil

FAULTS = 25
BEGIN, END = "<!-- faults:begin -->", "<!-- faults:end -->"


@dataclass(slots=True)
class Verdict:
    """How one test of a fault ended. `seconds` is the whole test, servers included."""

    number: int
    fault: str
    passed: bool
    seconds: float
    seed: int
    figures: dict[str, Any] = field(default_factory=dict)

    def as_json(self) -> str:
        return json.dumps(asdict(self))


def read(path: Path) -> list[Verdict]:
    """Return the verdicts that a run wrote, in the order of the faults."""
    lines = path.read_text().splitlines() if path.exists() else []
    return sorted((Verdict(**json.loads(line)) for line in lines), key=lambda verdict: verdict.number)


def survived(verdicts: Iterable[Verdict]) -> int:
    """Return how many of the 25 faults were survived: every test of the fault passed."""
    verdicts = list(verdicts)
    failed = {verdict.number for verdict in verdicts if not verdict.passed}
    return len({verdict.number for verdict in verdicts} - failed)


def table(verdicts: Sequence[Verdict]) -> str:
    """Return the run as a Markdown table."""
    lines = ["| # | Fault | Result | Seconds | Seed | Figures |", "|---|---|---|---|---|---|"]
    for verdict in verdicts:
        figures = ", ".join(f"{key} {value}" for key, value in verdict.figures.items())
        result = "survived" if verdict.passed else "**failed**"
        lines.append(
            f"| {verdict.number} | {verdict.fault} | {result} | {verdict.seconds:.1f} | {verdict.seed} | {figures} |"
        )
    return "\n".join(lines)


def machine() -> str:
    """Return on what, and when, this runs: nothing by which the machine could be told from others of its kind."""
    memory = psutil.virtual_memory().total / 2**30
    try:
        system = platform.freedesktop_os_release()["PRETTY_NAME"]
    except OSError:
        system = platform.system()
    return (
        f"{datetime.now(UTC).date().isoformat()}, {os.cpu_count()} cores, {memory:.0f} GB of memory, {system}, "
        f"Python {platform.python_version()}"
    )


def replace_block(document: Path, text: str) -> None:
    """Put `text` between the markers of a document.

    Raises ValueError when the document has no markers.
    """
    before, begin, rest = document.read_text().partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"{document} has no place for the table: {BEGIN} ... {END}")
    document.write_text(f"{before}{begin}\n{text}\n{end}{after}")
