"""PostgreSQL's own programs: which ones, how old, and how they log in."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from tempfile import TemporaryFile
from typing import Any

from django.conf import settings
from django.db import connections

# What of Django's OPTIONS libpq reads from the environment, too.
TLS_OPTIONS = {
    "sslmode": "PGSSLMODE",
    "sslrootcert": "PGSSLROOTCERT",
    "sslcert": "PGSSLCERT",
    "sslkey": "PGSSLKEY",
}


class UnfitToolError(Exception):
    """There is no program that could do it: an operator has to install one."""


@dataclass(frozen=True, slots=True)
class Tool:
    """A program and its version."""

    path: str
    version: str

    @property
    def major(self) -> int:
        """For example 18."""
        return int(self.version.split(".")[0])


def find(program: str, *, server_major: int) -> Tool:
    """Return `program` from the folder JADWAL_PG_BIN, else from PATH.

    Raises `UnfitToolError` when there is none, or when it is older than the server: an older `pg_dump` does
    not know what a newer server keeps.
    """
    folder = settings.PG_BIN
    path = shutil.which(program, path=folder or None)
    if path is None:
        raise UnfitToolError(
            f"There is no {program} in {folder or 'PATH'}: install postgresql-client-{server_major}, "
            "or set JADWAL_PG_BIN to the folder that has it."
        )
    said = subprocess.run(
        [path, "--version"], capture_output=True, text=True, timeout=30, check=True, env=clean_environment()
    ).stdout
    match = re.search(r"\(PostgreSQL\) (\d[\w.]*)", said)
    if match is None:
        raise UnfitToolError(f"{path} does not say its version: {said.strip()!r}.")
    tool = Tool(path, match[1])
    if tool.major < server_major:
        raise UnfitToolError(
            f"{path} is version {tool.version}, older than the server, which is {server_major}: it cannot "
            f"back it up. Install postgresql-client-{server_major}, or set JADWAL_PG_BIN to its folder."
        )
    return tool


def server_version(alias: str) -> tuple[int, str]:
    """Return the major version of the server of a database, and its full version."""
    with connections[alias].cursor() as cursor:
        cursor.execute("SHOW server_version_num")
        number = int(cursor.fetchone()[0])
        cursor.execute("SHOW server_version")
        return number // 10000, str(cursor.fetchone()[0]).split()[0]


@dataclass(frozen=True, slots=True)
class Login:
    """What a program is given to reach a database: an environment, and open files it inherits."""

    environment: dict[str, str]
    descriptors: tuple[int, ...] = ()


@contextmanager
def login(alias: str) -> Iterator[Login]:
    """Let PostgreSQL's programs reach the database `alias` for the length of the block.

    Neither the arguments nor the environment of a process are a secret, so the password is in a file: one
    without a name, which the program inherits open. Even a process killed in the middle leaves none behind.
    """
    given: dict[str, Any] = connections[alias].get_connection_params()
    environment = clean_environment()
    names = {"host": "PGHOST", "port": "PGPORT", "user": "PGUSER", "dbname": "PGDATABASE", **TLS_OPTIONS}
    environment |= {names[key]: str(value) for key, value in given.items() if key in names and value}
    environment |= {"PGCONNECT_TIMEOUT": "15", "PGAPPNAME": "jadwal backup"}
    if not given.get("password"):
        yield Login(environment)
        return
    with TemporaryFile("w", encoding="utf-8") as file:  # 0600, as libpq demands
        file.write(f"*:*:*:*:{_escaped(str(given['password']))}\n")  # any server: it is for this program only
        file.flush()
        file.seek(0)
        environment["PGPASSFILE"] = f"/dev/fd/{file.fileno()}"
        yield Login(environment, (file.fileno(),))


def _escaped(password: str) -> str:
    return password.replace("\\", "\\\\").replace(":", "\\:")


def clean_environment() -> dict[str, str]:
    """Return what a program may know of our environment: no secret of ours, and messages in English."""
    kept = {
        key: os.environ[key] for key in ("PATH", "HOME", "TMPDIR", "LD_LIBRARY_PATH") if key in os.environ
    }
    return {**kept, "LC_ALL": "C"}
