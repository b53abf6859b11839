"""What was measured: JSON lines while a benchmark runs, one small document of medians to keep.

Every measurement is appended at once to `benchmarks/results/<part>.jsonl`, so that a run that is cut short
loses nothing; those files are not kept in git. `condense` makes `benchmarks/results.json` of them: for each
part, its latest run.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.accounting import machine

HERE = Path(__file__).parent
LINES = HERE / "results"
STORE = HERE / "results.json"

Record = dict[str, Any]

KEYS = ("contender", "schedules", "beats", "size", "finished", "waiting", "jobs", "expression")
"""What tells one row from another; everything else in a record is a figure."""
NOT_FIGURES = ("part", "run", "partial", "at", "repeat", "machine", "versions", "settings")


def append(part: str, run: str, record: Record) -> Record:
    """Store one measurement of a run of a part; return it as it is stored."""
    LINES.mkdir(exist_ok=True)
    kept = {"part": part, "run": run, "at": now(), **record}
    with (LINES / f"{part}.jsonl").open("a") as file:
        file.write(json.dumps(kept) + "\n")
    return kept


def now() -> str:
    """Return the time in UTC, to the second."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def latest(part: str, *, complete: bool = False) -> list[Record]:
    """Return the records of the latest run of a part; none if it was never run here.

    `complete`: runs that left contenders out, or measured fewer jobs, do not count.
    """
    path = LINES / f"{part}.jsonl"
    if not path.exists():
        return []
    records = [json.loads(line) for line in path.read_text().splitlines()]
    records = [record for record in records if not (complete and record.get("partial"))]
    return [record for record in records if record["run"] == records[-1]["run"]]


def medians(records: Iterable[Record]) -> list[Record]:
    """Return one row per subject: the median of each figure, how many runs it is of, and the least and most."""
    groups: dict[tuple[Any, ...], list[Record]] = {}
    for record in records:
        groups.setdefault(tuple(record.get(key) for key in KEYS), []).append(record)
    rows = []
    for subject, members in groups.items():
        names = dict.fromkeys(name for member in members for name in member)
        row: Record = {key: value for key, value in zip(KEYS, subject, strict=True) if value is not None}
        row["runs"] = len(members)
        for name in names:
            values = [member[name] for member in members if member.get(name) is not None]
            if name not in KEYS + NOT_FIGURES and values:
                row[name] = _short(statistics.median(values))
                if len(values) > 1 and "foreign" not in name:
                    row[f"{name}_range"] = [_short(min(values)), _short(max(values))]
        rows.append(row)
    return rows


def _short(value: float) -> float:
    """Return four significant figures: more would be noise."""
    return float(f"{value:.4g}")


def condense(parts: Iterable[str], *, complete: bool = False) -> Record:
    """Return the stored document, with the latest run of each of `parts` in place of what it had of them."""
    document: Record = load()
    for part in parts:
        records = latest(part, complete=complete)
        if records:
            document["parts"][part] = {"date": records[-1]["at"][:10], "rows": medians(records)}
            document["machine"] = machine()
    document["foreign"] = _short(statistics.median(_foreign(document) or [0.0]))
    return document


def _foreign(document: Record) -> list[float]:
    rows = (row for part in document["parts"].values() for row in part["rows"])
    return [value for row in rows for name, value in row.items() if name.startswith("foreign")]


def load() -> Record:
    """Return the stored document; an empty one where there is none."""
    if not STORE.exists():
        return {"machine": {}, "versions": {}, "foreign": 0.0, "parts": {}}
    found: Record = json.loads(STORE.read_text())
    return found


def save(document: Record) -> None:
    """Store the document, in a form that is read and compared line by line."""
    STORE.write_text(json.dumps(document, indent=1, sort_keys=True) + "\n")
