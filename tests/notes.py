"""A Progress that keeps its notes."""

from __future__ import annotations


class Notes:
    """`lines` are the notes, as they came."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def begin(self, label: str, total: int | None, unit: str) -> None: ...
    def advance(self, amount: int = 1) -> None: ...
    def end(self) -> None: ...

    def note(self, text: str) -> None:
        self.lines.append(text)
