"""A pytest plugin that runs django-celery-beat's tests against our classes."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import pytest

LIST = Path(__file__).with_name("not_applicable.toml")


@dataclass(frozen=True, slots=True)
class Exemption:
    """Why some tests cannot apply, and which: names as pytest has them below `t/unit/`, or patterns."""

    reason: str
    tests: tuple[str, ...]

    def covers(self, name: str) -> bool:
        """Whether a test is among them."""
        return any(fnmatchcase(name, pattern) for pattern in self.tests)


def exemptions(text: str) -> list[Exemption]:
    """Return what the list says. Raises KeyError and ValueError for one that is not well formed."""
    return [Exemption(one["reason"], tuple(one["tests"])) for one in tomllib.loads(text)["not_applicable"]]


def stale(found: Iterable[Exemption], names: Sequence[str]) -> list[str]:
    """Return the patterns that cover no test: they are about another version."""
    return [
        pattern
        for one in found
        for pattern in one.tests
        if not any(fnmatchcase(name, pattern) for name in names)
    ]


class Suite:
    """What was left out, and what became of the rest."""

    def __init__(self, *, theirs: bool) -> None:
        self.theirs = theirs
        self.left_out: dict[str, list[str]] = {}
        self.outcomes: dict[str, str] = {}

    def pytest_sessionstart(self) -> None:
        """Put our classes in the place of theirs, before any test module takes them."""
        import celery.contrib.testing.app
        import django_celery_beat.schedulers

        from jobs.runtime.app import DurableCelery
        from jobs.runtime.beat import DurableScheduler

        if not self.theirs:
            django_celery_beat.schedulers.DatabaseScheduler = DurableScheduler
            celery.contrib.testing.app.Celery = DurableCelery
        # Theirs calls it in a test's transaction: with PostgreSQL the connection would be gone, and all with it.
        django_celery_beat.schedulers.close_old_connections = lambda: None

    @pytest.hookimpl(tryfirst=True)
    def pytest_collection_modifyitems(self, config: pytest.Config, items: list[pytest.Item]) -> None:
        """Leave out what cannot apply; with their own scheduler nothing is left out."""
        if self.theirs:
            return
        found = exemptions(LIST.read_text(encoding="utf-8"))
        names = [_name(item) for item in items]
        whole = not config.option.keyword and all("::" not in one for one in config.args)
        if whole and (old := stale(found, names)):
            raise pytest.UsageError(f"{LIST.name} names what is not there: {', '.join(old)}")
        left = []
        for item, name in zip(items, names, strict=True):
            reason = next((one.reason for one in found if one.covers(name)), None)
            if reason is None:
                left.append(item)
            else:
                self.left_out.setdefault(reason, []).append(name)
        config.hook.pytest_deselected(items=[item for item in items if item not in left])
        items[:] = left

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Take note of how a test ended; trouble before or after it counts as well."""
        if report.when == "call" or report.outcome != "passed":
            self.outcomes[report.nodeid] = report.outcome

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        """Say what applies, and why the rest does not."""
        write = terminalreporter.write_line
        passed = sum(outcome == "passed" for outcome in self.outcomes.values())
        count = sum(map(len, self.left_out.values()))
        write(f"\ndjango-celery-beat's tests: {len(self.outcomes) + count}")
        write(f"  {passed:>4} apply and pass")
        write(f"  {len(self.outcomes) - passed:>4} apply and do not pass")
        write(f"  {count:>4} do not apply:")
        for reason, names in self.left_out.items():
            write(f"       {len(names):>4}  {reason}")


def _let_fixtures_have_marks() -> None:
    """Ignore a mark on a fixture, as pytest did before version 9, for which these tests were written."""
    from _pytest.fixtures import FixtureFunctionDefinition
    from _pytest.mark import structures

    store = structures.store_mark

    def store_mark(obj: Any, mark: pytest.Mark) -> None:
        if not isinstance(obj, FixtureFunctionDefinition):
            store(obj, mark)

    structures.store_mark = store_mark


def _name(item: pytest.Item) -> str:
    return item.nodeid.removeprefix("t/unit/")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Take `--theirs`."""
    parser.addoption(
        "--theirs",
        action="store_true",
        help="Keep their own scheduler: whether rows under our triggers are still good for it, which is the way back.",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Take part."""
    _let_fixtures_have_marks()
    config.pluginmanager.register(Suite(theirs=config.getoption("--theirs")), "legacy-suite")
