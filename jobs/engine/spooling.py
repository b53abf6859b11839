"""Outcomes on disk: what a worker knows while the database does not answer.

One file an ending, written whole and fsynced before it counts. Files are named after the worker that wrote
them, so that each worker records its own, and those of workers that are gone are recorded by others.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

from jobs.conf import conf
from jobs.engine import payload
from jobs.engine.ending import Ending

logger = logging.getLogger(__name__)

SUFFIX = ".ending"
VERSION = 1


def keep(ending: Ending, worker_id: str) -> Path:
    """Write `ending`, which a child of this worker has in its hands, to disk; return its file.

    Raises OSError where the folder cannot be written: then the outcome is lost with the process, and the
    job runs again when its worker's lease has ended.
    """
    folder = conf().spool
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    text = payload.document({"version": VERSION, "ending": ending.as_document()})
    # A job's id is any text; a file's name is not.
    digest = hashlib.sha256(f"{ending.job_id} {ending.attempt}".encode()).hexdigest()[:32]
    path = folder / f"{worker_id}.{digest}{SUFFIX}"
    partial = path.with_suffix(".partial")
    with partial.open("w") as out:
        out.write(text)
        out.flush()
        os.fsync(out.fileno())
    partial.rename(path)
    _sync_folder(folder)
    logger.error("the outcome of job %s is kept in %s until the database is back", ending.job_id, path.name)
    return path


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def kept(worker_id: str, *, everything: bool = False) -> Iterator[tuple[Path, Ending]]:
    """Yield what is on disk, oldest first: this worker's own, and what others have left for a lease.

    `everything`: whoever wrote it, however long ago. A file that cannot be read is put aside.
    """
    for path in _files():
        if not everything and not path.name.startswith(worker_id) and not _is_left_behind(path):
            continue
        try:
            document = json.loads(path.read_text())
            yield path, Ending.of_document(document["ending"])
        except FileNotFoundError:
            continue  # another worker was faster
        except (ValueError, KeyError, TypeError) as exc:
            logger.error("%s is no outcome and is put aside: %s", path, exc)
            path.rename(path.with_suffix(".unreadable"))


def _files() -> list[Path]:
    try:
        return sorted(conf().spool.glob(f"*{SUFFIX}"), key=_written_at)
    except FileNotFoundError:
        return []


def _written_at(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return 0.0


def _is_left_behind(path: Path) -> bool:
    # Only a courtesy to the worker that wrote it: recording an ending twice changes nothing.
    age = timedelta(seconds=datetime.now().timestamp() - _written_at(path))  # noqa: DTZ005
    return age > conf().lease
