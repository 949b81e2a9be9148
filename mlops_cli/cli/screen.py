"""A run on a terminal: a table of the stages that is drawn anew as they turn, what they print above it.

It appears once the run has lasted long enough to be worth a look, and goes before the answer is printed. Stages that
run side by side print whole lines with their names. What a single stage prints goes to the terminal as it is, so that
progress bars redraw themselves; while it prints, the table is away.
"""

from __future__ import annotations

import re
import sys
import threading
import time
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from mlops_cli.cli.output import PATIENCE_S, Output, one_line
from mlops_cli.cli.watch import Lines
from mlops_cli.core.pipeline.watching import State, news

if TYPE_CHECKING:
    from rich.table import Table

_PER_SECOND = 8
_ROWS = 15  # more stages than that, or than fit, are counted
_KEPT = 400  # characters of a stage's last line
_TITLES = re.compile(
    rb"\x1b\][^\x07\x1b]*(\x07|\x1b\\\\)"
)  # what names a window, or links; rich knows one of its two ends
_STYLES = {"running": "bold", "ran": "green", "restored": "cyan", "failed": "red"}
_SAID = {"cached": "up to date", "stopped": "not run"}


class Screen(Lines):
    """Implements Watcher. Its own threads wait until it is time to draw; nothing of them is left after `over`."""

    def __init__(self, output: Output) -> None:
        super().__init__(output)
        self._states: dict[str, State] = {}
        self._since: dict[str, float] = {}
        self._took: dict[str, float] = {}
        self._last: dict[str, bytes] = {}
        self._doing = ""
        self._live: Any = None
        self._timer: threading.Timer | None = None
        self._open_line = False  # what was printed as it came ended within a line

    def planned(self, stages: Sequence[str], jobs: int) -> None:
        super().planned(stages, jobs)
        if len(stages) < 2:  # there is nothing to compare it with
            return
        # Every name now: the table is drawn in another thread, where no dict may grow meanwhile.
        self._states = dict.fromkeys(stages, "waiting")
        self._since, self._took = dict.fromkeys(stages, 0.0), dict.fromkeys(stages, 0.0)
        self._last = dict.fromkeys(stages, b"")
        self._output.give_bars_to(self._doing_now)
        self._draw_soon()

    def turned(self, stage: str, state: State, text: str) -> None:
        if not self._states:
            super().turned(stage, state, text)
            return
        with self._one:
            now = time.monotonic()
            if state == "running":
                self._since[stage] = now
            elif self._states[stage] == "running":
                self._took[stage] = now - self._since[stage]
            self._states[stage] = state
            self._close_line()
            self._say(stage, self._begun.pop(stage, b""))
            line = news(stage, state, text)
            if line is not None and state != "cached":  # hundreds of those say nothing that the answer does not
                self._tell(line)
            self._draw_soon()

    def printed(self, stage: str, data: bytes) -> None:
        if not self._states:
            super().printed(stage, data)
            return
        with self._one:
            if not self._named:
                self._stop_drawing()
                self._output.echo(data)
                self._open_line = not data.endswith(b"\n")
                return
            *whole, begun = (self._begun.get(stage, b"") + data).split(b"\n")
            self._begun[stage] = begun
            for line in whole:
                self._say(stage, line)
            shown = begun.rpartition(b"\r")[2] or begun.rstrip(b"\r").rpartition(b"\r")[2] or (whole or [b""])[-1]
            self._last[stage] = shown[-_KEPT:] or self._last[stage]

    def over(self) -> None:
        with self._one:
            self._stop_drawing()
            self._close_line()
            for stage, begun in self._begun.items():
                self._say(stage, begun)
            self._begun.clear()
            self._states = {}
            self._output.give_bars_to(None)

    # -- above the table -----------------------------------------------------------------------------------

    def _say(self, stage: str, line: bytes) -> None:
        """A line that a stage printed, with its name."""
        if not line:
            return
        text = self._line(stage, line)
        if self._live is None:
            self._output.echo(text)
            return
        from rich.text import Text

        # Colours pass; what would move the cursor into the table does not.
        shown = _TITLES.sub(b"", text).decode("utf-8", "replace").rstrip("\n")
        self._live.console.print(Text.from_ansi(shown), soft_wrap=True)

    def _tell(self, line: str) -> None:
        if self._live is None:
            self._output.note(line)
            return
        from rich.text import Text

        self._live.console.print(Text(one_line(line)), soft_wrap=True)

    def _close_line(self) -> None:
        if self._open_line:
            self._output.echo(b"\n")
            self._open_line = False

    # -- the table -----------------------------------------------------------------------------------------

    def _doing_now(self, label: str) -> None:
        self._doing = label

    def _draw_soon(self) -> None:
        if self._live is None and self._timer is None:
            self._timer = threading.Timer(PATIENCE_S, self._draw)
            self._timer.daemon = True
            self._timer.start()

    def _draw(self) -> None:
        from rich.console import Console
        from rich.live import Live

        with self._one:
            if self._timer is None or self._timer is not threading.current_thread():
                return  # the run is over, or a stage printed meanwhile
            self._timer = None
            console = Console(stderr=True, highlight=False)
            # Where mlo is killed nobody brings a hidden cursor back.
            console.show_cursor = lambda show=True: False  # type: ignore[method-assign]
            self._live = Live(
                get_renderable=self._table,
                console=console,
                refresh_per_second=_PER_SECOND,
                transient=True,
                redirect_stdout=False,
            )
            self._live.start(refresh=True)

    def _stop_drawing(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._live is not None:
            self._live.stop()
            self._live = None

    def _table(self) -> Table:
        # Called by the thread that draws, which must not wait for `_one`: who holds it may wait for the drawing.
        from rich.table import Table
        from rich.text import Text

        table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), expand=True, show_header=False)
        table.add_column(no_wrap=True, max_width=40, overflow="ellipsis")
        table.add_column(no_wrap=True)
        table.add_column(no_wrap=True, justify="right", min_width=7)
        table.add_column(no_wrap=True, ratio=1, overflow="ellipsis")
        states = dict(self._states)
        for name in self._rows(states):
            state = states[name]
            style = _STYLES.get(state, "dim")
            last = _plain(self._last[name]) if state == "running" else ""
            table.add_row(Text(name), Text(_SAID.get(state, state), style), self._time(name, state), Text(last, "dim"))
        counts = Counter(_SAID.get(state, state) for state in states.values())
        said = ", ".join(f"{count} {state}" for state, count in counts.items())
        table.add_row(
            Text(f"{len(states)} stages", "dim"), "", "", Text("; ".join(filter(None, (said, self._doing))), "dim")
        )
        return table

    def _rows(self, states: dict[str, State]) -> list[str]:
        room = min(_ROWS, self._live.console.height - 3) if self._live is not None else _ROWS
        if len(states) <= room:
            return list(states)
        chosen = [name for name, state in states.items() if state == "failed"]
        chosen += [name for name, state in states.items() if state == "running"]
        return chosen[: max(room, 1)]

    def _time(self, name: str, state: State) -> str:
        seconds = time.monotonic() - self._since[name] if state == "running" else self._took[name]
        return f"{seconds:.1f} s" if seconds else ""


def _plain(line: bytes) -> str:
    """A line without colours, as it may stand in a table."""
    from rich.text import Text

    return one_line(Text.from_ansi(_TITLES.sub(b"", line).decode("utf-8", "replace").strip()).plain)


def is_wanted(output: Output, terminal: str | None) -> bool:
    """Whether a table that is drawn anew makes sense; `terminal` is TERM."""
    return output.is_heard and sys.stderr.isatty() and terminal not in (None, "", "dumb")
