"""Making a folder that is not there yet: built aside, then moved into its place whole, with one rename."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from typing import Literal

from mlops_cli.core.base.digest import Digest
from mlops_cli.core.store.local import LocalStore
from mlops_cli.core.store.placing import homes, write_all
from mlops_cli.core.store.protocol import ObjectCorrupt, ObjectMissing
from mlops_cli.core.store.tree import DIR, EXEC, LINK, TreeEntry

Outcome = Literal["added", "missing", "corrupt"]
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
                _write(place, store.read(Digest.parse(item.digest)), 0o777 if item.mode == EXEC else 0o666)
            else:
                store.place(item.digest, place, link=link, executable=item.mode == EXEC, new=True)
        except FileExistsError:
            raise _in_the_way(target + b"/" + path) from None
        except ObjectMissing:
            yield path, "missing"
        except ObjectCorrupt:
            yield path, "corrupt"
        else:
            yield path, "added"


def _write(place: bytes, data: bytes, mode: int) -> None:
    """A new file; less the user's umask."""
    handle = os.open(place, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    try:
        write_all(handle, data)
    finally:
        os.close(handle)
