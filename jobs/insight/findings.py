"""A difference that a move makes, as a sentence and a remedy."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

OK, WARN, FAIL = "ok", "warn", "fail"
"""It asks for nothing; it is to be known; something would not run."""

Advance = Callable[[int], None]
"""Told how many rows were looked at."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One difference, with the names of all that it is about: schedules, tasks, settings or queues."""

    area: str
    name: str
    status: str
    sentence: str
    remedy: str = ""
    names: tuple[str, ...] = ()

    def document(self) -> dict[str, Any]:
        """Return it as JSON, with all names; the sentence has the first ones."""
        return {
            "area": self.area,
            "name": self.name,
            "status": self.status,
            "sentence": self.sentence,
            "remedy": self.remedy or None,
            "names": list(self.names),
        }


def some(names: Iterable[object], most: int = 3) -> str:
    """Return the first of many names for a sentence, and how many more there are."""
    texts = [str(name) for name in names]
    return ", ".join(texts[:most]) + (f" and {len(texts) - most} more" if len(texts) > most else "")


def about(
    area: str, name: str, status: str, names: Iterable[object], sentence: str, remedy: str = ""
) -> Iterator[Finding]:
    """Yield one finding about `names`, or nothing where there are none. `{n}` and `{names}` are filled in."""
    found = tuple(str(one) for one in names)
    if found:
        text = sentence.replace("{n}", str(len(found))).replace("{names}", some(found))
        yield Finding(area, name, status, text, remedy, found)
