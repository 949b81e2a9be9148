"""Copying objects into new packs, each verified on its way, and reading packs through from end to end."""

from __future__ import annotations

import os
from collections.abc import Container, Iterator
from typing import NamedTuple

from mlops_cli.core.base import durable
from mlops_cli.core.base.digest import hex_function
from mlops_cli.core.store.local import LocalStore
from mlops_cli.core.store.pack import PACK_BYTES, PackIndex, PackWriter

_SPAN_BYTES = 4 << 20  # read at once


class Piece(NamedTuple):
    """An object of a pack as it lies there. `good`: its bytes have the digest it is named by."""

    raw: bytes
    data: memoryview
    good: bool


def pieces(path: str, index: PackIndex, wanted: Container[bytes] | None = None) -> Iterator[Piece]:
    """The objects of a pack file, or those `wanted`, in the order of their bytes; a few megabytes at a time.

    `data` is good until the next one is asked for. Raises OSError.
    """
    hexadecimal = hex_function(index.algorithm)
    size = os.stat(path).st_size
    rows: list[tuple[int, int, bytes]] = []
    for raw, offset, length in index.rows():
        if wanted is not None and raw not in wanted:
            continue
        if offset + length > size:  # cut short, or a lie: not a reason to set so much memory aside
            yield Piece(raw, memoryview(b""), False)
        else:
            rows.append((offset, length, raw))
    rows.sort()
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        for span in _spans(rows):
            start = span[0][0]
            end = max(offset + length for offset, length, _ in span)
            block = memoryview(os.pread(handle, end - start, start))
            for offset, length, raw in span:
                data = block[offset - start : offset - start + length]
                yield Piece(raw, data, len(data) == length and hexadecimal(data) == raw.hex())  # type: ignore[arg-type]
    finally:
        os.close(handle)


def _spans(rows: list[tuple[int, int, bytes]]) -> Iterator[list[tuple[int, int, bytes]]]:
    """Rows that are read together: a few megabytes, without wide gaps."""
    span: list[tuple[int, int, bytes]] = []
    end = 0
    for row in rows:
        offset, length, _ = row
        if span and (offset + length - span[0][0] > _SPAN_BYTES or offset - end > _SPAN_BYTES // 64):
            yield span
            span = []
        span.append(row)
        end = max(end if len(span) > 1 else 0, offset + length)
    if span:
        yield span


class Repacker:
    """Writes objects into new packs of the store's folder. Nothing shows before `finish`, but full packs."""

    def __init__(self, store: LocalStore) -> None:
        self._store = store
        self._writers: dict[str, PackWriter] = {}
        self.names: set[str] = set()
        self.bytes = 0
        self.objects = 0
        self._added: dict[str, set[bytes]] = {}

    def holds(self, algorithm: str, raw: bytes) -> bool:
        return raw in self._added.get(algorithm, ())

    def add(self, algorithm: str, raw: bytes, data: bytes | memoryview) -> None:
        """Copy an object whose bytes were verified; once, however often it is given."""
        added = self._added.setdefault(algorithm, set())
        if raw in added:
            return
        writer = self._writers.get(algorithm)
        if writer is None:
            writer = self._writers[algorithm] = PackWriter(self._store.temporary(), algorithm)
        writer.add(raw, bytes(data))
        added.add(raw)
        self.objects += 1
        if writer.size >= PACK_BYTES:
            self._land(algorithm)

    def finish(self) -> None:
        """Make everything durable under its name."""
        for algorithm in list(self._writers):
            self._land(algorithm)
        if self.names:
            durable.fsync_folder(self._store.packs.folder)

    def abandon(self) -> None:
        """Leave nothing of what has no name yet."""
        for writer in self._writers.values():
            writer.abandon()
        self._writers.clear()

    def _land(self, algorithm: str) -> None:
        writer = self._writers[algorithm]
        index = writer.finish()
        folder = self._store.packs.folder
        if not os.path.isdir(folder):
            durable.make_folders(folder)
        path = self._store.packs.path(index.name)
        self.bytes += os.stat(writer.path).st_size
        # A pack of that name holds the same objects at the same places; if it is damaged, this one is not.
        os.rename(writer.path, path)
        del self._writers[algorithm]
        self.names.add(index.name)
        self._store.packs.add(index)
