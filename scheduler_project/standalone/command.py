"""What `up`, `status`, `down` and `logs` share as commands."""

from __future__ import annotations

import os
import sys
from argparse import ArgumentParser
from pathlib import Path
from typing import Any, ClassVar

from django.core.management.base import BaseCommand

from .errors import INTERRUPTED, StandaloneError
from .layout import State


class StandaloneCommand(BaseCommand):
    """A command that needs no database, with `--state-dir` and one-line errors."""

    requires_system_checks: ClassVar[list[str]] = []  # type: ignore[misc]

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--state-dir",
            type=Path,
            metavar="DIR",
            help="where data, logs and passwords are kept (default: JADWAL_STATE_DIR or .local)",
        )

    def act(self, state: State, options: dict[str, Any]) -> None:
        """Do the work. StandaloneError becomes one line and an exit code."""
        raise NotImplementedError

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            self.act(State.at(options["state_dir"]), options)
        except StandaloneError as error:
            if options["traceback"]:
                raise
            self.note(str(error))
            sys.exit(error.exit_code)
        except KeyboardInterrupt:
            sys.exit(INTERRUPTED)
        except BrokenPipeError:  # `logs | head`
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
            sys.exit(0)

    def note(self, text: str) -> None:
        """A line for a person, on standard error; a closed terminal does not matter."""
        try:
            self.stderr.write(text)
            self.stderr.flush()
        except OSError:
            return
