"""Fixtures of the tests of backups: PostgreSQL's own programs, and a policy over the test's database."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from backups.models import BackupPolicy, BackupTarget
from scheduler_project.standalone.binaries import postgres_bin


@pytest.fixture(autouse=True)
def tools(settings: Any) -> Path:
    """The folder of programs that fit the server."""
    folder = postgres_bin("pg_dump").parent
    settings.PG_BIN = str(folder)
    return folder


@pytest.fixture(autouse=True)
def root(settings: Any, tmp_path: Path) -> Path:
    """The folder below which backups may be."""
    settings.BACKUPS_ROOT = tmp_path / "backups"
    return tmp_path / "backups"


@pytest.fixture
def policy(db: None) -> BackupPolicy:
    """Keeps two."""
    target = BackupTarget.objects.create(name="here")
    return BackupPolicy.objects.create(name="main", target=target, keep_last=2)


def child_called(program: str, parent: int | None = None) -> int | None:
    """Return the pid of a child of `parent` (of this process) that runs `program`."""
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            name, _, rest = (folder / "stat").read_text().partition(" (")[2].rpartition(") ")
        except OSError:
            continue
        if name == program and int(rest.split()[1]) == (parent or os.getpid()):
            return int(folder.name)
    return None
