"""`manage.py logs`: what the processes wrote."""

from __future__ import annotations

import time
from argparse import ArgumentParser
from typing import Any

from scheduler_project.standalone.command import StandaloneCommand
from scheduler_project.standalone.components import LOGS
from scheduler_project.standalone.errors import NOT_FOUND, StandaloneError
from scheduler_project.standalone.layout import State
from scheduler_project.standalone.reporting import Follower, last_lines, prefixed


class Command(StandaloneCommand):
    """The last lines of one component, or of all with the component in front."""

    help = "Show the logs of the processes, all of them or one."

    def add_arguments(self, parser: ArgumentParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("component", nargs="?", metavar="COMPONENT", help=", ".join(LOGS))
        parser.add_argument("-f", "--follow", action="store_true", help="go on until Ctrl-C")
        parser.add_argument("-n", "--lines", type=int, default=50, help="of each (default 50)")

    def act(self, state: State, options: dict[str, Any]) -> None:
        chosen = options["component"]
        if chosen is not None and chosen not in LOGS:
            raise StandaloneError(f"no component {chosen}: one of {', '.join(LOGS)}", NOT_FOUND)
        if not state.logs.is_dir():
            raise StandaloneError(f"no logs in {state.root}: start with 'manage.py up'", NOT_FOUND)
        names = [chosen] if chosen else list(LOGS)
        follower = Follower(state, names, from_start=False)
        for name in names:
            for line in last_lines(state.log(name), options["lines"]):
                self._print(name, line, alone=chosen is not None)
        while options["follow"]:
            for name, line in follower.new_lines():
                self._print(name, line, alone=chosen is not None)
            self.stdout.flush()
            time.sleep(0.2)

    def _print(self, name: str, line: str, *, alone: bool) -> None:
        shown = line if alone else prefixed(name, line, colour=self.stdout.isatty())
        self.stdout.write(shown)
