"""`manage.py beat_tick`: turns of the scheduler, for tests and debugging."""

from __future__ import annotations

import time
from dataclasses import asdict
from datetime import datetime
from typing import Annotated

from typer import Option

from jobs.cli.base import NounCommand, verb
from jobs.cli.instants import parse_instant
from jobs.cli.output import Document
from jobs.engine.clock import database_now
from jobs.engine.ticking import Ticker, Turn
from jobs.insight.formats import instant

LONGEST_PAUSE = 1.0


class Command(NounCommand):
    """One turn of the scheduler, or turn after turn until Ctrl-C."""

    by_a_person = False

    @verb("handle")
    def handle(
        self,
        now: Annotated[
            str | None,
            Option("--now", metavar="ISO", help="One turn as of that time. Old jobs are pruned by it, too."),
        ] = None,
        once: Annotated[bool, Option("--once", help="One turn.")] = False,
    ) -> None:
        """Do what a beat does: decide what is due, promote, rescue, publish again, prune."""
        ticker = Ticker()
        if now is not None or once:
            at = database_now() if now is None else parse_instant(now, "--now").at
            self._show(ticker.tick(at), at)
            return
        while True:
            at = database_now()
            turn = ticker.tick(at)
            if _did_something(turn):
                self._show(turn, at)
                self.stdout.flush()
            time.sleep(_pause(turn, at))

    def _show(self, turn: Turn, at: datetime) -> None:
        document: Document = {"now": instant(at), **asdict(turn), "next_at": instant(turn.next_at)}
        if self.as_json:
            self.out.document(document)
        else:
            self.out.line("  ".join(f"{key}={value}" for key, value in document.items()))


def _did_something(turn: Turn) -> bool:
    return any(value for key, value in asdict(turn).items() if key != "next_at")


def _pause(turn: Turn, at: datetime) -> float:
    if turn.next_at is None:
        return LONGEST_PAUSE
    return min(LONGEST_PAUSE, max(0.05, (turn.next_at - at).total_seconds()))
