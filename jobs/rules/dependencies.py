"""Schedules that run after other schedules must not wait for each other (SEMANTICS 23)."""

from collections.abc import Iterable, Mapping


class DependencyCycle(ValueError):
    """Schedules that wait for each other; the message is one sentence, ``cycle`` the names."""

    def __init__(self, cycle: tuple[str, ...]) -> None:
        self.cycle = cycle
        if len(cycle) == 1:
            message = f"The schedule {cycle[0]!r} cannot run after itself."
        else:
            chain = " after ".join([*cycle, cycle[0]])
            message = f"These schedules would wait for each other for ever: {chain}."
        super().__init__(message)


def check(after: Mapping[str, Iterable[str]]) -> None:
    """Raise DependencyCycle if any schedule comes, however indirectly, after itself.

    ``after`` maps a schedule to those it runs after; a name that is only a value is no error.
    """
    cycle = find_cycle(after)
    if cycle is not None:
        raise DependencyCycle(cycle)


def find_cycle(after: Mapping[str, Iterable[str]]) -> tuple[str, ...] | None:
    """Return the names of one cycle, each running after the next; None if there is none.

    Depth first and without recursion: a chain may be longer than Python's stack.
    """
    done: set[str] = set()
    for root in sorted(after):
        path = [root]
        on_path = {root}
        pending = [iter(sorted(after[root]))]
        while pending and root not in done:
            name = next(pending[-1], None)
            if name is None:
                pending.pop()
                leaving = path.pop()
                on_path.discard(leaving)
                done.add(leaving)
            elif name in on_path:
                return tuple(path[path.index(name) :])
            elif name not in done:
                path.append(name)
                on_path.add(name)
                pending.append(iter(sorted(after.get(name, ()))))
    return None
