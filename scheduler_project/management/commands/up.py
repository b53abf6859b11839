"""`manage.py up`: run everything on this machine."""

from __future__ import annotations

from argparse import ArgumentParser
from collections.abc import Callable
from typing import IO, Any, cast

from scheduler_project.standalone.banner import Banner
from scheduler_project.standalone.boot import Options, run
from scheduler_project.standalone.command import StandaloneCommand
from scheduler_project.standalone.detaching import run_detached
from scheduler_project.standalone.errors import USAGE, StandaloneError
from scheduler_project.standalone.layout import State
from scheduler_project.standalone.reporting import Follower, prefixed


class Command(StandaloneCommand):
    """Flags in, `boot.run` or `detaching.run_detached` out."""

    help = (
        "Run PostgreSQL, Redis, workers, beat, the console and Flower on this machine and keep "
        "them running. DATABASE_URL and REDIS_URL, where set, replace the embedded servers."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        super().add_arguments(parser)
        flag = parser.add_argument
        flag("--demo", action="store_true", help="seed demo data, keep sent mail as files")
        flag("--detach", action="store_true", help="return when ready, go on in the background")
        flag("--port", type=int, default=8000, help="console and API (default 8000)")
        flag("--flower-port", type=int, default=5555, help="Flower (default 5555)")
        flag("--auto-ports", action="store_true", help="take the next free ports instead")
        flag("--logs", action="store_true", help="show what the processes write")

    def act(self, state: State, options: dict[str, Any]) -> None:
        if options["logs"] and options["detach"]:
            raise StandaloneError("with --detach use 'manage.py logs -f' for the logs", USAGE)
        for flag in ("port", "flower_port"):
            if not 0 < options[flag] < 65536:
                name = flag.replace("_", "-")
                raise StandaloneError(f"--{name} must be between 1 and 65535", USAGE)
        chosen = Options(
            state,
            demo=options["demo"],
            port=options["port"],
            flower_port=options["flower_port"],
            auto_ports=options["auto_ports"],
            detached=options["detach"],
        )
        if chosen.detached:
            state.prepare()
            run_detached(chosen, self.note, self._show)
        elif options["logs"]:
            run(chosen, self.note, self._show, self._printer(state))
        else:
            run(chosen, self.note, self._show)

    def _show(self, banner: Banner) -> None:
        banner.show(cast(IO[str], self.stdout))
        self.stdout.flush()

    def _printer(self, state: State) -> Callable[[], None]:
        follower = Follower(state, from_start=False, leaving_out=("up",))

        def print_new() -> None:
            for name, line in follower.new_lines():
                self.stdout.write(prefixed(name, line, colour=self.stdout.isatty()))

        return print_new
