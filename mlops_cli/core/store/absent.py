"""What of entries a remote lacks, told by entry."""

from __future__ import annotations

import msgspec

from mlops_cli.core.base.records import Entry
from mlops_cli.core.store.exchange import raw_of
from mlops_cli.core.store.local import LocalStore
from mlops_cli.core.store.push import Plan
from mlops_cli.core.store.tree import DIR, TreeEntry, read_rows


class Absent(msgspec.Struct, frozen=True):
    """An entry of which a remote lacks so many files, of so many bytes. No files if it lacks only trees."""

    path: str
    files: int
    size: int


class AbsentCounter:
    """Counts what a plan would send, entry by entry; a folder that is met twice is read once."""

    def __init__(self, store: LocalStore, plan: Plan) -> None:
        self._store = store
        self._plan = plan
        self._known: dict[str, tuple[bool, int, int]] = {}

    def of(self, path: str, entry: Entry) -> Absent | None:
        """None if the remote has all of it."""
        if entry.kind == "dir":
            lacks, files, size = self._folder(entry)
            return Absent(path, files, size) if lacks else None
        algorithm, raw = raw_of(entry.digest)
        return Absent(path, 1, entry.size) if raw in self._plan.contents.get(algorithm, ()) else None

    def _folder(self, folder: Entry | TreeEntry) -> tuple[bool, int, int]:
        digest = folder.digest
        if digest in self._plan.needs.lost:
            # Not here either; if it is there all of it is, for trees come last.
            return (True, folder.files, folder.size) if digest in self._plan.failed else (False, 0, 0)
        if digest not in self._known:
            lacks, total, size = digest in self._plan.trees, 0, 0
            algorithm, rows = read_rows(self._store, folder)
            absent = self._plan.contents.get(algorithm, {})
            for name, mode, raw, its_size, files in rows:
                if mode == DIR:
                    below = self._folder(TreeEntry(name, DIR, f"{algorithm}:{raw.hex()}", its_size, files))
                    lacks, total, size = lacks or below[0], total + below[1], size + below[2]
                elif raw in absent:
                    lacks, total, size = True, total + 1, size + its_size
            self._known[digest] = lacks, total, size
        return self._known[digest]
