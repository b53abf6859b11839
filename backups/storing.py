"""Files that appear whole or not at all."""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

PARTIAL, DUMP, MANIFEST = ".partial", ".dump", ".json"


def folder_for(root: Path, policy: str) -> Path:
    """Return the folder of a policy's backups, made for its owner only."""
    folder = root / policy
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return folder


@contextmanager
def partial(final: Path) -> Iterator[Path]:
    """Give a name to write `final` under, of this attempt's own; nothing is left there afterwards."""
    path = final.with_name(f"{final.name}.{secrets.token_hex(4)}{PARTIAL}")
    try:
        yield path
    finally:
        path.unlink(missing_ok=True)


def put_in_place(written: Path, final: Path) -> None:
    """Give a file that is on the disk its name, and see that the name is, too."""
    written.replace(final)
    _sync_folder(final.parent)


def manifest_of(dump: Path) -> Path:
    """Return where the manifest of a dump is."""
    return dump.with_name(dump.name + MANIFEST)


def write_manifest(dump: Path, content: dict[str, Any]) -> None:
    """Say that the backup exists."""
    with partial(manifest_of(dump)) as path:
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
            json.dump(content, file, indent=2, sort_keys=True)
            file.write("\n")
            file.flush()
            os.fsync(file.fileno())
        put_in_place(path, manifest_of(dump))


def exists(dump: Path, size: int | None) -> bool:
    """Whether the backup is there: its manifest, and a dump of this size."""
    return manifest_of(dump).is_file() and dump.is_file() and dump.stat().st_size == size


def remove(dump: Path) -> None:
    """Delete a backup: first what says that it exists."""
    manifest_of(dump).unlink(missing_ok=True)
    _sync_folder(dump.parent)
    dump.unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
