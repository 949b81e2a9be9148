"""Two branches' mlo.lock as one: what only one of them changed is taken; what both changed is named or chosen."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import PurePosixPath
from typing import Literal, TypeVar

import msgspec

from mlops_cli.core.base.records import Entry
from mlops_cli.core.errors import MloError, ProjectError
from mlops_cli.core.project.lock import Lock, SourceLock, StageLock

Side = Literal["ours", "theirs"]
# The folder that holds both sides' changes, and the paths in it that both changed.
MergeFolders = Callable[[Entry | None, Entry, Entry], tuple[Entry, list[str]]]
Item = TypeVar("Item", Entry, StageLock, SourceLock)

_MARKER = re.compile(r"^(<{7}|\|{7}|={7}|>{7})(?: .*)?\r?$")


class Merge(msgspec.Struct, frozen=True, kw_only=True):
    """What one entry of mlo.lock became. `how`:

    ours, theirs: only that side changed it, or it was asked for; both: a folder with the changes of both.
    `clashes` are the paths in a folder that both sides changed, where one side was asked for.
    """

    kind: Literal["data", "stage"]
    name: str
    how: Literal["ours", "theirs", "both"]
    removed: bool = False
    changed_by_both: bool = False
    clashes: tuple[str, ...] = ()


class Merged(msgspec.Struct, frozen=True, kw_only=True):
    """`merges` are the entries that the two sides hold differently; `passed_over` the results of stages that both
    changed, as the side says that was not taken. `undecided` says, per path of data, why somebody has to choose."""

    lock: Lock
    merges: tuple[Merge, ...]
    passed_over: dict[str, StageLock]
    undecided: dict[str, str]


def has_markers(text: str) -> bool:
    return any(_MARKER.match(line) and line[0] in "<>" for line in text.split("\n"))


def split_sides(text: str, name: str) -> tuple[str | None, str, str]:
    """Base (None where git was not told to write it), ours and theirs of a text with conflict markers.

    Raises ProjectError for markers that do not pair.
    """
    sides: dict[str, list[str]] = {"<": [], "|": [], "=": []}
    inside, with_base = "", False
    for number, line in enumerate(text.split("\n"), start=1):
        marker = line[0] if _MARKER.match(line) else ""
        if marker and marker in _FOLLOWS[inside]:
            inside = "" if marker == ">" else marker
            with_base = with_base or marker == "|"
        elif marker and not (marker == "=" and not inside):
            raise ProjectError(
                f"{name}:{number}: {line[:7]} stands where no such marker of a conflict belongs",
                hint=f"git checkout --merge -- {name} writes the conflict anew; then mlo merge",
            )
        else:
            for part in (inside,) if inside else sides:
                sides[part].append(line)
    if inside:
        raise ProjectError(
            f"{name}: its last conflict has no end", hint=f"git checkout --merge -- {name}; then mlo merge"
        )
    base, ours, theirs = ("\n".join(sides[part]) for part in "|<=")
    return base if with_base else None, ours, theirs


_FOLLOWS = {"": "<", "<": "|=", "|": "=", "=": ">"}


def merge_locks(
    base: Lock, ours: Lock, theirs: Lock, merge_folders: MergeFolders, prefer: Side | None = None
) -> Merged:
    """Entry by entry. Stages that both changed are taken from `prefer` (ours if nothing is said): the next run finds
    out which result holds. Data that both changed is put together folder by folder, or taken from `prefer`."""
    walk = _Walk(base, ours, theirs, merge_folders, prefer)
    data = walk.data()
    walk.settle_nested(data)
    sources = {name: source for name in data if (source := walk.source(name)) is not None}
    lock = Lock(data, walk.stages(), sources)
    return Merged(lock=lock, merges=tuple(walk.merges), passed_over=walk.passed_over, undecided=walk.undecided)


class _Walk:
    def __init__(self, base: Lock, ours: Lock, theirs: Lock, merge_folders: MergeFolders, prefer: Side | None) -> None:
        self._base, self._ours, self._theirs = base, ours, theirs
        self._merge_folders = merge_folders
        self._prefer: Side | None = prefer
        self.merges: list[Merge] = []
        self.passed_over: dict[str, StageLock] = {}
        self.undecided: dict[str, str] = {}

    def data(self) -> dict[str, Entry]:
        data: dict[str, Entry] = {}
        for name in _names(self._base.data, self._ours.data, self._theirs.data):
            before, here, there = self._base.data.get(name), self._ours.data.get(name), self._theirs.data.get(name)
            if here == there:
                found = here
            elif (side := _only(before, here, there)) is not None:
                found = here if side == "ours" else there
                self.merges.append(Merge(kind="data", name=name, how=side, removed=found is None))
            else:
                found = self._both(name, before, here, there)
            if found is not None:
                data[name] = found
        return data

    def _both(self, name: str, before: Entry | None, here: Entry | None, there: Entry | None) -> Entry | None:
        """What becomes of data that both sides changed."""
        merged: Entry | None = None
        clashes: list[str] = []
        if here is None or there is None:
            why = f"it was removed on {'our' if here is None else 'their'} side, and changed on the other"
        elif here.kind != "dir" or there.kind != "dir":
            why = "both sides changed it"
        else:
            try:
                base = before if before is not None and before.kind == "dir" else None
                merged, clashes = self._merge_folders(base, here, there)
                why = f"both sides changed {_few(clashes)} in it"
            except MloError as error:
                why = f"both sides changed it, and its folders cannot be put together: {error.message}"
        if merged is not None and not clashes:
            self.merges.append(Merge(kind="data", name=name, how="both", changed_by_both=True))
            return merged
        if self._prefer is None:
            self.undecided[name] = why
            return here
        found = here if self._prefer == "ours" else there
        self.merges.append(
            Merge(
                kind="data",
                name=name,
                how=self._prefer,
                removed=found is None,
                changed_by_both=True,
                clashes=tuple(clashes),
            )
        )
        return found

    def stages(self) -> dict[str, StageLock]:
        stages: dict[str, StageLock] = {}
        for name in _names(self._base.stages, self._ours.stages, self._theirs.stages):
            before = self._base.stages.get(name)
            here, there = self._ours.stages.get(name), self._theirs.stages.get(name)
            if here == there:
                found = here
            else:
                side = _only(before, here, there)
                both = side is None
                # One side removed it: mlo.yaml says whether it is a stage, and the next run forgets it if not.
                taken: Side = side or (
                    "theirs" if here is None else "ours" if there is None else self._prefer or "ours"
                )
                found, other = (here, there) if taken == "ours" else (there, here)
                if both and other is not None:
                    self.passed_over[name] = other
                self.merges.append(
                    Merge(kind="stage", name=name, how=taken, removed=found is None, changed_by_both=both)
                )
            if found is not None:
                stages[name] = found
        return stages

    def source(self, name: str) -> SourceLock | None:
        """Where data came from goes with the data; where that is alike, with who changed it."""
        before = self._base.sources.get(name)
        here, there = self._ours.sources.get(name), self._theirs.sources.get(name)
        taken = next((it.how for it in self.merges if it.kind == "data" and it.name == name), "both")
        if taken != "both":
            return here if taken == "ours" else there
        return there if _only(before, here, there) == "theirs" else here

    def settle_nested(self, data: dict[str, Entry]) -> None:
        """A folder that one side added, and a path in it that the other side added, are one thing twice."""
        for name in list(data):
            above = (parent.as_posix() for parent in PurePosixPath(name).parents)
            outer = next((it for it in above if it in data), None)
            if outer is None or any({name, outer} <= side.data.keys() for side in (self._ours, self._theirs)):
                continue
            if self._prefer is None:
                self.undecided[name] = f"it lies inside {outer}, which the other side added as a whole"
                continue
            kept = self._ours.data if self._prefer == "ours" else self._theirs.data
            gone = name if outer in kept else outer
            del data[gone]
            self.merges = [it for it in self.merges if it.kind != "data" or it.name != gone]
            self.merges.append(Merge(kind="data", name=gone, how=self._prefer, removed=True, changed_by_both=True))


def _only(before: Item | None, here: Item | None, there: Item | None) -> Side | None:
    """The side that alone changed something; None if both did."""
    return "theirs" if here == before else "ours" if there == before else None


def _names(*sides: Mapping[str, object]) -> list[str]:
    return sorted({name for side in sides for name in side})


def _few(paths: list[str]) -> str:
    shown = ", ".join(paths[:5])
    return shown if len(paths) <= 5 else f"{shown} and {len(paths) - 5} more"
