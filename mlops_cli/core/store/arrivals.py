"""Large objects on their way into the cache: hashed while they are written, never held in memory."""

from __future__ import annotations

import os
from collections.abc import Callable

from mlops_cli.core.base.digest import Digest, hasher
from mlops_cli.core.base.files import machine_errors
from mlops_cli.core.errors import MloError, NotFound
from mlops_cli.core.remotes.remote import Remote
from mlops_cli.core.store import placing
from mlops_cli.core.store.batch import unlink_all
from mlops_cli.core.store.exchange import in_threads, object_key
from mlops_cli.core.store.local import LocalStore
from mlops_cli.core.store.protocol import ObjectCorrupt

_PART_BYTES = 1 << 23
_PARTS_UNDER_WAY = 6


def bring_large(
    store: LocalStore, remote: Remote, digest: str, size: int, *, seen: Callable[[int], None], threads: int
) -> int | MloError:
    """Keep an object of which the listing says that it is so large; its size, or what was wrong with it.

    Raises RemoteError if the remote fails, MachineError.
    """
    key, path = object_key(digest), store.temporary()
    try:
        with machine_errors(f"cannot write to the cache {store.cache}"):
            file = remote.local_file(key)
            found = (
                _copy(str(file), path, digest, seen)
                if file is not None
                else _assemble(remote, key, size, path, digest, seen, threads)
            )
        if not isinstance(found, MloError):
            store.adopt(path, Digest.parse(digest), hashed=found)  # the file is the store's from now on
            return size
    except ObjectCorrupt as error:
        return error
    except FileNotFoundError:
        found = NotFound(f"remote {remote.name} no longer has {key}", hint="run the same command again")
    except BaseException:
        unlink_all([path])
        raise
    unlink_all([path])
    return found


def _copy(source: str, path: str, digest: str, seen: Callable[[int], None]) -> str:
    """From a file of this machine; blocks are shared where the file system can."""
    handle = os.open(source, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return placing.copy_in(handle, os.fstat(handle).st_size, path, digest.partition(":")[0], seen)
    finally:
        os.close(handle)


def _assemble(
    remote: Remote, key: str, size: int, path: str, digest: str, seen: Callable[[int], None], threads: int
) -> str | MloError:
    """From parts that are asked for side by side; the digest of what came, or the error that a part ended with."""
    state = hasher(digest.partition(":")[0])
    starts = range(0, size, _PART_BYTES)

    def fetch(start: int) -> bytes:
        return remote.get_range(key, start, min(_PART_BYTES, size - start))

    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o444)
    try:
        for _, part in in_threads(fetch, starts, threads=threads, most=_PARTS_UNDER_WAY):
            if isinstance(part, MloError):
                return part
            placing.write_all(handle, part)
            state.update(part)
            seen(len(part))
    finally:
        os.close(handle)
    return f"{digest.partition(':')[0]}:{state.hexdigest()}"
