"""Who watches a run: what a terminal's table or a plain log is told of, stage by stage."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Protocol

from mlops_cli.core.base.progress import Progress

State = Literal["waiting", "running", "ran", "restored", "cached", "failed", "skipped", "stopped"]


class Watcher(Protocol):
    """Calls come one at a time, except `printed`, which comes from as many threads as stages run.

    `listens` says whether `printed` shows anything, so that an error need not repeat it.
    """

    listens: bool

    def planned(self, stages: Sequence[str], jobs: int) -> None: ...
    def turned(self, stage: str, state: State, text: str) -> None:
        """The stage is in this state now; `text` says why, for people."""

    def printed(self, stage: str, data: bytes) -> None: ...
    def over(self) -> None:
        """The last call, however the run ended."""


class Unwatched:
    """Nobody watches."""

    listens = False

    def planned(self, stages: Sequence[str], jobs: int) -> None:
        pass

    def turned(self, stage: str, state: State, text: str) -> None:
        pass

    def printed(self, stage: str, data: bytes) -> None:
        pass

    def over(self) -> None:
        pass


class Noting:
    """Tells a Progress, in a line for each turn."""

    listens = False

    def __init__(self, progress: Progress) -> None:
        self._progress = progress

    def planned(self, stages: Sequence[str], jobs: int) -> None:
        pass

    def turned(self, stage: str, state: State, text: str) -> None:
        line = news(stage, state, text)
        if line is not None:
            self._progress.note(line)

    def printed(self, stage: str, data: bytes) -> None:
        pass

    def over(self) -> None:
        pass


def news(stage: str, state: State, text: str) -> str | None:
    """A turn as a line for people; None for what an error or the end of the run says anyway."""
    if state == "running":
        return f"{stage}: running ({text})"
    if state == "restored":
        return f"{stage}: restored from the run cache"
    if state == "cached":
        return f"{stage}: up to date"
    if state in ("skipped", "stopped"):
        return f"{stage}: {'skipped' if state == 'skipped' else 'not run'} ({text})"
    return None
