"""Objects on their way into the cache: made durable together, with few flushes, before any gets its name."""

from __future__ import annotations

import contextlib
import os
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from mlops_cli.core.base import durable
from mlops_cli.core.store.loose import Loose
from mlops_cli.core.store.pack import PACK_BYTES, PackIndex, PackWriter
from mlops_cli.core.store.packs import Packs
from mlops_cli.core.store.placing import write_all

FEWEST = 32  # fewer small objects than this stay loose: a pack of one is no better than a file of one
_GROUP_FILES, _GROUP_BYTES = 8192, 1 << 28


class Run(NamedTuple):
    """Small objects that lie one after another in `data`, all of which their caller has held against their digests.

    `whole` is the pack elsewhere that they come from, if it is to be copied as it is: what comes of it comes in the
    order in which it lies there, and nothing of another pack in between.
    """

    algorithm: str
    raws: Sequence[bytes]
    lengths: Sequence[int]
    data: memoryview
    whole: PackIndex | None = None


class _Sealed(NamedTuple):
    writer: PackWriter
    pack: PackIndex
    named: Future[None]


class Batch:
    """Collects objects that the store lacks. `flush` makes them durable and visible; `abandon` forgets the rest.

    Not for several threads at once: only the flushing and naming of full packs runs beside the caller.
    """

    def __init__(self, cache: Path, packs: Packs, loose: Loose, temporary: Callable[[], str]) -> None:
        self._cache = cache
        self._packs = packs
        self._loose = loose
        self._temporary = temporary
        self._files: dict[str, str] = {}  # digest -> temp file
        self._file_bytes = 0
        self._writers: dict[str, PackWriter] = {}  # algorithm, or name of the pack that is copied -> what is open
        self._copied: PackIndex | None = None
        self._sealed: deque[_Sealed] = deque()
        self._landed = False
        self._pool: ThreadPoolExecutor | None = None

    def put_raw(self, algorithm: str, raw: bytes, data: bytes) -> None:
        """A small object that `packs` denied."""
        writer = self._open(algorithm, algorithm)
        writer.add(raw, data)
        if writer.size >= PACK_BYTES:
            self._seal(algorithm)

    def put_run(self, run: Run) -> None:
        """Small objects, likewise. A pack of which every object came is kept as it was, under the name it had."""
        whole = run.whole
        if self._copied is not None and self._copied is not whole:
            self._end(self._copied.name)
        self._copied = whole
        key = whole.name if whole is not None else run.algorithm
        writer = self._open(key, run.algorithm)
        writer.add_run(run.raws, run.lengths, run.data)
        if whole is not None and len(writer.rows) == len(whole):
            self._seal(key, whole)
        elif whole is None and writer.size >= PACK_BYTES:
            self._seal(key)

    def put_file(self, digest: str, temporary: str, size: int) -> None:
        """An object of any size as a temp file, which is the batch's from now on."""
        self._files[digest] = temporary
        self._file_bytes += size
        if len(self._files) >= _GROUP_FILES or self._file_bytes >= _GROUP_BYTES:
            self._flush_files()

    def holds(self, digest: str) -> bool:
        return digest in self._files or self._writer_of(digest) is not None

    def packs(self, algorithm: str, raw: bytes) -> bool:
        """Whether an object is in a pack of this batch."""
        return self._writer_with(algorithm, raw) is not None

    def path(self, digest: str) -> str | None:
        """The temp file of an object that was put as one."""
        return self._files.get(digest)

    def read(self, digest: str) -> bytes | None:
        """The bytes of an object that was put as small."""
        writer = self._writer_of(digest)
        return writer.read(bytes.fromhex(digest.partition(":")[2])) if writer is not None else None

    def flush(self) -> None:
        """Bytes first, then names, then the folders that hold the names: a crash leaves no name without its bytes."""
        for key in list(self._writers):
            self._end(key)
        while self._sealed:
            self._land()
        if self._landed:
            durable.fsync_folder(self._packs.folder)
            self._landed = False
        self._flush_files()

    def abandon(self) -> None:
        """Remove what did not land."""
        if self._pool is not None:
            self._pool.shutdown()
        for writer in (*self._writers.values(), *(item.writer for item in self._sealed)):
            writer.abandon()
        self._writers.clear()
        self._sealed.clear()
        unlink_all(self._files.values())
        self._files.clear()

    # -- inside --------------------------------------------------------------------------------------------

    def _writer_of(self, digest: str) -> PackWriter | None:
        algorithm, _, hexadecimal = digest.partition(":")
        return self._writer_with(algorithm, bytes.fromhex(hexadecimal))

    def _writer_with(self, algorithm: str, raw: bytes) -> PackWriter | None:
        writer = self._writers.get(algorithm)
        if writer is not None and raw in writer.rows:
            return writer
        others = [sealed.writer for sealed in self._sealed]
        if self._copied is not None and self._copied.name in self._writers:
            others.append(self._writers[self._copied.name])
        return next((other for other in others if other.algorithm == algorithm and raw in other.rows), None)

    def _open(self, key: str, algorithm: str) -> PackWriter:
        writer = self._writers.get(key)
        if writer is None:
            writer = self._writers[key] = PackWriter(self._temporary(), algorithm)
        return writer

    def _end(self, key: str) -> None:
        """Keep what is in an open pack, however little it is."""
        writer = self._writers.get(key)
        if writer is None:
            return
        if len(writer.rows) < FEWEST:
            self._keep_loose(key, writer)
        else:
            self._seal(key)

    def _seal(self, key: str, index: PackIndex | None = None) -> None:
        """Close a pack; the disk takes it in while the next one fills."""
        writer = self._writers.pop(key)
        if self._pool is None:
            if not os.path.isdir(self._packs.folder):
                durable.make_folders(self._packs.folder)
            self._pool = ThreadPoolExecutor(1)
        try:
            index = writer.seal(index)
        except BaseException:
            writer.abandon()
            raise
        # One thread flushes and renames in turn: a rename that met the flush of the next pack would wait for it.
        self._sealed.append(_Sealed(writer, index, self._pool.submit(self._name, writer, index.name)))
        while len(self._sealed) > 1:
            self._land()

    def _name(self, writer: PackWriter, name: str) -> None:
        writer.sync()
        os.rename(writer.path, self._packs.path(name))

    def _land(self) -> None:
        """See that the oldest sealed pack got its name."""
        writer, index, named = self._sealed[0]
        named.result()
        writer.close()
        self._sealed.popleft()
        self._packs.add(index)
        self._landed = True

    def _keep_loose(self, key: str, writer: PackWriter) -> None:
        for raw in writer.rows:
            digest = f"{writer.algorithm}:{raw.hex()}"
            if digest not in self._files:
                path = self._temporary()
                write_new(path, writer.read(raw))
                self._files[digest] = path
        writer.abandon()
        del self._writers[key]

    def _flush_files(self) -> None:
        durable.sync_files(self._files.values(), self._cache)
        folders = set()
        for digest, temporary in list(self._files.items()):
            path = self._loose.ready(digest)
            os.rename(temporary, path)
            del self._files[digest]
            folders.add(os.path.dirname(path))
        durable.sync_folders(folders, self._cache)
        self._file_bytes = 0


def write_new(path: str, data: bytes) -> None:
    """A new read-only file that holds some bytes; nothing is left of it on an error."""
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o444)
    try:
        write_all(handle, data)
    except BaseException:
        os.close(handle)
        unlink_all([path])
        raise
    os.close(handle)


def unlink_all(paths: Iterable[str]) -> None:
    for path in paths:
        with contextlib.suppress(OSError):
            os.unlink(path)
