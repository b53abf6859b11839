"""References to secrets in a payload: `{"$secret": "NAME"}` stands for a value that only a worker has.

What is stored, shown and sent is the reference. A worker fills in the value when it enters the task
(`engine.held_secrets`), and what a task hands back is given its references again (`redaction.conceal`).
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

REFERENCE = "$secret"
"""The only key of a reference. Its value is a name, which may be shown."""

NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,99}")
"""A name that is a file's and, behind a prefix, an environment variable's: no dots and no slashes."""


@dataclass(frozen=True, slots=True)
class Sealed:
    """The place of a secret in a payload that is being filled in. Nothing else looks into it."""

    name: str


def problems(payload: Any) -> list[str]:
    """Return what is wrong with the references in a payload, a sentence each."""
    return [sentence for item in _references(payload) for sentence in _problem(item)]


def names(payload: Any) -> list[str]:
    """Return the names of the secrets that a payload refers to, each once, in order."""
    return sorted({item[REFERENCE] for item in _references(payload) if not _problem(item)})


def is_reference(value: Any) -> bool:
    """Return whether a value is a well-formed reference, and so only the name of a secret."""
    return isinstance(value, dict) and REFERENCE in value and not _problem(value)


def _problem(item: Mapping[str, Any]) -> list[str]:
    name = item[REFERENCE]
    if len(item) > 1:
        others = ", ".join(sorted(repr(key) for key in item if key != REFERENCE))
        return [f'A reference to a secret has the key "{REFERENCE}" and no other; this one has {others}.']
    if not isinstance(name, str) or not NAME.fullmatch(name):
        return [
            f"{name!r} is no name of a secret: it begins with a letter, and has letters, digits and _ only, "
            "100 at most."
        ]
    return []


def _references(payload: Any) -> Iterator[dict[str, Any]]:
    if isinstance(payload, dict):
        if REFERENCE in payload:
            yield payload
        else:
            for item in payload.values():
                yield from _references(item)
    elif isinstance(payload, list | tuple):
        for item in payload:
            yield from _references(item)


def seal(payload: Any) -> Any:
    """Return a copy of `payload` with a `Sealed` in the place of every reference that is well formed.

    So that filling in other things (`templating`) neither looks into a secret nor makes a reference.
    """
    if isinstance(payload, dict):
        if is_reference(payload):
            return Sealed(payload[REFERENCE])
        return {key: seal(item) for key, item in payload.items()}
    return [seal(item) for item in payload] if isinstance(payload, list) else payload


def unseal(payload: Any, value_of: Callable[[str], Any]) -> Any:
    """Return a copy of `payload` with the value in the place of every `Sealed`."""
    if isinstance(payload, Sealed):
        return value_of(payload.name)
    if isinstance(payload, dict):
        return {key: unseal(item, value_of) for key, item in payload.items()}
    return [unseal(item, value_of) for item in payload] if isinstance(payload, list) else payload


def missing_sentence(missing: Iterable[str]) -> str:
    """Return what to tell a person about secrets that a worker does not have."""
    said = ", ".join(missing)
    what = f"There is no secret named {said} here" if "," not in said else f"There are no secrets {said} here"
    return f"{what}: set it in the environment of this worker, or give it a file with its name."
