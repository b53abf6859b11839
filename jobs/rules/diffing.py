"""What a change does to fire times: two streams of instants become added, removed and moved (SEMANTICS 29).

Only instants that are in one stream alone differ. Of those, a removed and an added one that correspond are
one that moved: first those on the same local day, in order; then whatever is next to each other in time and
nearer than `REACH`. So a change of the hour shows as moves, and a change of the weekdays as what it is.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from heapq import merge
from itertools import groupby

REACH = timedelta(hours=12)
"""How far an instant can be moved across midnight and still be the same occurrence."""


@dataclass(frozen=True, slots=True)
class Difference:
    """One fire time that is new (`before` is None), gone (`after` is None) or moved."""

    before: datetime | None
    after: datetime | None

    @property
    def kind(self) -> str:
        """`added`, `removed` or `moved`."""
        if self.before is None:
            return "added"
        return "removed" if self.after is None else "moved"

    @property
    def at(self) -> datetime:
        """The earlier of its instants: where it stands in a list."""
        return min(at for at in (self.before, self.after) if at is not None)


def compare(
    before: Iterable[datetime], after: Iterable[datetime], *, day: Callable[[datetime], date]
) -> list[Difference]:
    """Return how two ascending streams of instants differ, in order of time.

    `day` gives the local day of an instant.
    """
    removed, added = _one_sided(before, after)
    moved, removed, added = _same_day(removed, added, day)
    near, removed, added = _neighbours(removed, added)
    found = [
        *(Difference(old, new) for old, new in [*moved, *near]),
        *(Difference(old, None) for old in removed),
        *(Difference(None, new) for new in added),
    ]
    return sorted(found, key=lambda item: (item.at, item.kind))


def _one_sided(
    before: Iterable[datetime], after: Iterable[datetime]
) -> tuple[list[datetime], list[datetime]]:
    """Return what is in one ascending stream and not in the other."""
    removed, added = [], []
    both = merge(((at, 0) for at in before), ((at, 1) for at in after))
    for at, sides in groupby(both, key=lambda pair: pair[0]):
        seen = {side for _, side in sides}
        if seen == {0}:
            removed.append(at)
        elif seen == {1}:
            added.append(at)
    return removed, added


Pairs = list[tuple[datetime, datetime]]


def _same_day(
    removed: Sequence[datetime], added: Sequence[datetime], day: Callable[[datetime], date]
) -> tuple[Pairs, list[datetime], list[datetime]]:
    by_day: dict[date, tuple[list[datetime], list[datetime]]] = defaultdict(lambda: ([], []))
    for side, instants in enumerate((removed, added)):
        for at in instants:
            by_day[day(at)][side].append(at)
    moved: Pairs = []
    lone: tuple[list[datetime], list[datetime]] = ([], [])
    for old, new in by_day.values():
        count = min(len(old), len(new))
        moved += zip(old[:count], new[:count], strict=True)
        lone[0].extend(old[count:])
        lone[1].extend(new[count:])
    return moved, sorted(lone[0]), sorted(lone[1])


def _neighbours(
    removed: Sequence[datetime], added: Sequence[datetime]
) -> tuple[Pairs, list[datetime], list[datetime]]:
    """Pair, from the first on, a removed instant with the added one next to it, if it is near."""
    moved: Pairs = []
    lone: tuple[list[datetime], list[datetime]] = ([], [])
    waiting: tuple[datetime, int] | None = None
    for at, side in merge(((at, 0) for at in removed), ((at, 1) for at in added)):
        if waiting is None:
            waiting = (at, side)
        elif side != waiting[1] and at - waiting[0] < REACH:
            moved.append((waiting[0], at) if side else (at, waiting[0]))
            waiting = None
        else:
            lone[waiting[1]].append(waiting[0])
            waiting = (at, side)
    if waiting is not None:
        lone[waiting[1]].append(waiting[0])
    return moved, lone[0], lone[1]
