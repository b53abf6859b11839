"""A program that calls a task again and again, as a web process does.

`python -m tests.faults.calling NOTES TIMES EVERY SECONDS` calls `tests.record` every EVERY seconds for so many
SECONDS, and appends a line for each call to TIMES: when it began, by CLOCK_MONOTONIC, and how long it took.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import django


def main(notes: str, times: str, every: float, seconds: float) -> None:
    django.setup()
    from tests.jobs import tasks

    end = time.monotonic() + seconds
    with Path(times).open("a", buffering=1) as out:
        while (began := time.monotonic()) < end:
            tasks.record.delay(notes)
            out.write(f"{began} {time.monotonic() - began}\n")
            time.sleep(max(0.0, began + every - time.monotonic()))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], float(sys.argv[3]), float(sys.argv[4]))
