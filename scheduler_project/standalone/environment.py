"""The environment variables of the instance that `manage.py up` last started.

Settings read this file, so it imports nothing but the standard library. `up` writes the addresses
and secrets of its servers to `<state>/env`; any other command then finds the running instance.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Final

#: What the caller had set, before settings filled the gaps from the file. It tells a DATABASE_URL
#: that a person chose from the address of our own server of last time.
GIVEN: Final[Mapping[str, str]] = dict(os.environ)


def environment(state_dir: Path) -> dict[str, str]:
    """The variables saved by the last `up` on `state_dir`; {} if there was none.

    A file that exists and cannot be read is an error (PermissionError): to go on without it would
    mean to talk to some other database.
    """
    try:
        text = (Path(state_dir) / "env").read_text(encoding="utf-8")
    except (FileNotFoundError, NotADirectoryError):
        return {}
    pairs = (line.split("=", 1) for line in text.splitlines() if "=" in line and line[0] != "#")
    return {key: value for key, value in pairs}  # noqa: C416 - mypy cannot see pairs in lists


def save_environment(state_dir: Path, variables: Mapping[str, str]) -> Path:
    """Write `<state_dir>/env` (0600) in one step. ValueError for a value of several lines."""
    for key, value in variables.items():
        if "\n" in value or "\r" in value:
            raise ValueError(f"{key} holds a line break, which {state_dir}/env cannot keep")
    lines = [f"{key}={value}\n" for key, value in sorted(variables.items())]
    return write_private(Path(state_dir) / "env", "".join(lines))


def write_private(path: Path, text: str) -> Path:
    """Replace `path` by a file with `text` that only its owner may read, never half written."""
    partial = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    return path


def kept_secret(path: Path, size: int = 24) -> str:
    """A random secret of `size` bytes, made on first use and kept 0600 in `path`."""
    if not path.exists():
        write_private(path, secrets.token_urlsafe(size) + "\n")
    return path.read_text(encoding="utf-8").strip()
