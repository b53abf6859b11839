"""`manage.py status`: which processes run, and whether the instance is ready."""

from __future__ import annotations

import json
import sys
from argparse import ArgumentParser
from typing import IO, Any, cast

from django.db import Error, connections
from environ import Env
from rich.console import Console
from rich.table import Table

from jobs.engine.clock import database_now
from jobs.insight import beats
from scheduler_project.standalone.banner import WIDE
from scheduler_project.standalone.command import StandaloneCommand
from scheduler_project.standalone.environment import environment
from scheduler_project.standalone.errors import TIMED_OUT, UNREACHABLE
from scheduler_project.standalone.layout import State
from scheduler_project.standalone.processes import wait_until
from scheduler_project.standalone.reporting import instance_status, uptime


class Command(StandaloneCommand):
    """Exit 0 when ready, 5 when not, 6 when `--wait` ran out."""

    help = "Show the processes of the running instance. Exit 0: ready, 5: not, 6: waited in vain."

    def add_arguments(self, parser: ArgumentParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("--wait", action="store_true", help="wait until ready")
        parser.add_argument("--timeout", type=float, default=120.0, help="seconds (default 120)")
        parser.add_argument("--json", action="store_true", help="one JSON document")

    def act(self, state: State, options: dict[str, Any]) -> None:
        if options["wait"]:
            wait_until(lambda: bool(instance_status(state)["ready"]), options["timeout"], 0.2)
        status = instance_status(state)
        if options["json"]:
            if status["items"]:
                status["beats"] = _beats(state)
            self.stdout.write(json.dumps(status))
        elif status["items"]:
            self._table(status["items"])
        if status["ready"]:
            return
        if status["items"]:
            self.note("not ready: 'manage.py status --wait' waits, 'manage.py logs' says why")
        else:
            self.note(f"nothing runs from {state.root}: start it with 'manage.py up'")
        sys.exit(TIMED_OUT if options["wait"] else UNREACHABLE)

    def _table(self, items: list[dict[str, Any]]) -> None:
        table = Table("component", "state", "pid", "up", "where", box=None, pad_edge=False)
        for item in items:
            pid = str(item["pid"] or "")
            table.add_row(item["name"], item["state"], pid, uptime(item), item["url"] or "")
        Console(file=cast(IO[str], self.stdout), highlight=False, width=WIDE).print(table)


def _beats(state: State) -> list[dict[str, Any]] | None:
    """Return what the register says about the beats of this instance; None where it does not answer."""
    url = environment(state.root).get("DATABASE_URL")
    if url:  # `--state-dir` may name another instance than the settings do
        connections.settings["default"].update(Env.db_url_config(url))
    try:
        return beats.documents(database_now())
    except Error:
        return None
