"""A run as it goes on, for people: a line for each turn of a stage, and what the stages print."""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence

from mlops_cli.cli.output import Output
from mlops_cli.core.pipeline.watching import State, news


class Lines:
    """Plain lines on stderr. Where several stages run at once, each of their lines begins with the stage's name."""

    def __init__(self, output: Output) -> None:
        self.listens = output.is_heard
        self._output = output
        self._named = False
        self._width = 0
        self._begun: dict[str, bytes] = {}
        self._one = threading.Lock()

    def planned(self, stages: Sequence[str], jobs: int) -> None:
        self._named = jobs > 1 and len(stages) > 1
        self._width = max(map(len, stages), default=0)

    def turned(self, stage: str, state: State, text: str) -> None:
        with self._one:
            begun = self._begun.pop(stage, b"")
            if begun:
                self._output.echo(self._line(stage, begun))
            line = news(stage, state, text)
            if line is not None:
                self._output.note(line)

    def printed(self, stage: str, data: bytes) -> None:
        if not self._named:
            self._output.echo(data)
            return
        with self._one:
            # Whole lines only: two stages that print at once would else share one.
            *whole, begun = (self._begun.get(stage, b"") + data).split(b"\n")
            self._begun[stage] = begun
            self._output.echo(b"".join(self._line(stage, line) for line in whole))

    def over(self) -> None:
        with self._one:
            for stage, begun in self._begun.items():
                if begun:
                    self._output.echo(self._line(stage, begun))
            self._begun.clear()

    def _line(self, stage: str, line: bytes) -> bytes:
        # A progress bar redraws its line after a carriage return; its last state is what stays.
        return f"{stage:<{self._width}} | ".encode() + line.rstrip(b"\r").rpartition(b"\r")[2] + b"\n"


def watch(output: Output) -> Lines:
    """The watcher for where the output goes: a live table on a terminal, else plain lines."""
    from mlops_cli.cli.screen import Screen, is_wanted

    return Screen(output) if is_wanted(output, os.environ.get("TERM")) else Lines(output)
