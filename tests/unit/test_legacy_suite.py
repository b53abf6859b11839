"""The list of django-celery-beat's tests that do not apply is well formed, and the lock can be read."""

from __future__ import annotations

import re
from collections import Counter

from tests.legacy_suite.plugin import LIST, Exemption, exemptions, stale
from tests.legacy_suite.run import LOCK, locked


def test_each_reason_is_a_sentence_and_each_test_is_named_once() -> None:
    found = exemptions(LIST.read_text())
    assert found
    for one in found:
        assert re.fullmatch(r"[A-Z].{30,200}\.", one.reason), one.reason
        assert one.tests
    names = Counter(name for one in found for name in one.tests)
    assert {name for name, count in names.items() if count > 1} == set()
    assert all(re.match(r"test_\w+\.py::\w+::", name) for name in names), "no file is left out as a whole"


def test_a_name_that_is_not_there_any_more_is_found() -> None:
    found = [Exemption("Why.", ("test_a.py::b::c", "test_a.py::gone::*"))]
    assert stale(found, ["test_a.py::b::c", "test_a.py::b::d"]) == ["test_a.py::gone::*"]
    assert found[0].covers("test_a.py::gone::x")
    assert not found[0].covers("test_a.py::b::d")


def test_the_lock_names_the_version_with_hashes() -> None:
    lines = locked(LOCK.read_text())
    assert re.match(r"django-celery-beat==\d", lines)
    assert lines.count("--hash=sha256:") == 2, "the wheel and the source"
    assert "\n\n" not in lines
