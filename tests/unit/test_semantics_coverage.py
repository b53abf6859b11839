"""Every rule of SEMANTICS has a test that shows it: this one fails when a rule has none."""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]
RULES = range(1, 31)


def rules_of(source: str) -> Counter[int]:
    """Return how many tests of a module are marked with each rule, by reading its source only."""
    tree = ast.parse(source)
    tests = [node for node in ast.walk(tree) if _is_test(node)]
    found: Counter[int] = Counter()
    for node in tree.body:
        if isinstance(node, ast.Assign) and any(_name(target) == "pytestmark" for target in node.targets):
            for rule in _marks(node.value):
                found[rule] += len(tests)
    for test in tests:
        found.update(_decorations(test))
    for group in ast.walk(tree):
        if isinstance(group, ast.ClassDef):
            for rule in _decorations(group):
                found[rule] += sum(_is_test(node) for node in group.body)
    return +found


def _decorations(node: ast.AST) -> list[int]:
    return [rule for decorator in getattr(node, "decorator_list", []) for rule in _marks(decorator)]


def _is_test(node: ast.AST) -> bool:
    return isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_")


def _name(node: ast.AST) -> str:
    return node.id if isinstance(node, ast.Name) else ""


def _marks(node: ast.AST) -> Iterator[int]:
    """Yield the numbers of `pytest.mark.semantics(number)` in an expression."""
    for call in ast.walk(node):
        if isinstance(call, ast.Call) and ast.unparse(call.func) == "pytest.mark.semantics":
            yield from (
                one.value for one in call.args if isinstance(one, ast.Constant) and isinstance(one.value, int)
            )


def test_every_rule_has_a_test() -> None:
    found: Counter[int] = Counter()
    for file in TESTS.rglob("test_*.py"):
        found += rules_of(file.read_text(encoding="utf-8"))
    missing = [rule for rule in RULES if not found[rule]]
    assert not missing, f"no test shows these rules of SEMANTICS: {missing}"
    unknown = sorted(set(found) - set(RULES))
    assert not unknown, f"tests name rules that SEMANTICS does not have: {unknown}"


def test_marks_are_found_wherever_pytest_takes_them_from() -> None:
    source = """
import pytest
pytestmark = [pytest.mark.django_db, pytest.mark.semantics(1)]
@pytest.mark.semantics(2)
@pytest.mark.parametrize("x", [pytest.param(1, marks=pytest.mark.semantics(3))])
def test_a(x): ...
def test_b(): ...
@pytest.mark.semantics(4)
def helper(): ...
@pytest.mark.semantics(5)
class TestGroup:
    def test_c(self): ...
@pytest.mark.semantics(6)
class TestNothing: ...
"""
    assert rules_of(source) == {1: 3, 2: 1, 3: 1, 5: 1}
