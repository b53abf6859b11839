"""Capturing what a task logs: ordinary `logging`, and what it prints."""

from __future__ import annotations

import logging
import time

from jobs.engine import executing, finishing
from jobs.engine.ending import LogLine
from jobs.engine.lifecycle import storable
from jobs.rules.redaction import redact_text
from jobs.runtime import masking

FLUSH_SECONDS = 1.0
MAX_LINES = 5_000
MAX_LINE = 8_000
MOST_READ = 4 * MAX_LINE
"""Characters of a line that are looked through for secrets; the rest is cut off before anything else."""

OWN_NOISE = ("celery.", "kombu", "amqp", "django.db.backends", "jobs.engine", "jobs.runtime", "billiard")
TASK_LOGGERS = ("celery.task", "celery.redirected")


class JobLogHandler(logging.Handler):
    """Adds the records of the running job to its log.

    They are stored with the end of the attempt, and about once a second before that, so that a long job
    can be watched.
    """

    def __init__(self) -> None:
        super().__init__(level=logging.INFO)
        self.flushed_at = 0.0
        self.lines = 0
        self.attempt: object = None

    def emit(self, record: logging.LogRecord) -> None:
        """Add one record, if a job is running and it is the job's own."""
        execution = executing.current()
        if execution is None or execution.settled or _is_noise(record.name):
            return
        if self.attempt is not execution:
            self.attempt, self.lines, self.flushed_at = execution, 0, time.monotonic()
        self.lines += 1
        if self.lines > MAX_LINES:
            return
        content = (
            self.format(record)
            if self.lines < MAX_LINES
            else f"The log ends here: {MAX_LINES} lines are kept."
        )
        execution.logs.append(
            LogLine(
                level=record.levelno,
                logger=record.name[:200],
                content=redact_text(storable(content[:MOST_READ]), execution.secret_values)[:MAX_LINE],
                logged_at=execution.now(),
            )
        )
        self._flush_sometimes(execution)

    def _flush_sometimes(self, execution: executing.Execution) -> None:
        if time.monotonic() - self.flushed_at >= FLUSH_SECONDS:
            self.flushed_at = time.monotonic()
            try:
                finishing.flush_logs(execution)
            except Exception as exc:  # logging never breaks a task; the lines are lost, and that is said
                logging.getLogger("jobs.runtime").warning("log lines could not be stored: %s", exc)


def _is_noise(name: str) -> bool:
    return name.startswith(OWN_NOISE) and not name.startswith(TASK_LOGGERS)


def capture() -> None:
    """Capture from now on in this process: the root logger, and Celery's, which do not propagate.

    What it writes elsewhere is masked, too.
    """
    masking.look_for(executing.secret_values)
    masking.install()
    handler = JobLogHandler()
    handler.setFormatter(logging.Formatter("%(message)s"))
    root = logging.getLogger()
    _let_info_through(root)
    root.addHandler(handler)
    for name in TASK_LOGGERS:
        logger = logging.getLogger(name)
        if not logger.propagate:
            logger.addHandler(handler)


def _let_info_through(root: logging.Logger) -> None:
    """A worker that shows only warnings still keeps what its tasks log: the limit moves to what shows it."""
    if root.level > logging.INFO:
        for shown in root.handlers:
            shown.setLevel(max(shown.level, root.level))
        root.setLevel(logging.INFO)
