"""django-celery-beat's own tests, against our scheduler, our application and our PostgreSQL.

    make legacy-suite

Its tests are not in the wheel that is installed, so the source of the locked version is fetched with pip, by
the hash in the lock, into a temporary folder; nothing of it is kept. `plugin` puts our classes in the place
of theirs, and leaves out what `not_applicable.toml` names, each with its reason.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
LOCK = ROOT / "requirements" / "dev.txt"
PROJECT = "django-celery-beat"


def locked(lock: str) -> str:
    """Return the lines of the lock that are about the project: its version and its hashes."""
    found = re.search(rf"^{PROJECT}==(?:.*\\\n)*.*$", lock, re.MULTILINE)
    if found is None:
        raise SystemExit(f"{LOCK} has no {PROJECT}")
    return found[0]


def fetch(folder: Path) -> None:
    """Put the tests, a package named `t`, into `folder`."""
    wanted = folder / "requirements.txt"
    wanted.write_text(locked(LOCK.read_text()) + "\n")
    words = ["download", "--quiet", "--disable-pip-version-check", "--no-deps", "--no-binary", ":all:",
             "--no-build-isolation", "--require-hashes", "--requirement", str(wanted), "--dest",
             str(folder)]  # fmt: skip
    subprocess.run([sys.executable, "-m", "pip", *words], check=True)
    [archive] = folder.glob("*.tar.gz")
    with tarfile.open(archive) as source:
        for member in source.getmembers():
            _, _, path = member.name.partition("/")
            if path == "t" or path.startswith("t/"):  # not the package itself: the installed one is tested
                member.name = path
                source.extract(member, folder / "suite", filter="data")


def run(folder: Path, arguments: list[str]) -> int:
    """Run the tests in `folder`; return pytest's exit code."""
    suite = folder / "suite"
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(suite), str(ROOT)]),
        "DJANGO_SETTINGS_MODULE": "tests.legacy_suite.settings",
    }
    words = ["-p", "tests.servers", "-p", "tests.legacy_suite.plugin", "-p", "no:cacheprovider",
             "-c", str(Path(__file__).with_name("pytest.ini")), "--rootdir", str(suite)]  # fmt: skip
    command = [sys.executable, "-m", "pytest", *words, *arguments, "t/unit"]
    return subprocess.run(command, cwd=suite, env=environment, check=False).returncode


def main() -> int:
    """Fetch and run. Arguments go to pytest."""
    with tempfile.TemporaryDirectory(prefix="legacy-suite-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        fetch(folder)
        return run(folder, sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
