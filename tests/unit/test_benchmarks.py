"""The benchmark's table is what was measured: the README quotes it, and nothing in it is typed by hand."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks import __main__ as command
from benchmarks import accounting, kit, report, results
from benchmarks.parts import PARTS, Plan

ROOT = Path(__file__).resolve().parent.parent.parent
LOCKS = ROOT / "requirements" / "bench"


def document(**parts: list[dict[str, Any]]) -> dict[str, Any]:
    return {"parts": {name: {"date": "2026-01-02", "rows": rows} for name, rows in parts.items()}}


# --- The README --------------------


def test_the_readme_quotes_the_stored_results() -> None:
    readme = (ROOT / "README.md").read_text()
    assert report.render(results.load()) in readme
    assert report.replaced(readme, report.render(results.load())) == readme


def test_the_stored_results_name_machine_and_versions() -> None:
    stored = results.load()
    if stored["parts"]:
        assert {"cores", "cpu", "memory_gib", "os", "python"} <= set(stored["machine"])
        assert {"Celery", "PostgreSQL", "Redis"} <= set(stored["versions"])
    assert set(stored["parts"]) <= set(PARTS)
    assert all(
        part["rows"] and re.fullmatch(r"\d{4}-\d\d-\d\d", part["date"]) for part in stored["parts"].values()
    )


def test_a_readme_without_the_block_is_an_error() -> None:
    with pytest.raises(ValueError, match="one block"):
        report.replaced("no markers", "block")


# --- The table --------------------


def test_ratios_say_how_many_times_better() -> None:
    drained = [
        {"contender": "jadwal", "drain": 1200.0, "p50_ms": 3.0},
        {"contender": "celery", "drain": 1000.0, "p50_ms": 2.4},
    ]
    table = report.table(document(drain=drained))
    assert (
        "| No-op jobs drained, two worker processes | 1,200 /s | Celery, results ignored 1,000 /s (1.2 x) |"
        in table
    )
    assert "| Idle latency, p50 | 3 ms | Celery, results ignored 2.4 ms (0.8 x) |" in table


def test_growth_compares_with_itself() -> None:
    rows = [
        {"contender": "jadwal", "size": "small", "start_ms": 0.5},
        {"contender": "jadwal", "size": "large", "start_ms": 0.6},
    ]
    assert "Start of a job | 0.6 ms | with 10,000: 0.5 ms (1.2 x as much)" in report.table(
        document(growth=rows)
    )


def test_a_burst_that_was_cut_says_so() -> None:
    rows = [
        {"contender": "jadwal", "schedules": 1000, "beats": 1, "rate": 4000.0, "last_s": 0.25},
        {"contender": "dcb", "schedules": 1000, "beats": 1, "rate": 20.0, "last_s": 50.0, "cut": 1.0},
    ]
    assert "django-celery-beat 20 /s, cut (200 x)" in report.table(document(burst=rows))


def test_nothing_measured_is_no_line() -> None:
    assert report.table(document()).count("\n") == 1


@pytest.mark.parametrize(
    ("value", "text"), [(12345.6, "12,300"), (100, "100"), (12.345, "12.3"), (0.01234, "0.0123"), (2.0, "2")]
)
def test_figures_have_three_digits(value: float, text: str) -> None:
    assert report.number(value) == text


# --- What is kept of a run --------------------


def test_the_median_of_the_latest_run_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(results, "LINES", tmp_path)
    monkeypatch.setattr(results, "STORE", tmp_path / "results.json")
    results.append("drain", "first", {"contender": "jadwal", "drain": 1.0, "repeat": 0})
    for number, rate in enumerate((30.0, 10.0, 20.0)):
        results.append(
            "drain", "second", {"contender": "jadwal", "drain": rate, "repeat": number, "foreign_drain": 0.5}
        )
    kept = results.condense(["drain", "burst"])
    assert set(kept["parts"]) == {"drain"}
    row = kept["parts"]["drain"]["rows"][0]
    assert (row["drain"], row["drain_range"], row["runs"], kept["foreign"]) == (20.0, [10.0, 30.0], 3, 0.5)
    results.save(kept)
    assert results.load() == kept


def test_a_partial_run_is_not_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(results, "LINES", tmp_path)
    results.append("drain", "whole", {"contender": "jadwal", "partial": False, "drain": 1.0})
    results.append("drain", "part", {"contender": "jadwal", "partial": True, "drain": 2.0})
    assert [record["drain"] for record in results.latest("drain")] == [2.0]
    assert [record["drain"] for record in results.latest("drain", complete=True)] == [1.0]
    assert Plan(contenders=("jadwal",)).partial
    assert Plan(jobs=100).partial
    assert not Plan(repeats=1).partial


# --- How it counts --------------------


def test_jobs_are_counted_over_all_processes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BENCH_FOLDER", str(tmp_path))
    assert kit.count() == (0, 0, 0)
    program = (
        "import time; from benchmarks.kit import noop; [noop() for _ in range(5)]; noop(time.monotonic_ns())"
    )
    for _ in range(2):
        subprocess.run([sys.executable, "-c", program], cwd=ROOT, env=dict(os.environ), check=True)
    found = kit.count()
    assert found.jobs == 12
    assert 0 < found.first < found.last
    assert len(kit.latencies()) == 2
    assert all(0 <= latency < 1000 for latency in kit.latencies())
    kit.forget()
    assert kit.count().jobs == 0


def test_cpu_of_children_is_counted() -> None:
    before = accounting.cpu_seconds(os.getpid())
    subprocess.run([sys.executable, "-c", "sum(range(10_000_000))"], check=True)
    assert accounting.cpu_seconds(os.getpid()) - before > 0.05


# --- The command line, and what the peers are made of --------------------


def test_every_part_is_explained(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        command.main(["--help"])
    told = capsys.readouterr().out
    assert ended.value.code == 0
    assert all(name in told for name in (*PARTS, "pairwise", "report"))


def test_an_unknown_part_is_named() -> None:
    with pytest.raises(SystemExit, match="no part nonsense"):
        command.main(["--only", "nonsense"])


def test_contenders_can_be_chosen() -> None:
    assert Plan(contenders=("celery",)).chosen("jadwal", "celery") == ["celery"]
    assert Plan().chosen("jadwal", "celery") == ["jadwal", "celery"]


@pytest.mark.parametrize("wanted", sorted(LOCKS.glob("*.in")), ids=lambda path: path.stem)
def test_the_peers_are_locked_with_hashes(wanted: Path) -> None:
    lock = wanted.with_suffix(".txt").read_text()
    pins = re.findall(r"^([a-z0-9-]+)(?:\[[a-z,]+\])?==\S+ \\$", lock, re.MULTILINE)
    asked = {re.split(r"[\[<>=]", line)[0] for line in wanted.read_text().splitlines() if line}
    assert asked <= set(pins)
    assert lock.count("--hash=sha256:") >= len(pins) > 0
    assert "index-url" not in lock


def test_what_is_stored_is_small_and_sorted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stored = results.load()
    monkeypatch.setattr(results, "STORE", tmp_path / "results.json")
    results.save(stored)
    text = results.STORE.read_text()
    assert len(text) < 200_000
    assert text == json.dumps(json.loads(text), indent=1, sort_keys=True) + "\n"
    assert results.load() == stored
