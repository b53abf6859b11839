"""What `up` prints when the instance is ready."""

from __future__ import annotations

from dataclasses import dataclass
from typing import IO

from rich.console import Console
from rich.table import Table

#: No terminal, no wrapping: a table is as wide as its cells.
WIDE = 400
HINTS = (
    "manage.py schedules list             what is planned",
    "manage.py jobs list                  what ran, and what came of it",
    "manage.py status                     the processes",
    "manage.py logs -f                    what they say",
)


@dataclass(frozen=True)
class Banner:
    """`rows` are (what, where); `secrets` are (whom, password), shown by the first `up` only."""

    seconds: float
    rows: list[tuple[str, str]]
    secrets: list[tuple[str, str]]
    kept: list[tuple[str, str]]
    detached: bool

    def show(self, out: IO[str]) -> None:
        """Print the table, as wide as its addresses and passwords: people copy them."""
        console = Console(file=out, highlight=False, width=WIDE)
        table = Table(title=f"Jadwal is ready ({self.seconds:.1f} s)", show_header=False)
        for what, where in self.rows:
            table.add_row(what, where)
        if self.secrets:
            table.add_section()
            for whom, password in self.secrets:
                table.add_row(f"{whom}: password", f"{password}   (shown this once)")
        table.add_section()
        for whom, path in self.kept:
            table.add_row(f"{whom}: kept in", path)
        console.print(table)
        for hint in HINTS:
            console.print(f"  {hint}", markup=False)
        end = "manage.py down stops everything" if self.detached else "Ctrl-C stops everything"
        console.print(f"  {end}, in order; the data stays.")
