"""Where PostgreSQL's files may live and as whom it runs.

PostgreSQL refuses to run as root. As root (a container, a CI box) it runs as the system user
`pgserver`, whose data folder that user must be able to reach. No permission of an existing folder
is widened for that: when the state folder is out of reach (under /root, under pytest's 0700
folder), the data goes to /var/lib/jadwal/<digest of the folder>, and the folder records where.
"""

from __future__ import annotations

import hashlib
import os
import pwd
import shutil
import subprocess
import time
from pathlib import Path

from .errors import ServerError
from .processes import OsUser

OS_USER = "pgserver"
RELOCATED = Path("/var/lib/jadwal")


def server_user() -> OsUser | None:
    """The account for PostgreSQL: `pgserver` (created on first use) when root, None otherwise."""
    if os.geteuid() != 0:
        return None
    try:
        entry = pwd.getpwnam(OS_USER)
    except KeyError:
        entry = _create_user()
    return OsUser(entry.pw_name, entry.pw_uid, entry.pw_gid)


def _create_user() -> pwd.struct_passwd:
    command = ["useradd", "--system", "--user-group", "--no-create-home"]
    try:
        subprocess.run(
            [*command, "--shell", "/usr/sbin/nologin", OS_USER],
            check=True,
            capture_output=True,
            text=True,
        )
        return pwd.getpwnam(OS_USER)
    except (OSError, subprocess.CalledProcessError, KeyError) as error:
        raise ServerError(
            f"PostgreSQL cannot run as root and the user {OS_USER} could not be created ({error}): "
            f"run as another user, or set DATABASE_URL to a server of yours"
        ) from error


def reachable(path: Path, user: OsUser) -> bool:
    """Whether `user` may enter the folder `path`. The kernel decides, so ACLs count too."""
    test = subprocess.run(
        ["test", "-x", str(path)],
        cwd="/",
        user=user.uid,
        group=user.gid,
        extra_groups=[],
        check=False,
    )
    return test.returncode == 0


def readable_binaries(folder: Path, user: OsUser | None) -> Path:
    """`folder` (.../bin), or its place in a copy of its installation where `user` cannot reach it."""
    if user is None or reachable(folder, user):
        return folder
    source = folder.parent
    stamp = f"{source}:{(folder / 'postgres').stat().st_mtime_ns}"
    copy = _relocated_root() / f"postgres-{_digest(stamp)}"
    if not copy.exists():
        partial = copy.with_name(f"{copy.name}.{os.getpid()}.partial")
        _copy_installation(source, partial)
        try:
            partial.rename(copy)
        except OSError:  # another process was first
            shutil.rmtree(partial)
    return copy / source.parent.name / source.name / "bin"


def _copy_installation(source: Path, target: Path) -> None:
    """Copy `site-packages/package/install`, and `site-packages/package.libs` beside it.

    A wheel's programs find their shared libraries there, relative to themselves.
    """
    package = source.parent
    shutil.copytree(source, target / package.name / source.name, symlinks=True)
    libraries = package.with_name(f"{package.name}.libs")
    if libraries.is_dir():
        shutil.copytree(libraries, target / libraries.name, symlinks=True)
    for folder in (target, target / package.name, target / package.name / source.name):
        folder.chmod(0o755)


def home_for(folder: Path, user: OsUser | None) -> Path:
    """The folder that holds `data`: `folder` itself, or its deterministic place in reach.

    The choice is recorded in `folder/location` and kept from then on. Data that lies there without
    a record belongs to a deleted folder, and its passwords are lost: it is set aside, not deleted.
    """
    record = folder / "location"
    if record.exists():
        home = Path(record.read_text().strip())
    elif user is None or reachable(folder, user):
        return folder
    else:
        home = _relocated_root() / _digest(str(folder.resolve()))
        _set_aside(home)
        record.write_text(f"{home}\n")
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    if user is not None:
        os.chown(home, user.uid, user.gid)
    return home


def forget_home(folder: Path) -> None:
    """Delete the relocated data of `folder`, if any."""
    record = folder / "location"
    if record.exists():
        home = Path(record.read_text().strip())
        if home.parent == RELOCATED:
            shutil.rmtree(home, ignore_errors=True)
        record.unlink()


def _set_aside(home: Path) -> None:
    if home.exists():
        home.rename(home.with_name(f"{home.name}.previous-{time.time_ns()}"))


def _relocated_root() -> Path:
    """/var/lib/jadwal, which only root can have made."""
    RELOCATED.mkdir(mode=0o755, exist_ok=True)
    return RELOCATED


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]
