"""`make faults`: the 25 faults at full size, a table of what came of them, and every other test's long form.

    python -m tests.faults --rounds 3

The table goes to the screen and, after the last round, into docs/reliability.md. Exit code 1 unless every
test passed and every fault has one.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.faults import reporting

ROOT = Path(__file__).parents[2]
DOCUMENT = ROOT / "docs" / "reliability.md"


def main() -> int:
    """Run, print, write, and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults")
    parser.add_argument("--rounds", type=int, default=1, help="how often, one after another")
    parser.add_argument("--processes", type=int, default=3, help="tests at a time")
    wanted, pytest_arguments = parser.parse_known_args()
    clean = True
    for number in range(1, wanted.rounds + 1):
        code, verdicts = run(wanted.processes, pytest_arguments)
        count = reporting.survived(verdicts)
        text = f"{reporting.table(verdicts)}\n\n{count} of {reporting.FAULTS} survived"
        print(f"\nRound {number} of {wanted.rounds}\n\n{text}", flush=True)
        clean = clean and code == 0 and count == reporting.FAULTS
    reporting.replace_block(DOCUMENT, f"\n{reporting.machine()}.\n\n{text}.\n")
    clean = pytest("tests", "-m", "full", "-n", str(wanted.processes)) == 0 and clean
    return 0 if clean else 1


def run(processes: int, pytest_arguments: list[str]) -> tuple[int, list[reporting.Verdict]]:
    """Run the tests of the faults once; return pytest's exit code and the verdicts."""
    with tempfile.TemporaryDirectory(prefix="jadwal-faults-") as folder:
        report = Path(folder) / "verdicts"
        code = pytest(
            "tests/faults", "-n", str(processes), "--maxschedchunk", "1", *pytest_arguments,
            JADWAL_FAULTS="full", JADWAL_FAULTS_REPORT=str(report),
        )  # fmt: skip
        return code, reporting.read(report)


def pytest(*words: str, **env: str) -> int:
    """Run pytest in a process of its own; return its exit code."""
    command = [sys.executable, "-m", "pytest", *words]
    return subprocess.run(command, cwd=ROOT, env={**os.environ, **env}, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
