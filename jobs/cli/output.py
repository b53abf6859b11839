"""What a command prints: a JSON document, a table on a terminal, or aligned text in a pipe."""

from __future__ import annotations

import io
import json
import os
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from django.core.management.base import OutputWrapper

Document = dict[str, Any]
Shown = Callable[[Document], object]

STATUS_STYLES = {
    "active": "cyan",
    "completed": "green",
    "failed": "bold red",
    "cancelled": "yellow",
    "skipped": "yellow",
    "waiting": "blue",
    "delayed": "blue",
    "broken": "bold red",
    "lost": "bold red",
    "alive": "green",
    "paused": "yellow",
    "ok": "green",
    "warn": "yellow",
    "fail": "bold red",
}


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a table: its title, and what it shows of an item."""

    title: str
    shown: str | Shown
    right: bool = False

    def of(self, item: Document) -> str:
        """Return the text of this column for `item`."""
        return text_of(item.get(self.shown) if isinstance(self.shown, str) else self.shown(item))


@dataclass(slots=True)
class Output:
    """Where a command writes. Standard output has the answer, standard error everything else."""

    out: OutputWrapper
    err: OutputWrapper
    as_json: bool = False
    colour: bool = True

    @property
    def on_terminal(self) -> bool:
        """Whether a person reads along."""
        return bool(self.out.isatty())

    def document(self, value: Any) -> None:
        """Write one JSON document."""
        tty = self.on_terminal
        self._write(json.dumps(value, indent=2 if tty else None, ensure_ascii=not tty))

    def items(self, items: Sequence[Document], columns: Sequence[Column], *, empty: str = "") -> None:
        """Write a list: `{"items": [...]}`, or a table of `columns`."""
        if self.as_json:
            self.document({"items": list(items)})
        elif items:
            rows = [[column.of(item) for column in columns] for item in items]
            self._write(self._table(columns, rows))
        elif empty:
            self.note(empty)

    def item(self, item: Document, shown: Mapping[str, object] | None = None) -> None:
        """Write one thing: the document, or its fields one to a line."""
        if self.as_json:
            self.document(item)
            return
        fields = {key: text_of(value) for key, value in (shown or item).items()}
        width = max((len(key) for key, value in fields.items() if value), default=0)
        for key, value in fields.items():
            if value:
                indent = "\n" + " " * (width + 2)
                self._write(f"{key:<{width}}  {value.rstrip().replace(chr(10), indent)}")

    def line(self, text: str) -> None:
        """Write a line of the answer."""
        self._write(text)

    def note(self, text: str) -> None:
        """Write a line that is not the answer: to standard error."""
        self.err.write(text, style_func=str)

    @contextmanager
    def progress(self, what: str, total: int) -> Iterator[Callable[[int], None]]:
        """Show a bar on a terminal; yield what is to be called with each number of things done."""
        if not self.err.isatty() or not total:
            yield lambda _: None
            return
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        with Progress(*columns, console=self._console(sys.stderr), transient=True) as bar:
            task = bar.add_task(what, total=total)
            yield lambda done: bar.advance(task, done)

    @contextmanager
    def waiting(self, what: str) -> Iterator[None]:
        """Show on a terminal that something is waited for."""
        if not self.err.isatty():
            yield
            return
        with self._console(sys.stderr).status(what):
            yield

    def confirm(self, question: str) -> bool:
        """Ask a person on a terminal."""
        self.err.write(f"{question} [y/N] ", style_func=str, ending="")
        self.err.flush()
        return sys.stdin.readline().strip().lower() in ("y", "yes")

    def _write(self, text: str) -> None:
        self.out.write(text, style_func=str)

    def _table(self, columns: Sequence[Column], rows: list[list[str]]) -> str:
        rows = [[" ".join(cell.split()) for cell in row] for row in rows]
        if not self.on_terminal:
            return _plain(columns, rows)
        from rich.table import Table
        from rich.text import Text

        table = Table(box=None, pad_edge=False, header_style="bold")
        for column in columns:
            table.add_column(column.title, justify="right" if column.right else "left", overflow="fold")
        for row in rows:
            table.add_row(*(Text(cell, style=STATUS_STYLES.get(cell, "")) for cell in row))
        buffer = io.StringIO()
        console = self._console(buffer, force_terminal=True, width=shutil.get_terminal_size().columns)
        console.print(table)
        return buffer.getvalue().rstrip("\n")

    def _console(self, file: Any, **options: Any) -> Any:
        from rich.console import Console

        no_colour = not self.colour or bool(os.environ.get("NO_COLOR"))
        return Console(file=file, highlight=False, no_color=no_colour, **options)


def text_of(value: object) -> str:
    """Return a value as a person reads it: nothing for None, `yes` and `no`, times to the second."""
    match value:
        case None:
            return ""
        case bool():
            return "yes" if value else "no"
        case str():
            return value
        case dict() | list():
            return json.dumps(value, ensure_ascii=False)
    return str(value)


def moment(text: str | None) -> str:
    """Return an RFC 3339 time of a document to the second, for a table."""
    if not text:
        return ""
    return f"{text[:10]} {text[11:19]}Z"


def _plain(columns: Sequence[Column], rows: list[list[str]]) -> str:
    cells = [[column.title for column in columns], *rows]
    widths = [max(len(row[index]) for row in cells) for index in range(len(columns))]
    lines = [
        "  ".join(
            cell.rjust(width) if column.right else cell.ljust(width)
            for cell, width, column in zip(row, widths, columns, strict=True)
        ).rstrip()
        for row in cells
    ]
    return "\n".join(lines)
