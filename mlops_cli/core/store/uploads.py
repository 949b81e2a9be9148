"""Sending on a few threads: packs as they are built, large objects as files."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import NamedTuple

from mlops_cli.core.base.progress import Progress
from mlops_cli.core.remotes.remote import Remote
from mlops_cli.core.store.batch import unlink_all
from mlops_cli.core.store.exchange import idx_key, pack_key
from mlops_cli.core.store.local import LocalStore
from mlops_cli.core.store.pack import PACK_BYTES, PackIndex, PackWriter

_PACK_ROWS = 1 << 17  # many tiny objects, too, are read and checked index by index
_AHEAD = 2  # packs that may wait as temp files


class Sealed(NamedTuple):
    """A pack that is on the remote, and waits for its `.idx`."""

    pack: PackIndex
    size: int


class Uploads:
    """Runs work for a remote on a few threads; waits where too much is under way. Leave it to stop them.

    The first error of any work is raised by the next call.
    """

    def __init__(self, threads: int, progress: Progress) -> None:
        self._pool = ThreadPoolExecutor(max(threads, 1))
        self._threads = max(threads, 1)
        self._progress = progress
        self._waiting: deque[Future[int]] = deque()

    def __enter__(self) -> Uploads:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pool.shutdown(cancel_futures=True)

    def start(self, work: Callable[[], int], *, most: int | None = None) -> None:
        """Run `work`, which answers how many bytes it sent, when at most `most` others are under way."""
        while len(self._waiting) >= (most or 2 * self._threads):
            self._collect()
        self._waiting.append(self._pool.submit(work))

    def wait(self) -> None:
        """Until all work is done."""
        while self._waiting:
            self._collect()

    def _collect(self) -> None:
        self._progress.advance(self._waiting.popleft().result())


class PackSender:
    """Builds packs of objects and sends each when it is full. Use from one thread."""

    def __init__(self, store: LocalStore, remote: Remote, uploads: Uploads) -> None:
        self._store = store
        self._remote = remote
        self._uploads = uploads
        self._writers: dict[str, PackWriter] = {}
        self._temporary: set[str] = set()

    def add(self, algorithm: str, raw: bytes, data: bytes) -> None:
        writer = self._writers.get(algorithm)
        if writer is None:
            path = self._store.temporary()
            writer = self._writers[algorithm] = PackWriter(path, algorithm)
            self._temporary.add(path)
        if raw in writer.rows:
            return
        writer.add(raw, data)

    def is_full(self, algorithm: str) -> bool:
        writer = self._writers.get(algorithm)
        return writer is not None and (writer.size >= PACK_BYTES or len(writer.rows) >= _PACK_ROWS)

    def announce_full(self, algorithm: str) -> None:
        """Send a pack with its `.idx` if it is full: right for one that holds no tree."""
        if self.is_full(algorithm):
            self._uploads.start(self._sending(self._writers.pop(algorithm), announce=True), most=_AHEAD)

    def send_open(self, sealed: list[Sealed]) -> None:
        """Send all that is open, noted in `sealed`, and wait. It is invisible as long as it has no `.idx`."""
        while self._writers:
            self._uploads.start(self._sending(self._writers.popitem()[1], sealed), most=_AHEAD)
        self._uploads.wait()

    def send_full(self, algorithm: str, sealed: list[Sealed]) -> None:
        """Send a pack without its `.idx` if it is full; it is noted in `sealed`."""
        if self.is_full(algorithm):
            self._uploads.start(self._sending(self._writers.pop(algorithm), sealed), most=_AHEAD)

    def abandon(self) -> None:
        """Leave no temp file behind, once the uploads have stopped."""
        for writer in self._writers.values():
            writer.close()
        self._writers.clear()
        unlink_all(self._temporary)

    def _sending(
        self, writer: PackWriter, sealed: list[Sealed] | None = None, *, announce: bool = False
    ) -> Callable[[], int]:
        try:
            index = writer.seal()
        finally:
            writer.close()
        size = os.path.getsize(writer.path)
        if sealed is not None:
            sealed.append(Sealed(index, size))

        def send() -> int:
            try:
                self._remote.put_file(pack_key(index.name), Path(writer.path))
            finally:
                unlink_all([writer.path])
            if announce:
                self._remote.settle()
                self._remote.put(idx_key(index.name), index.to_idx(size))
            return sum(index.lengths)

        return send
