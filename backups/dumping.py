"""One dump of one database into one file, and the proof that all of it can be read back."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

from backups import piping
from backups.pg_tools import Login, Tool, clean_environment


class DamagedDumpError(Exception):
    """The file is not the dump that was written."""


@dataclass(frozen=True, slots=True)
class Written:
    """What was written: so many bytes, and their hash."""

    size: int
    sha256: str


def dump(pg_dump: Tool, login: Login, file: Path) -> Written:
    """Dump the database that `login` reaches into `file`, and see that it is on the disk.

    A failure of the program is a failure, whatever it has written by then.
    """
    argv = [
        pg_dump.path,
        "--format=custom",
        "--no-password",
        "--lock-wait-timeout=60s",  # rather fail than queue behind a migration, and everybody behind us
    ]
    digest, size = hashlib.sha256(), 0
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with (
        os.fdopen(descriptor, "wb") as output,
        piping.reading(argv, login.environment, login.descriptors) as pipe,
    ):
        while chunk := pipe.read(piping.CHUNK):
            output.write(chunk)
            digest.update(chunk)
            size += len(chunk)
        output.flush()
        os.fsync(output.fileno())
    return Written(size, digest.hexdigest())


def verify(pg_restore: Tool, file: Path, expected: Written) -> None:
    """Read all of `file`, as a restore would, and compare its hash.

    Raises `DamagedDumpError`. `pg_restore --list` would not do: it reads the table of contents only.
    """
    digest, size = hashlib.sha256(), 0
    argv = [pg_restore.path, "--file=/dev/null"]
    try:
        with file.open("rb") as dumped, piping.writing(argv, clean_environment()) as pipe:
            while chunk := dumped.read(piping.CHUNK):
                digest.update(chunk)
                size += len(chunk)
                pipe.write(chunk)
    except piping.ProgramError as exc:
        raise DamagedDumpError(f"The dump cannot be restored: {exc}") from exc
    if Written(size, digest.hexdigest()) != expected:
        raise DamagedDumpError(f"The file has {size} bytes and not the {expected.size} that were written.")
