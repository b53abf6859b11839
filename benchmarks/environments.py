"""The peers' virtual environments, made from locked requirements: one per set, under `.local/bench`."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
HOME = ROOT / ".local" / "bench"
OWN = "jadwal"
"""The set that stands for the project's own environment, the one that runs the benchmark."""


def python_of(name: str) -> str:
    """Return the interpreter of a set, making its environment first where it is missing or out of date."""
    if name == OWN:
        return sys.executable
    lock = ROOT / "requirements" / "bench" / f"{name}.txt"
    folder = HOME / f"venv-{name}"
    stamp, python = folder / "requirements.sha256", folder / "bin" / "python"
    wanted = hashlib.sha256(lock.read_bytes()).hexdigest()
    if not stamp.exists() or stamp.read_text() != wanted:
        print(f"making the environment of {name} (requirements/bench/{name}.txt)", flush=True)
        venv.create(folder, clear=True, with_pip=True)
        install = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--require-hashes"]
        subprocess.run([python, *install, "-r", lock], check=True)
        stamp.write_text(wanted)
    return str(python)


def version_of(name: str, package: str) -> str:
    """Return the version of a package that a set's environment has."""
    ask = f"from importlib.metadata import version; print(version({package!r}))"
    return subprocess.run(
        [python_of(name), "-c", ask], check=True, capture_output=True, text=True
    ).stdout.strip()
