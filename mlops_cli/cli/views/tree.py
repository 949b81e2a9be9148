"""A tree in lines, as `tree` and `git log --graph` draw theirs."""

from __future__ import annotations

from dataclasses import dataclass, field

from mlops_cli.cli.output import Output


@dataclass(slots=True)
class Branch:
    """A line and what hangs below it. `cells` of neighbours are aligned; `style` is rich's."""

    cells: tuple[str, ...]
    style: str | None = None
    below: list[Branch] = field(default_factory=list)

    def add(self, *cells: str, style: str | None = None) -> Branch:
        branch = Branch(cells, style)
        self.below.append(branch)
        return branch


def draw(root: Branch, output: Output) -> None:
    output.line("  ".join(root.cells), style=root.style)
    _below(root, "", output)


def _below(branch: Branch, lead: str, output: Output) -> None:
    # Only leaves align with leaves: a long line above a subtree must not push its neighbours' columns out.
    widths: dict[tuple[int, int], int] = {}
    for child in branch.below:
        for place, cell in enumerate(child.cells[:-1]):
            key = (len(child.cells), place)
            widths[key] = max(widths.get(key, 0), len(cell))
    for number, child in enumerate(branch.below, 1):
        last = number == len(branch.below)
        padded = [
            cell.ljust(widths.get((len(child.cells), place), 0)) if place < len(child.cells) - 1 else cell
            for place, cell in enumerate(child.cells)
        ]
        output.line(f"{lead}{'└─' if last else '├─'} {'  '.join(padded).rstrip()}", style=child.style)
        _below(child, lead + ("   " if last else "│  "), output)
