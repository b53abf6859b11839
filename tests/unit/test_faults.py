"""The family of the faults is whole: each has a test and a line in the documents, and the report is right."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults import reporting
from tests.faults.nemesis.plan import COME_BACK, COUNT, KINDS, WARM_UP, make_plan
from tests.faults.nemesis.stage import Stage
from tests.faults.reporting import FAULTS, Verdict

ROOT = Path(__file__).parents[2]
ALL = set(range(1, FAULTS + 1))


def marked(source: str) -> Iterator[int]:
    """Yield the numbers of the faults that the tests of a module are marked with."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
            for mark in node.decorator_list:
                if isinstance(mark, ast.Call) and ast.unparse(mark.func) == "pytest.mark.fault":
                    assert isinstance(mark.args[0], ast.Constant)
                    assert isinstance(mark.args[0].value, int)
                    yield mark.args[0].value


def test_every_fault_has_a_test() -> None:
    found = {
        number
        for file in (ROOT / "tests" / "faults").glob("test_*.py")
        for number in marked(file.read_text())
    }
    assert found == ALL, f"without a test: {sorted(ALL - found)}; unknown: {sorted(found - ALL)}"


def test_the_document_names_every_fault_once() -> None:
    text = (ROOT / "docs" / "reliability.md").read_text()
    listed, _, last_run = text.partition(reporting.BEGIN)
    assert [int(number) for number in re.findall(r"^\| (\d+) \|", listed, re.MULTILINE)] == sorted(ALL)
    of_last_run = {int(number) for number in re.findall(r"^\| (\d+) \|", last_run, re.MULTILINE)}
    assert of_last_run in (set(), ALL), "the table of the last run has them all"


def verdict(number: int, *, passed: bool = True, text: str = "kill -9") -> Verdict:
    return Verdict(number, text, passed, 1.25, 7, {"begins": 3})


def test_a_fault_counts_when_all_its_tests_passed() -> None:
    assert reporting.survived([verdict(1), verdict(2), verdict(2)]) == 2
    assert reporting.survived([verdict(1), verdict(2), verdict(2, passed=False)]) == 1
    assert reporting.survived([]) == 0


def test_verdicts_come_back_in_the_order_of_the_faults(tmp_path: Path) -> None:
    report = tmp_path / "verdicts"
    report.write_text("\n".join(verdict(number).as_json() for number in (2, 1)))
    assert reporting.read(report) == [verdict(1), verdict(2)]
    assert reporting.read(tmp_path / "none") == []


def test_the_table_says_what_failed() -> None:
    table = reporting.table([verdict(1), verdict(2, passed=False)]).splitlines()
    assert table[2] == "| 1 | kill -9 | survived | 1.2 | 7 | begins 3 |"
    assert "**failed**" in table[3]


def test_the_block_of_a_document_is_replaced_and_nothing_else(tmp_path: Path) -> None:
    document = tmp_path / "a.md"
    document.write_text(f"before\n{reporting.BEGIN}\nold\n{reporting.END}\nafter\n")
    reporting.replace_block(document, "new")
    assert document.read_text() == f"before\n{reporting.BEGIN}\nnew\n{reporting.END}\nafter\n"
    document.write_text("no place")
    with pytest.raises(ValueError, match="no place"):
        reporting.replace_block(document, "new")


def test_the_machine_is_described_without_its_name() -> None:
    import platform

    assert re.fullmatch(
        r"\d{4}-\d\d-\d\d, \d+ cores, \d+ GB of memory, .+, Python 3\.\d+\.\d+", reporting.machine()
    )
    assert platform.node() not in reporting.machine().split(", ")


# --- The plan of the nemesis --------------------


def test_the_same_seed_gives_the_same_plan() -> None:
    assert make_plan(7, 60) == make_plan(7, 60)
    assert make_plan(7, 60) != make_plan(8, 60)
    assert [act for act in make_plan(7, 60) if act.at < 60] == [
        act for act in make_plan(7, 10) if act.at < 60
    ]


@pytest.mark.parametrize("seed", range(5))
def test_a_plan_leaves_what_suffers_time_to_come_back(seed: int) -> None:
    plan = make_plan(seed, 60)
    assert {act.name for act in plan} == set(KINDS), "an hour has everything"
    free_at: dict[tuple[str, int], float] = {}
    for act in plan:
        subject = (KINDS[act.name].to, act.which)
        assert act.at >= max(WARM_UP, free_at.get(subject, 0.0) - 0.1), act
        assert act.which < COUNT[subject[0]]
        assert act.at + act.seconds <= 3_600
        free_at[subject] = act.at + act.seconds + COME_BACK


def test_every_kind_of_act_can_be_done() -> None:
    assert all(callable(getattr(Stage, f"_{name}")) for name in KINDS)
