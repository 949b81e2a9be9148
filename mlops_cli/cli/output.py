"""Everything mlo prints: tables, lines, progress bars, `--json` documents, errors. Nothing else prints.

Answers go to stdout; progress, notes and errors to stderr, progress only to a terminal. rich is imported
only when a terminal will show what it draws.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from mlops_cli.core.base.progress import Unit
    from mlops_cli.core.errors import MloError

Result = TypeVar("Result")


PATIENCE_S = 0.5
SHORT_WIDTH = 18
# What would move the cursor or colour the terminal, in a name that someone else chose, is spelled out.
_CONTROLS = {code: f"\\x{code:02x}" for code in (*range(9), *range(11, 32), *range(127, 160))}
_IN_NAMES = {**_CONTROLS, 9: "\\t", 10: "\\n"}


class _Waiting:
    """A progress bar that is not drawn yet: what was done meanwhile, and when (monotonic) to draw it."""

    def __init__(self, until_s: float, done: int, draw: Callable[[], None]) -> None:
        self.until_s = until_s
        self.done = done
        self.draw = draw


class Output:
    """The terminal, or the pipe, of one command."""

    def __init__(self, *, as_json: bool = False, quiet: bool = False) -> None:
        self.as_json = as_json
        self.quiet = quiet
        self._bar: Any = None
        self._waiting: _Waiting | None = None
        self._teller: Callable[[str], None] | None = None

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
        text = text.translate(_CONTROLS)
        if style and self.is_terminal:
            from rich.console import Console
            from rich.text import Text

            Console(highlight=False).print(Text(text, style=style))
        else:
            print(text)

    def table(self, headers: Sequence[str], rows: Sequence[Sequence[Any]], *, right: Sequence[str] = ()) -> None:
        """A table; the columns named in `right` are aligned right. Off a terminal: plain text, never cut."""
        cells = [["" if cell is None else one_line(str(cell)) for cell in row] for row in rows]
        if self.is_terminal:
            from rich import box
            from rich.console import Console
            from rich.table import Table

            console = Console()
            table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
            for header, width in zip(headers, _widths(headers, cells, right, console.width), strict=True):
                table.add_column(header, justify="right" if header in right else "left", no_wrap=True, width=width)
            for row in cells:
                table.add_row(*(cell.replace("[", r"\[") for cell in row))
            console.print(table)
            return
        widths = [max(map(_columns, column)) for column in zip(headers, *cells, strict=True)]
        for row in [list(headers), *cells]:
            line = "  ".join(
                _fill(cell, width, to_the_right=header in right)
                for cell, width, header in zip(row, widths, headers, strict=True)
            )
            print(line.rstrip())

    def note(self, text: str) -> None:
        """A line of news, on stderr."""
        if not self.quiet:
            sys.stderr.write(f"{text.translate(_CONTROLS)}\n")  # in one piece: stages' threads have news, too

    @property
    def is_heard(self) -> bool:
        """Whether `echo` shows anything."""
        return not self.quiet and not self.as_json

    def echo(self, data: bytes) -> None:
        """What a process of the user's prints, as it prints it, on stderr; nothing under --quiet and --json."""
        if self.is_heard:
            sys.stderr.flush()
            os.write(sys.stderr.fileno(), data)

    def warn(self, text: str) -> None:
        print(f"warning: {text.translate(_CONTROLS)}", file=sys.stderr)

    def error(self, error: MloError) -> None:
        if self.as_json:
            print(json_text(error.document()), file=sys.stderr)
            return
        print(f"error: {error.message.translate(_CONTROLS)}", file=sys.stderr)
        if error.hint:
            print(f"hint: {error.hint.translate(_CONTROLS)}", file=sys.stderr)

    def begin(self, label: str, total: int | None, unit: Unit) -> None:
        """Start a progress bar with rate and time left; nothing off a terminal, under --quiet or --json.

        It is drawn once the work has lasted long enough to be worth a look.
        """
        self.end()
        if self._teller is not None:
            self._teller(label)
            return
        if self.quiet or self.as_json or not sys.stderr.isatty():
            return
        self._waiting = _Waiting(time.monotonic() + PATIENCE_S, 0, lambda: self._draw(label, total, unit))

    def _draw(self, label: str, total: int | None, unit: Unit) -> None:
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
        if self._waiting is not None:
            self._waiting.done += amount
            if time.monotonic() < self._waiting.until_s:
                return
            amount, waiting, self._waiting = self._waiting.done, self._waiting, None
            waiting.draw()
        if self._bar is not None:
            self._bar.advance(self._bar.task_ids[0], amount)

    def give_bars_to(self, teller: Callable[[str], None] | None) -> None:
        """Tell who draws the terminal meanwhile what goes on ("" for nothing), and draw no bars; None ends that."""
        self.end()
        self._teller = teller

    def end(self) -> None:
        if self._teller is not None:
            self._teller("")
        self._waiting = None
        if self._bar is not None:
            self._bar.stop()
            self._bar = None


def one_line(name: str) -> str:
    """A path or another name that may hold anything, as it may stand in a line: `a\\nb`, `\\x1b[31m`."""
    return name.translate(_IN_NAMES)


def _columns(text: str) -> int:
    """How many columns of a terminal a text takes: two for each wide letter, as of Chinese."""
    if text.isascii():
        return len(text)
    import unicodedata

    return sum(
        0 if unicodedata.combining(letter) else 1 + (unicodedata.east_asian_width(letter) in "WF") for letter in text
    )


def _fill(text: str, width: int, *, to_the_right: bool) -> str:
    gap = " " * (width - _columns(text))
    return gap + text if to_the_right else text + gap


def _widths(headers: Sequence[str], cells: list[list[str]], right: Sequence[str], available: int) -> list[int]:
    """How wide each column may be. Where all is too wide, the longest texts lose their ends; numbers and short words
    stay whole."""
    widths = [max(map(_columns, column)) for column in zip(headers, *cells, strict=True)]
    can_shrink = [place for place, header in enumerate(headers) if header not in right and widths[place] > SHORT_WIDTH]
    while can_shrink and sum(widths) + 2 * len(widths) > available:
        longest = max(can_shrink, key=widths.__getitem__)
        if widths[longest] <= SHORT_WIDTH:
            break
        widths[longest] -= 1
    return widths


def json_text(result: Any) -> str:
    """Two-space indented JSON; NaN and infinities become null, as JSON has no word for them.

    A name that is not UTF-8, which JSON has no word for either, is spelled out: `raw\\udcff`.
    """
    import msgspec

    try:
        encoded = msgspec.json.encode(result, enc_hook=str)
    except UnicodeEncodeError:
        encoded = msgspec.json.encode(_utf8(msgspec.to_builtins(result, enc_hook=str)))
    return msgspec.json.format(encoded, indent=2).decode()


def _utf8(value: Any) -> Any:
    """A document of plain values whose texts all are UTF-8."""
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode("utf-8")
    if isinstance(value, dict):
        return {_utf8(key): _utf8(item) for key, item in value.items()}
    return [_utf8(item) for item in value] if isinstance(value, list | tuple) else value


def human_bytes(size: float) -> str:
    """`5.2 MB`: decimal units, as disks are sold and DVC prints."""
    for unit in ("B", "kB", "MB", "GB"):
        if abs(size) < 1000:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"


def plural(count: int, noun: str) -> str:
    """`1 file`, `3 files`, `2 entries`, `5 days`."""
    if count == 1:
        return f"1 {noun}"
    many = noun[:-1] + "ies" if noun.endswith("y") and noun[-2] not in "aeiou" else noun + "s"
    return f"{count:,} {many}"
