"""Which version of the time zone database is in use: Python takes the system's first, then the package's."""

from __future__ import annotations

import re
import zoneinfo
from pathlib import Path

_VERSION = re.compile(r"#\s*version\s+(\d{4}[a-z]+)")


def zone_versions() -> tuple[str, str]:
    """Return the versions of the system's data and of the `tzdata` package, such as "2026a"; "" where none."""
    return _system(), _package()


def _system() -> str:
    for folder in map(Path, zoneinfo.TZPATH):
        if not (folder / "Europe" / "Berlin").exists():
            continue
        try:
            with (folder / "tzdata.zi").open(encoding="ascii", errors="replace") as file:
                found = _VERSION.match(file.readline())
            if found:
                return found[1]
            return (folder / "+VERSION").read_text(encoding="ascii").strip()
        except OSError:
            return "of an unknown version"
    return ""


def _package() -> str:
    try:
        import tzdata  # type: ignore[import-untyped]
    except ImportError:
        return ""
    return str(tzdata.IANA_VERSION)
