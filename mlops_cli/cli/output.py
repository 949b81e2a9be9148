"""Everything mlo prints: tables, lines, progress bars, `--json` documents, errors. Nothing else prints.

Answers go to stdout; progress, notes and errors to stderr, progress only to a terminal. rich is imported
only when a terminal will show what it draws.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from mlops_cli.core.base.progress import Unit
    from mlops_cli.core.errors import MloError

Result = TypeVar("Result")


class Output:
    """The terminal, or the pipe, of one command."""

    def __init__(self, *, as_json: bool = False, quiet: bool = False) -> None:
        self.as_json = as_json
        self.quiet = quiet
        self._bar: Any = None

    @property
    def is_terminal(self) -> bool:
        return sys.stdout.isatty()

    def show(self, result: Result, view: Callable[[Result, Output], None]) -> None:
        """The answer of a command: its JSON document under `--json`, else what `view` draws."""
        if self.as_json:
            print(json_text(result))
        elif not self.quiet:
            view(result, self)

    def line(self, text: str = "", *, style: str | None = None) -> None:
        """One line of an answer. `style` is rich's (`bold`, `green`, `dim`) and seen on terminals only."""
        if style and self.is_terminal:
            from rich.console import Console
            from rich.text import Text

            Console(highlight=False).print(Text(text, style=style))
        else:
            print(text)

    def table(self, headers: Sequence[str], rows: Sequence[Sequence[Any]], *, right: Sequence[str] = ()) -> None:
        """A table; the columns named in `right` are aligned right. Off a terminal: plain text, never cut."""
        cells = [["" if cell is None else str(cell) for cell in row] for row in rows]
        if self.is_terminal:
            from rich import box
            from rich.console import Console
            from rich.table import Table

            table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
            for header in headers:
                table.add_column(header, justify="right" if header in right else "left", overflow="fold")
            for row in cells:
                table.add_row(*(cell.replace("[", r"\[") for cell in row))
            Console().print(table)
            return
        widths = [max(map(len, column)) for column in zip(headers, *cells, strict=True)]
        for row in [list(headers), *cells]:
            line = "  ".join(
                cell.rjust(width) if header in right else cell.ljust(width)
                for cell, width, header in zip(row, widths, headers, strict=True)
            )
            print(line.rstrip())

    def note(self, text: str) -> None:
        """A line of news, on stderr."""
        if not self.quiet:
            print(text, file=sys.stderr)

    def echo(self, data: bytes) -> None:
        """What a process of the user's prints, as it prints it, on stderr; nothing under --quiet and --json."""
        if not self.quiet and not self.as_json:
            sys.stderr.flush()
            os.write(sys.stderr.fileno(), data)

    def warn(self, text: str) -> None:
        print(f"warning: {text}", file=sys.stderr)

    def error(self, error: MloError) -> None:
        if self.as_json:
            print(json_text(error.document()), file=sys.stderr)
            return
        print(f"error: {error.message}", file=sys.stderr)
        if error.hint:
            print(f"hint: {error.hint}", file=sys.stderr)

    def begin(self, label: str, total: int | None, unit: Unit) -> None:
        """Start a progress bar with rate and time left; nothing off a terminal, under --quiet or --json."""
        self.end()
        if self.quiet or self.as_json or not sys.stderr.isatty():
            return
        from rich import progress as bars
        from rich.console import Console

        counted = (
            (bars.DownloadColumn(), bars.TransferSpeedColumn())
            if unit == "bytes"
            else (bars.MofNCompleteColumn(), bars.TextColumn(unit))
        )
        columns = (bars.TextColumn("{task.description}"), bars.BarColumn(), *counted, bars.TimeRemainingColumn())
        self._bar = bars.Progress(*columns, console=Console(stderr=True), transient=True)
        self._bar.start()
        self._bar.add_task(label, total=total)

    def advance(self, amount: int = 1) -> None:
        if self._bar is not None:
            self._bar.advance(self._bar.task_ids[0], amount)

    def end(self) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None


def json_text(result: Any) -> str:
    """Two-space indented JSON; NaN and infinities become null, as JSON has no word for them."""
    import msgspec

    return msgspec.json.format(msgspec.json.encode(result, enc_hook=str), indent=2).decode()


def human_bytes(size: float) -> str:
    """`5.2 MB`: decimal units, as disks are sold and DVC prints."""
    for unit in ("B", "kB", "MB", "GB"):
        if abs(size) < 1000:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"


def plural(count: int, noun: str) -> str:
    """`1 file`, `3 files`, `2 entries`."""
    if count == 1:
        return f"1 {noun}"
    return f"{count:,} {noun[:-1] + 'ies' if noun.endswith('y') else noun + 's'}"
