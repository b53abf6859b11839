"""The state folder: what lies where, who holds it, what its supervisor last said."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from .environment import GIVEN, write_private
from .errors import CONFLICT, USAGE, StandaloneError
from .placement import forget_home
from .processes import Identity, kill_group, wait_until

PROJECT = Path(__file__).resolve().parent.parent.parent
DEFAULT_STATE = PROJECT / ".local"
_MARKER = "jadwal-state"


@dataclass(frozen=True)
class State:
    """One state folder. Two of them are two independent instances."""

    root: Path

    @classmethod
    def at(cls, folder: str | Path | None) -> State:
        """The folder asked for, else JADWAL_STATE_DIR, else `.local` in the project."""
        chosen = folder or GIVEN.get("JADWAL_STATE_DIR") or DEFAULT_STATE
        return cls(Path(chosen).expanduser().resolve())

    @property
    def pid_file(self) -> Path:
        return self.root / "up.pid"

    @property
    def status_file(self) -> Path:
        return self.root / "status.json"

    @property
    def logs(self) -> Path:
        return self.root / "logs"

    @property
    def mail(self) -> Path:
        return self.root / "mail"

    @property
    def admin_password(self) -> Path:
        return self.root / "admin-password"

    @property
    def flower_password(self) -> Path:
        return self.root / "flower-password"

    def log(self, component: str) -> Path:
        return self.logs / f"{component}.log"

    def prepare(self) -> None:
        """Create the folder. As root it may be entered, not listed: PostgreSQL's user must pass."""
        if self.root.is_dir() and any(self.root.iterdir()) and not self.is_ours():
            raise StandaloneError(f"{self.root} holds something else: choose an empty --state-dir", USAGE)
        self.root.mkdir(mode=0o711 if os.geteuid() == 0 else 0o700, parents=True, exist_ok=True)
        for folder in (self.logs, self.root / "static"):  # whitenoise warns without the second
            folder.mkdir(mode=0o700, exist_ok=True)
        (self.root / _MARKER).touch()
        (self.root / ".gitignore").write_text("*\n")

    def is_ours(self) -> bool:
        """Whether `up` made this folder. Settings may have put `static` or `env` there before."""
        known = {"static", "media", "backups", "env", "spool"}
        if (self.root / _MARKER).exists():
            return True
        return self.root == DEFAULT_STATE or {path.name for path in self.root.iterdir()} <= known

    def rotate(self, component: str) -> Path:
        """A fresh log for `component`; the previous one is kept as `.log.1`."""
        path = self.log(component)
        if path.exists():
            path.replace(path.with_suffix(".log.1"))
        return path

    @contextmanager
    def hold(self, patience: float = 15.0) -> Iterator[int]:
        """Be the only supervisor of this folder; yields the locked descriptor.

        The kernel drops the lock with its last holder, so there is no stale lock. After a crash
        the reaper still holds it while it ends the children: that is worth some patience. Raises
        StandaloneError (conflict) when another supervisor runs.
        """
        lock = os.open(self.root / "up.lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            if not wait_until(lambda: _locked(lock), 0.0 if self.supervisor() else patience):
                owner = self.supervisor()
                raise StandaloneError(
                    f"already running from {self.root}"
                    + (f" (pid {owner.pid})" if owner else ", or still stopping")
                    + ": see 'manage.py status', stop it with 'manage.py down'",
                    CONFLICT,
                )
            yield lock
        finally:
            os.close(lock)

    def sign_in(self) -> None:
        """Write the pid file: this process, and when it started."""
        me = Identity.of(os.getpid())
        write_private(self.pid_file, json.dumps(asdict(me)) + "\n" if me else "")

    def sign_out(self) -> None:
        self.pid_file.unlink(missing_ok=True)

    def supervisor(self) -> Identity | None:
        """The running supervisor; None when there is none, however the last one ended."""
        try:
            owner = Identity(**json.loads(self.pid_file.read_text()))
        except (OSError, ValueError, TypeError):
            return None
        return owner if owner.alive() else None

    def report(self) -> dict[str, Any]:
        """What the last supervisor wrote about its components; {} when nothing legible is there."""
        try:
            found = json.loads(self.status_file.read_text())
        except (OSError, ValueError):
            return {}
        return found if isinstance(found, dict) else {}

    def end_leftovers(self) -> list[str]:
        """Kill what a crashed supervisor and its reaper left running; returns the names."""
        names = []
        for item in self.report().get("items", []):
            if not item.get("pid") or not item.get("started"):
                continue
            if Identity(item["pid"], item["started"]).alive():
                kill_group(item["pid"])
                names.append(item["name"])
        self.status_file.unlink(missing_ok=True)
        return names

    def wipe(self) -> None:
        """Delete the folder and PostgreSQL's data where it lies elsewhere. Nothing may run."""
        if not self.root.exists():
            return
        if not (self.root / _MARKER).exists() or self.root in (Path("/"), PROJECT, Path.home()):
            raise StandaloneError(f"{self.root} was not made by 'manage.py up': not deleting it")
        forget_home(self.root / "postgres")
        shutil.rmtree(self.root)


def _locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
