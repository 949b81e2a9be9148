"""How core says how far it is, without knowing of terminals."""

from __future__ import annotations

from typing import Literal, Protocol

Unit = Literal["bytes", "files", "rows", "stages", "objects"]


class Progress(Protocol):
    """One piece of long work at a time: begin, advance many times, end. `note` is a line of news for people."""

    def begin(self, label: str, total: int | None, unit: Unit) -> None: ...
    def advance(self, amount: int = 1) -> None: ...
    def end(self) -> None: ...
    def note(self, text: str) -> None: ...


class Silent:
    """Nobody watches."""

    def begin(self, label: str, total: int | None, unit: Unit) -> None:
        pass

    def advance(self, amount: int = 1) -> None:
        pass

    def end(self) -> None:
        pass

    def note(self, text: str) -> None:
        pass
