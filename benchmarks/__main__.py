"""`python -m benchmarks`: measure everything, compare two checkouts, write the README's table."""

from __future__ import annotations

import argparse
import sys
import time

from benchmarks import pairwise, parts, report, results
from benchmarks.bed import servers

EPILOG = """\
parts of a run:
{parts}

examples:
  python -m benchmarks                              everything, about 25 minutes on two quiet cores
  python -m benchmarks run --only drain,burst       two of the parts
  python -m benchmarks run --only drain --contenders jadwal,celery --repeats 1 --jobs 3000
  python -m benchmarks report                       the latest runs, into results.json and the README
  python -m benchmarks pairwise --base HEAD~5       the drain rate, now and then, alternating

The peers run in virtual environments of their own, made once from requirements/bench/*.txt under .local/bench.
PostgreSQL (defaults, fsync on; jit off, more connections) and Redis are started on free ports in a temporary
folder, and stopped at the end. Programs that run beside the benchmark spoil it: every figure is stored with the cores
that others took meanwhile (`foreign`).
"""


def listed(text: str) -> tuple[str, ...]:
    """Return the words of a list with commas."""
    return tuple(filter(None, text.split(",")))


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    described = "\n".join(f"  {name:<12} {part.__doc__}" for name, part in parts.PARTS.items())
    made = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description=__doc__,
        epilog=EPILOG.format(parts=described),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = made.add_subparsers(dest="command", required=True, metavar="run | report | pairwise")
    run = commands.add_parser("run", help="measure (this is what is done without a command)")
    run.add_argument("--only", type=listed, default=tuple(parts.PARTS), help="parts, with commas")
    run.add_argument("--contenders", type=listed, default=(), help="only these, with commas")
    run.add_argument(
        "--repeats", type=int, default=3, help="rounds, of which the median counts (%(default)s)"
    )
    run.add_argument("--jobs", type=int, default=parts.JOBS, help="no-op jobs of a drain (%(default)s)")
    run.add_argument(
        "--full", action="store_true", help="nothing is cut short, all peers at all sizes: hours"
    )
    run.set_defaults(act=measure)
    told = commands.add_parser("report", help="write results.json and the table in the README")
    told.add_argument(
        "--print", action="store_true", dest="only_print", help="print the table, write nothing"
    )
    told.set_defaults(act=report.run)
    compared = commands.add_parser(
        "pairwise",
        help="compare the drain rate of two checkouts",
        description=pairwise.__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    pairwise.arguments(compared)
    compared.set_defaults(act=pairwise.run)
    return made


def measure(options: argparse.Namespace) -> None:
    """Run the chosen parts, store every measurement, and print the table of what was measured."""
    unknown = set(options.only) - set(parts.PARTS)
    if unknown:
        raise SystemExit(f"there is no part {', '.join(sorted(unknown))}: see --help")
    plan = parts.Plan(options.repeats, options.jobs, options.full, options.contenders)
    run, began = results.now(), time.monotonic()
    for name in options.only:
        with servers() as started:  # fresh ones for each part
            for record in parts.PARTS[name](started, plan):
                kept = results.append(name, run, {"partial": plan.partial, **record})
                print(f"{name}: {line(kept)}", flush=True)
    print(f"\n{(time.monotonic() - began) / 60:.1f} minutes\n")
    document = {"parts": {name: {"rows": results.medians(results.latest(name))} for name in options.only}}
    print(report.table(document))
    if parts.failures:
        raise SystemExit(f"{len(parts.failures)} measurement(s) failed")


def line(record: results.Record) -> str:
    """Return a record in one line."""
    return ", ".join(
        f"{key} {value:,.4g}" if isinstance(value, float) else f"{key} {value}"
        for key, value in record.items()
        if key not in results.NOT_FIGURES
    )


def main(words: list[str]) -> None:
    """Parse the command line and run one of the commands; without a command, `run`."""
    if not words or (words[0].startswith("-") and words[0] not in ("-h", "--help")):
        words = ["run", *words]
    options = parser().parse_args(words)
    options.act(options)


if __name__ == "__main__":
    main(sys.argv[1:])
