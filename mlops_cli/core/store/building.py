"""Making a folder that is not there yet: built aside, then moved into its place whole, with one rename."""

from __future__ import annotations

import errno
import os
import shutil
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Literal

from mlops_cli.core.base.digest import Digest
from mlops_cli.core.store.local import LocalStore
from mlops_cli.core.store.placing import homes, write_all
from mlops_cli.core.store.protocol import ObjectCorrupt, ObjectMissing
from mlops_cli.core.store.tree import DIR, EXEC, LINK, TreeEntry

Outcome = Literal["added", "missing", "corrupt"]
_BATCH_FILES, _BATCH_BYTES, _BATCHES = 512, 1 << 22, 4
_ALIVE = 4096  # files after which a folder that takes hours says that it is still being built


def build_folder(
    store: LocalStore,
    target: bytes,
    items: Sequence[tuple[bytes, TreeEntry]],
    *,
    link: Sequence[str],
    done: Callable[[bytes, Outcome], None],
) -> None:
    """Make the folder `target` with `items` in it: (path below it, entry), folders before what lies in them.

    Until it is whole nothing of it can be seen, so a kill leaves a temp folder and never half a dataset. What has no
    good object is left out; `done` is called with every path. Raises FileExistsError if something came to stand at
    `target` meanwhile, or if the file system takes two names for one.
    """
    for home in homes(store, target):
        outcomes: list[tuple[bytes, Outcome]] = []
        try:
            os.mkdir(home)
            outcomes.extend(_fill(store, home, target, items, link))
            _move(home, target)
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
            continue  # a bind mount: the same device, and still no rename
        finally:
            shutil.rmtree(home, ignore_errors=True)
        for path, outcome in outcomes:
            done(path, outcome)
        return
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
) -> Iterator[tuple[bytes, Outcome]]:
    with _Writers() as writers:
        for number, (path, item) in enumerate(items, 1):
            place = home + b"/" + path
            if number % _ALIVE == 0:
                os.utime(home)
            try:
                if item.mode == DIR:
                    os.mkdir(place)
                elif item.mode == LINK:
                    os.symlink(store.read(Digest.parse(item.digest)), place)
                elif store.packs.find(item.digest) is not None:
                    mode = 0o777 if item.mode == EXEC else 0o666
                    writers.add(place, store.read(Digest.parse(item.digest)), mode)
                else:
                    store.place(item.digest, place, link=link, executable=item.mode == EXEC, new=True)
            except FileExistsError as error:
                there = os.fsencode(error.filename) if error.filename else place
                raise _in_the_way(target + there.removeprefix(home)) from None
            except ObjectMissing:
                yield path, "missing"
            except ObjectCorrupt:
                yield path, "corrupt"
            else:
                yield path, "added"
        try:
            writers.finish()
        except FileExistsError as error:
            raise _in_the_way(target + os.fsencode(error.filename).removeprefix(home)) from None


class _Writers:
    """Writes small files on two threads, a folder or so at a time: most of what it takes is done by the kernel.

    An error of a write is raised by a later call. Leave it to stop the threads.
    """

    def __init__(self) -> None:
        self._batch: list[tuple[bytes, bytes, int]] = []
        self._bytes = 0
        self._pool: ThreadPoolExecutor | None = None
        self._waiting: deque[Future[None]] = deque()

    def __enter__(self) -> _Writers:
        return self

    def __exit__(self, *_: object) -> None:
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)

    def add(self, place: bytes, data: bytes, mode: int) -> None:
        """A new file; less the user's umask."""
        self._batch.append((place, data, mode))
        self._bytes += len(data)
        if len(self._batch) < _BATCH_FILES and self._bytes < _BATCH_BYTES:
            return
        if self._pool is None:
            self._pool = ThreadPoolExecutor(2)
        while len(self._waiting) >= _BATCHES:
            self._waiting.popleft().result()
        self._waiting.append(self._pool.submit(_write_all, self._batch))
        self._batch, self._bytes = [], 0

    def finish(self) -> None:
        """Until everything is written."""
        _write_all(self._batch)
        self._batch = []
        while self._waiting:
            self._waiting.popleft().result()


def _write_all(files: list[tuple[bytes, bytes, int]]) -> None:
    for place, data, mode in files:
        handle = os.open(place, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
        try:
            write_all(handle, data)
        finally:
            os.close(handle)
