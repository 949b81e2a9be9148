"""Making a folder that is not there yet: built aside, then moved into its place whole, with one rename."""

from __future__ import annotations

import errno
import os
import shutil
from array import array
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Literal

from mlops_cli.core.base.digest import Digest
from mlops_cli.core.store.local import LocalStore
from mlops_cli.core.store.pack import PackIndex
from mlops_cli.core.store.packs import Packs
from mlops_cli.core.store.placing import homes, write_all
from mlops_cli.core.store.protocol import ObjectCorrupt, ObjectMissing
from mlops_cli.core.store.reading import Span, faulty_rows, spans
from mlops_cli.core.store.tree import DIR, EXEC, LINK, TreeEntry

Outcome = Literal["added", "missing", "corrupt"]
_Files = dict[bytes, list[tuple[bytes, TreeEntry]]]  # raw digest -> the files that hold those bytes
_FEW = 64  # so many are not worth a thread, nor a table of all packs
_BATCH_FILES, _BATCH_BYTES, _BATCHES = 512, 1 << 22, 4
_ALIVE = 4096  # files after which a folder that takes hours says that it is still being built


def build_folder(
    store: LocalStore,
    target: bytes,
    items: Sequence[tuple[bytes, TreeEntry]],
    *,
    link: Sequence[str],
) -> dict[bytes, Outcome]:
    """Make the folder `target` with `items` in it: (path below it, entry), folders before what lies in them.

    Until it is whole nothing of it can be seen, so a kill leaves a temp folder and never half a dataset. What has no
    good object is left out; what became of each path is returned. Raises FileExistsError if something came to stand at
    `target` meanwhile, or if the file system takes two names for one.
    """
    for home in homes(store, target):
        try:
            os.mkdir(home)
            outcomes = _fill(store, home, target, items, link)
            _move(home, target)
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
            continue  # a bind mount: the same device, and still no rename
        finally:
            shutil.rmtree(home, ignore_errors=True)
        return outcomes
    raise OSError(errno.EXDEV, os.strerror(errno.EXDEV), os.fsdecode(target))


def _move(home: bytes, target: bytes) -> None:
    try:
        os.rename(home, target)
    except OSError as error:
        if error.errno in (errno.ENOTEMPTY, errno.ENOTDIR):
            raise _in_the_way(target) from None
        raise


def _in_the_way(path: bytes) -> FileExistsError:
    return FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), os.fsdecode(path))


def _fill(
    store: LocalStore, home: bytes, target: bytes, items: Sequence[tuple[bytes, TreeEntry]], link: Sequence[str]
) -> dict[bytes, Outcome]:
    """What became of each path."""
    outcomes: dict[bytes, Outcome] = {}

    def put(path: bytes, item: TreeEntry) -> None:
        outcomes[path] = _put(store, home + b"/" + path, item, link)

    try:
        with _Writers(store, home, put) as writers:
            for number, (path, item) in enumerate(items, 1):
                if number % _ALIVE == 0:
                    os.utime(home)
                if item.mode in (DIR, LINK) or len(items) <= _FEW:
                    put(path, item)
                else:
                    outcomes[path] = "added"
                    writers.add(path, item)
            writers.finish()
    except FileExistsError as error:
        there = os.fsencode(error.filename) if error.filename else home
        raise _in_the_way(target + there.removeprefix(home)) from None
    return outcomes


def _put(store: LocalStore, place: bytes, item: TreeEntry, link: Sequence[str]) -> Outcome:
    """One folder, link or file."""
    try:
        if item.mode == DIR:
            os.mkdir(place)
        elif item.mode == LINK:
            os.symlink(store.read(Digest.parse(item.digest)), place)
        elif store.packs.find(item.digest) is not None:
            _write(place, store.read(Digest.parse(item.digest)), _mode(item))
        else:
            store.place(item.digest, place, link=link, executable=item.mode == EXEC, new=True)
    except ObjectMissing:
        return "missing"
    except ObjectCorrupt:
        return "corrupt"
    return "added"


class _Writers:
    """Makes files on two threads, a folder or so at a time: most of what it takes is done by the kernel.

    Each thread reads neighbours in a pack at once, and holds them against their digests. What is in no pack, or not
    good there, is left to `put`, which the caller's thread calls. An error is raised by a later call. Leave it to stop
    the threads.
    """

    def __init__(self, store: LocalStore, home: bytes, put: Callable[[bytes, TreeEntry], None]) -> None:
        self._store = store
        self._home = home
        self._put = put
        self._batch: list[tuple[bytes, TreeEntry]] = []
        self._bytes = 0
        self._pool: ThreadPoolExecutor | None = None
        self._waiting: deque[tuple[_Files, Future[list[bytes]]]] = deque()

    def __enter__(self) -> _Writers:
        return self

    def __exit__(self, *_: object) -> None:
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)

    def add(self, path: bytes, item: TreeEntry) -> None:
        """A new file; its mode is less the user's umask."""
        self._batch.append((path, item))
        self._bytes += item.size
        if len(self._batch) >= _BATCH_FILES or self._bytes >= _BATCH_BYTES:
            self._start()

    def finish(self) -> None:
        """Until everything is written."""
        self._start()
        while self._waiting:
            self._collect()

    def _start(self) -> None:
        batch, self._batch, self._bytes = self._batch, [], 0
        groups: dict[str, _Files] = {}
        for path, item in batch:
            algorithm, _, hexadecimal = item.digest.partition(":")
            groups.setdefault(algorithm, {}).setdefault(bytes.fromhex(hexadecimal), []).append((path, item))
        for algorithm, files in groups.items():
            packed, rest = self._store.packs.rows_of(algorithm, files)
            for raw in rest:
                self._put_all(files[raw])
            if packed:
                self._submit(files, packed)

    def _submit(self, files: _Files, packed: list[tuple[PackIndex, array[int]]]) -> None:
        if self._pool is None:
            self._pool = ThreadPoolExecutor(2)
        while len(self._waiting) >= _BATCHES:
            self._collect()
        written = self._pool.submit(_write_packed, self._store.packs, packed, self._home, files)
        self._waiting.append((files, written))

    def _collect(self) -> None:
        files, written = self._waiting.popleft()
        for raw in written.result():
            self._put_all(files[raw])

    def _put_all(self, files: Iterable[tuple[bytes, TreeEntry]]) -> None:
        for path, item in files:
            self._put(path, item)


def _write_packed(packs: Packs, packed: list[tuple[PackIndex, array[int]]], home: bytes, files: _Files) -> list[bytes]:
    """Make the files of some rows of packs; the raw digests of those that could not be read well, and are not made."""
    lost: list[bytes] = []
    for index, rows in packed:
        for span in spans(index, rows, most=_BATCH_BYTES):
            data = _read(packs.path(index.name), span)
            bad = set(faulty_rows(span, data))
            view = memoryview(data)
            for row in span.rows:
                raw = index.digest_at(row)
                if row in bad:
                    lost.append(raw)
                    continue
                at = index.offsets[row] - span.start
                for path, item in files[raw]:
                    _write(home + b"/" + path, view[at : at + index.lengths[row]], _mode(item))
    return lost


def _read(path: str, span: Span) -> bytes:
    """As many bytes of a piece as can be had: packs may be packed anew meanwhile."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return b""
    try:
        return os.pread(handle, span.length, span.start)
    except OSError:
        return b""
    finally:
        os.close(handle)


def _write(place: bytes, data: bytes | memoryview, mode: int) -> None:
    handle = os.open(place, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    try:
        write_all(handle, data)
    finally:
        os.close(handle)


def _mode(item: TreeEntry) -> int:
    return 0o777 if item.mode == EXEC else 0o666
