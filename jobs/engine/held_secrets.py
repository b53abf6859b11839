"""Secrets as a worker holds them: looked up when it enters a task, and never stored.

Whoever runs the worker puts them into its environment (`JADWAL_SECRET_<NAME>`) or into a folder
(`JADWAL_SECRETS_DIR`, a file for each, as Docker and Kubernetes mount them). A worker of one queue has what its
own environment has, and no other.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field

from jobs.conf import conf
from jobs.engine import history
from jobs.engine.records import Started
from jobs.rules import secret_references
from jobs.rules.secret_references import REFERENCE
from jobs.rules.states import Trigger

PREFIX = "JADWAL_SECRET_"
MOST_BYTES = 65_536
"""A secret is a word or a key. A larger file is something else."""


class SecretError(Exception):
    """A secret that is there and cannot be had; the message is a sentence that names it."""


@dataclass(frozen=True, slots=True)
class Filled:
    """What a task is called with."""

    started: Started
    secrets: Mapping[str, str] = field(default_factory=dict)
    """The secrets in it, by name."""
    problem: str = ""
    """Why the task must not be entered, in a sentence; empty where it may."""


def look_up(name: str) -> str | None:
    """Return the secret of that name in this process's environment or folder; None for none.

    Raises `SecretError` for a file that cannot be read.
    """
    value = os.environ.get(PREFIX + name)
    if value:
        return value
    folder = conf().secrets_dir
    if folder is None:
        return None
    try:
        with (folder / name).open("rb") as file:
            content = file.read(MOST_BYTES + 1)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as exc:
        raise SecretError(f"The file of the secret {name} cannot be read: {exc.strerror}.") from exc
    if len(content) > MOST_BYTES:
        raise SecretError(f"The file of the secret {name} has more than {MOST_BYTES} bytes.")
    try:
        return content.decode().removesuffix("\n").removesuffix("\r") or None
    except UnicodeDecodeError:
        # The error itself would show what is in the file.
        raise SecretError(f"The file of the secret {name} is not UTF-8 text.") from None


def fill(started: Started) -> Filled:
    """Return a started job with its payload filled in: the names (`history`), and the secrets.

    A reference counts where somebody of ours wrote it: in a schedule, and in a call of our code. What another
    program has sent is data, and names no secret. Nor does anything that is filled in.
    """
    if started.trigger == Trigger.FOREIGN:
        return Filled(history.fill_payload(started))
    wanted = secret_references.names([started.args, started.kwargs])
    if not wanted:
        return Filled(history.fill_payload(started))
    secrets, problem = _gather(wanted)
    sealed = started._replace(
        args=secret_references.seal(started.args), kwargs=secret_references.seal(started.kwargs)
    )
    filled = history.fill_payload(sealed)
    if problem:
        return Filled(_unsealed(filled, {name: {REFERENCE: name} for name in wanted}), problem=problem)
    return Filled(_unsealed(filled, secrets), secrets)


def _gather(wanted: list[str]) -> tuple[dict[str, str], str]:
    try:
        found = {name: look_up(name) for name in wanted}
    except SecretError as exc:
        return {}, str(exc)
    missing = [name for name, value in found.items() if value is None]
    if missing:
        return {}, secret_references.missing_sentence(missing)
    return {name: value for name, value in found.items() if value is not None}, ""


def _unsealed(started: Started, values: Mapping[str, object]) -> Started:
    return started._replace(
        args=secret_references.unseal(started.args, values.__getitem__),
        kwargs=secret_references.unseal(started.kwargs, values.__getitem__),
    )
