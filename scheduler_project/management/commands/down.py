"""`manage.py down`: stop the instance, and delete its data when asked to."""

from __future__ import annotations

import sys
from argparse import ArgumentParser
from typing import Any

from scheduler_project.standalone.command import StandaloneCommand
from scheduler_project.standalone.errors import FAILED, USAGE, StandaloneError
from scheduler_project.standalone.layout import State
from scheduler_project.standalone.stopping import stop_instance


class Command(StandaloneCommand):
    """Stopping what does not run is no error."""

    help = "Stop the running instance in order. The data stays, unless --wipe."

    def add_arguments(self, parser: ArgumentParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("--wipe", action="store_true", help="delete database, logs, passwords")
        parser.add_argument("--yes", action="store_true", help="do not ask")
        parser.add_argument("--timeout", type=float, default=90.0, help="seconds before the rest is killed")

    def act(self, state: State, options: dict[str, Any]) -> None:
        if options["wipe"] and not options["yes"]:
            self._confirm(state)
        stopped = stop_instance(state, options["timeout"])
        self.note("stopped" if stopped else f"nothing runs from {state.root}")
        if options["wipe"]:
            state.wipe()
            self.note(f"deleted {state.root}")

    def _confirm(self, state: State) -> None:
        """Ask on a terminal; elsewhere a flag has to say it."""
        if not sys.stdin.isatty():
            raise StandaloneError("--wipe deletes the database: add --yes to confirm", USAGE)
        self.note(f"This deletes {state.root} with the database, the logs and the passwords.")
        if input("Type 'wipe' to go on: ").strip() != "wipe":
            raise StandaloneError("nothing was stopped or deleted", FAILED)
