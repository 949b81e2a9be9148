"""The packs of a cache: which there are, where each object lies in them, and its bytes."""

from __future__ import annotations

import contextlib
import os
from array import array
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from mlops_cli.core.errors import IntegrityError
from mlops_cli.core.store.pack import PackIndex, read_index

SUFFIX = ".pack"
_FEW = 64  # lookups after which one table of everything pays
_OPEN_FILES = 16
_ROW_BITS = 32


class Place(NamedTuple):
    """Where an object lies."""

    pack: PackIndex
    offset: int
    length: int


class Packs:
    """Every pack in `folder`, as it was when last looked; `rescan` looks again.

    A pack whose index cannot be read is in `damaged`, with the reason, and what it holds counts as not there.
    """

    def __init__(self, folder: str) -> None:
        self.folder = folder
        self.damaged: dict[str, str] = {}
        self._indexes: dict[str, PackIndex] | None = None
        self._order: list[PackIndex] = []
        self._tables: dict[str, dict[bytes, int]] = {}
        self._lookups = 0
        self._handles: OrderedDict[str, int] = OrderedDict()
        self._fresh: set[str] = set()

    def path(self, name: str) -> str:
        return f"{self.folder}/{name}{SUFFIX}"

    @property
    def indexes(self) -> dict[str, PackIndex]:
        """Name -> index."""
        if self._indexes is None:
            self._indexes = {}
            self.rescan()
        return self._indexes

    def rescan(self) -> bool:
        """Look which packs there are now; whether anything changed."""
        known = self._indexes if self._indexes is not None else {}
        names = self._listed()
        if names == known.keys() | self.damaged.keys() and self._indexes is not None:
            return False
        for name in known.keys() - names:
            self._forget(name)
        self.damaged = {name: why for name, why in self.damaged.items() if name in names}
        found = dict(known)
        for name in sorted(names - known.keys() - self.damaged.keys()):
            try:
                found[name] = read_index(self.path(name), name)
            except IntegrityError as error:
                self.damaged[name] = error.message
            except FileNotFoundError:
                continue
        self._indexes = {name: index for name, index in found.items() if name in names}
        self._order, self._tables = list(self._indexes.values()), {}
        return True

    def add(self, index: PackIndex) -> None:
        """Know a pack that was just written into the folder."""
        if index.name not in self.indexes:
            self.indexes[index.name] = index
            self._order.append(index)
            if index.algorithm in self._tables:
                _enter(self._tables[index.algorithm], len(self._order) - 1, index)

    def find(self, digest: str) -> Place | None:
        """Where an object lies; one of its places if it has several."""
        algorithm, _, hexadecimal = digest.partition(":")
        if not self.indexes:
            return None
        raw = bytes.fromhex(hexadecimal)
        self._lookups += 1
        if self._lookups > _FEW:
            at = self.table(algorithm).get(raw)
            if at is None:
                return None
            pack, row = self._order[at >> _ROW_BITS], at & ((1 << _ROW_BITS) - 1)
            return Place(pack, pack.offsets[row], pack.lengths[row])
        return next(self._places(algorithm, raw), None)

    def places(self, digest: str) -> Iterator[Place]:
        """Every place of an object."""
        algorithm, _, hexadecimal = digest.partition(":")
        yield from self._places(algorithm, bytes.fromhex(hexadecimal)) if self.indexes else ()

    def table(self, algorithm: str) -> dict[bytes, int]:
        """Every raw digest of an algorithm, for many lookups at once; the numbers are for this class."""
        if algorithm not in self._tables:
            table: dict[bytes, int] = {}
            self.indexes  # noqa: B018 looks for packs if nobody has yet
            for number, index in enumerate(self._order):
                if index.algorithm == algorithm:
                    _enter(table, number, index)
            self._tables[algorithm] = table
        return self._tables[algorithm]

    def rows_of(self, algorithm: str, raws: Iterable[bytes]) -> tuple[list[tuple[PackIndex, array[int]]], list[bytes]]:
        """Which rows of which packs hold these objects, and those that no pack holds."""
        table, rows, rest = self.table(algorithm), dict[int, "array[int]"](), list[bytes]()
        for raw in raws:
            at = table.get(raw)
            if at is None:
                rest.append(raw)
                continue
            number = at >> _ROW_BITS
            if number not in rows:
                rows[number] = array("I")
            rows[number].append(at & ((1 << _ROW_BITS) - 1))
        return [(self._order[number], rows[number]) for number in sorted(rows)], rest

    def read(self, place: Place) -> bytes:
        """The bytes, not verified; fewer than `length` if the pack was cut short. Raises FileNotFoundError."""
        return os.pread(self._handle(place.pack.name), place.length, place.offset)

    def freshen(self, name: str) -> None:
        """Say that something in the pack is needed again, so that a collection of garbage leaves it for a while."""
        if name not in self._fresh:
            self._fresh.add(name)
            with contextlib.suppress(PermissionError, FileNotFoundError):  # another user's, in a shared cache
                os.utime(self.path(name))

    def forget_freshened(self) -> None:
        """Freshen each pack again when it is next needed."""
        self._fresh.clear()

    def drop(self, names: Iterable[str]) -> None:
        """Remove packs from the folder."""
        for name in names:
            self._forget(name)
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self.path(name))
        self.rescan()

    def close(self) -> None:
        while self._handles:
            os.close(self._handles.popitem()[1])

    def __del__(self) -> None:
        self.close()

    # -- inside --------------------------------------------------------------------------------------------

    def _listed(self) -> set[str]:
        try:
            return {name.removesuffix(SUFFIX) for name in os.listdir(self.folder) if name.endswith(SUFFIX)}
        except (FileNotFoundError, NotADirectoryError):
            return set()

    def _places(self, algorithm: str, raw: bytes) -> Iterator[Place]:
        for index in self._order:
            if index.algorithm == algorithm:
                found = index.find(raw)
                if found is not None:
                    yield Place(index, *found)

    def _handle(self, name: str) -> int:
        handle = self._handles.get(name)
        if handle is None:
            while len(self._handles) >= _OPEN_FILES:
                os.close(self._handles.popitem(last=False)[1])
            handle = self._handles[name] = os.open(self.path(name), os.O_RDONLY | os.O_CLOEXEC)
        return handle

    def _forget(self, name: str) -> None:
        if name in self._handles:
            os.close(self._handles.pop(name))


def _enter(table: dict[bytes, int], number: int, index: PackIndex) -> None:
    first = number << _ROW_BITS
    table.update(zip(index.raw_digests(), range(first, first + len(index)), strict=True))
