"""The store in a folder: one read-only file an object, named by the digest of its bytes. Format in FORMAT.md."""

from __future__ import annotations

import contextlib
import functools
import itertools
import os
import secrets
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from mlops_cli.core.base import durable
from mlops_cli.core.base.digest import BLOCK_BYTES, Digest, hasher
from mlops_cli.core.base.files import machine_errors, write_atomic
from mlops_cli.core.errors import IntegrityError, MachineError, ProjectError
from mlops_cli.core.store import placing
from mlops_cli.core.store.links import reflink
from mlops_cli.core.store.protocol import ObjectCorrupt, ObjectMissing
from mlops_cli.core.store.stable import SMALL_BYTES, read_all, read_stable

VERSION = 1
REFILL = "run `mlo pull`, or add the data again"
LEFTOVER_S = 3600.0  # a temp file older than this has lost its writer
_GROUP_FILES, _GROUP_BYTES = 8192, 1 << 28
_MANY = 512


class LocalStore:
    """Implements ObjectStore on `cache`; `algorithm` names what is put. Reads objects of every algorithm.

    `refill` tells people how a lost object comes back.
    Raises ProjectError if a newer mlo wrote the cache; MachineError where the disk is full or read-only.
    """

    def __init__(self, cache: Path, algorithm: str, *, refill: str = REFILL) -> None:
        self.cache = cache
        self.algorithm = algorithm
        self.refill = refill
        self._objects = os.path.join(cache, "objects")
        self._temporary = os.path.join(cache, "tmp")
        self._token, self._numbers = secrets.token_hex(6), itertools.count()
        self._fanout: set[str] = set()
        self._group: dict[str, str] | None = None  # digest -> temp file, of a batch not yet landed
        self._group_bytes = 0
        self._refuse_newer()

    # -- putting -------------------------------------------------------------------------------------------

    def put_bytes(self, data: bytes) -> Digest:
        """Keep some bytes; durable on return, or at the end of the batch."""
        return Digest.parse(self.put_text(data))

    def put_text(self, data: bytes) -> str:
        """As put_bytes; returns the digest as text, which hot loops carry."""
        state = hasher(self.algorithm)
        state.update(data)
        digest = f"{self.algorithm}:{state.hexdigest()}"
        if not self._holds(digest, data):
            with machine_errors(f"cannot write to the cache {self.cache}"):
                self._land(self._write(data), digest, len(data))
        return digest

    def put_file(self, path: Path, *, seen: Callable[[int], None] | None = None) -> Digest:
        """Keep a file's bytes. Raises ChangedWhileRead, UnsupportedFile, FileNotFoundError."""
        return Digest.parse(self.ingest(os.fsencode(path), seen=seen)[0])

    def ingest(self, path: bytes, *, seen: Callable[[int], None] | None = None) -> tuple[str, os.stat_result]:
        """Keep a file's bytes: the digest as text, and the status the file had while it was read."""
        copies: list[str] = []

        def consume(handle: int, status: os.stat_result) -> bytes | str:
            if status.st_size <= SMALL_BYTES:
                return read_all(handle, status.st_size)
            copies.append(self.temporary())
            return self._copy_in(handle, status.st_size, copies[-1], seen)

        with machine_errors(f"cannot add {os.fsdecode(path)} to the cache {self.cache}"):
            try:
                found, status = read_stable(path, consume)
                if isinstance(found, bytes):
                    if seen is not None:
                        seen(len(found))
                    return self.put_text(found), status
                if not self._is_good(found, status.st_size):
                    self._land(copies.pop(), found, status.st_size)
                return found, status
            finally:
                _unlink_all(copies)

    def put_verified(self, digest: Digest, data: bytes) -> None:
        """Keep bytes that came from elsewhere under the name they came with. Raises ObjectCorrupt, keeping nothing."""
        state = hasher(digest.algorithm)
        state.update(data)
        if state.hexdigest() != digest.hex:
            raise ObjectCorrupt(
                f"the bytes that came for {digest} are not its bytes", hint="they were damaged on the way or at rest"
            )
        if not self._holds(str(digest), data):
            with machine_errors(f"cannot write to the cache {self.cache}"):
                self._land(self._write(data), str(digest), len(data))

    def adopt(self, path: str, digest: Digest) -> None:
        """As put_verified, for a file made with `temporary`; it is moved into place, or removed if it is not good."""
        try:
            hexadecimal, size = placing.hash_file(path, digest.algorithm)
            if hexadecimal != digest.hex:
                raise ObjectCorrupt(
                    f"the bytes that came for {digest} are not its bytes",
                    hint="they were damaged on the way or at rest",
                )
            with machine_errors(f"cannot write to the cache {self.cache}"):
                os.chmod(path, 0o444)
                self._land(path, str(digest), size)
        except BaseException:
            _unlink_all([path])
            raise

    @contextlib.contextmanager
    def batch(self) -> Iterator[None]:
        """Puts inside it become durable in groups, with one flush a group instead of one an object.

        When it ends every object put in it is durable and visible; if it ends with an error, or dies, each of them
        is wholly there or not at all. Batches nest; the outermost counts. Not for several threads at once.
        """
        if self._group is not None:
            yield
            return
        self._group, self._group_bytes = {}, 0
        try:
            yield
            self._flush()
        except BaseException:
            # What is whole stays, so that the same command has less to do when it is run again.
            with contextlib.suppress(OSError, MachineError):
                self._flush()
            raise
        finally:
            _unlink_all(self._group.values())
            self._group = None

    def temporary(self) -> str:
        """The path of a new file in the cache's own temp folder, on the objects' file system. Not created."""
        if self._temporary not in self._fanout:
            with machine_errors(f"cannot write to the cache {self.cache}"):
                os.makedirs(self._temporary, exist_ok=True)
                if not os.path.exists(os.path.join(self.cache, "VERSION")):
                    write_atomic(self.cache / "VERSION", b"%d\n" % VERSION)
            self._fanout.add(self._temporary)
        return f"{self._temporary}/{os.getpid():x}-{self._token}-{next(self._numbers)}"

    @functools.cached_property
    def device(self) -> int:
        """The file system that temp files are made on."""
        self.temporary()
        return os.stat(self._temporary).st_dev

    # -- asking --------------------------------------------------------------------------------------------

    def path_of(self, digest: Digest) -> Path:
        """Where the object lies, if it is there."""
        return Path(self._path(str(digest)))

    def has(self, digest: Digest) -> bool:
        return self.size(str(digest)) is not None

    def size(self, digest: str) -> int | None:
        """Bytes of an object as it lies there; None if there is none."""
        try:
            return os.stat(self._located(digest)).st_size
        except (FileNotFoundError, NotADirectoryError):
            return None

    def missing(self, digests: Iterable[str]) -> set[str]:
        """Those that are not here. Many are answered from listings of the folders they would lie in."""
        wanted = set(digests).difference(self._group or ())
        if len(wanted) <= _MANY:
            return {digest for digest in wanted if self.size(digest) is None}
        folders: dict[str, set[str]] = {}
        absent = set()
        for digest in wanted:
            folder, _, name = self._path(digest).rpartition("/")
            if folder not in folders:
                try:
                    folders[folder] = set(os.listdir(folder))
                except (FileNotFoundError, NotADirectoryError):
                    folders[folder] = set()
            if name not in folders[folder]:
                absent.add(digest)
        return absent

    def read(self, digest: Digest) -> bytes:
        """The bytes, verified. Raises ObjectMissing, ObjectCorrupt."""
        try:
            with machine_errors(f"cannot read the cache {self.cache}"):
                handle = os.open(self._located(str(digest)), os.O_RDONLY | os.O_CLOEXEC)
                try:
                    data = read_all(handle, os.fstat(handle).st_size)
                finally:
                    os.close(handle)
        except (FileNotFoundError, NotADirectoryError):
            raise self.absent(digest) from None
        state = hasher(digest.algorithm)
        state.update(data)
        if state.hexdigest() != digest.hex:
            raise self.corrupt(digest)
        return data

    def verify(self, digest: Digest, *, seen: Callable[[int], None] | None = None) -> int:
        """Read an object through; its size in bytes. Raises ObjectMissing, ObjectCorrupt."""
        try:
            with machine_errors(f"cannot read the cache {self.cache}"):
                hexadecimal, size = placing.hash_file(self._located(str(digest)), digest.algorithm, seen=seen)
        except (FileNotFoundError, NotADirectoryError):
            raise self.absent(digest) from None
        if hexadecimal != digest.hex:
            raise self.corrupt(digest)
        return size

    def __iter__(self) -> Iterator[Digest]:
        """Every object's digest; files that are not named as objects are passed over."""
        for algorithm in _listing(self._objects):
            for prefix in _listing(os.path.join(self._objects, algorithm)):
                for rest in _listing(os.path.join(self._objects, algorithm, prefix)):
                    with contextlib.suppress(IntegrityError):
                        yield Digest(algorithm, prefix + rest)

    # -- giving --------------------------------------------------------------------------------------------

    def copy_to(
        self, digest: Digest, target: Path, *, link: Sequence[str] = ("copy",), executable: bool = False
    ) -> None:
        """Put an object's bytes at `target`, replacing what is there, in one step and verified.

        The first of `link` (reflink, hardlink, symlink, copy) that works is used; executables are never hard or
        soft links, because an object has one mode. Raises ObjectMissing, ObjectCorrupt, MachineError.
        """
        self.place(str(digest), os.fsencode(target), link=link, executable=executable)

    def place(self, digest: str, target: bytes, *, link: Sequence[str], executable: bool, new: bool = False) -> None:
        """As copy_to. `new`: nothing may stand at `target`; raises FileExistsError."""
        with machine_errors(f"cannot write {os.fsdecode(target)}"):
            placing.place(self, digest, self._path(digest), target, link=link, executable=executable, new=new)

    def quarantine(self, digest: Digest) -> Path | None:
        """Set a bad object aside, so that a good one can come in its place; where it went, None if it was gone."""
        aside = self.cache / "quarantine" / f"{digest.algorithm}-{digest.hex}-{secrets.token_hex(3)}"
        with machine_errors(f"cannot write to the cache {self.cache}"):
            aside.parent.mkdir(parents=True, exist_ok=True)
            try:
                os.replace(self._path(str(digest)), aside)
            except FileNotFoundError:
                return None
        return aside

    def clean_leftovers(self, *, older_than_s: float = LEFTOVER_S) -> int:
        """Remove temp files whose writers are gone; how many."""
        removed = 0
        for name in _listing(self._temporary):
            path = os.path.join(self._temporary, name)
            with contextlib.suppress(FileNotFoundError):
                if time.time() - os.lstat(path).st_mtime >= older_than_s:
                    os.unlink(path)
                    removed += 1
        return removed

    # -- inside --------------------------------------------------------------------------------------------

    def absent(self, digest: Digest) -> ObjectMissing:
        return ObjectMissing(f"object {digest} is not in the cache {self.cache}", hint=self.refill)

    def corrupt(self, digest: Digest) -> ObjectCorrupt:
        return ObjectCorrupt(
            f"object {digest} in the cache {self.cache} is damaged: its bytes have another digest",
            hint=f"run `mlo data fsck` to set it aside, then {self.refill}",
        )

    def _path(self, digest: str) -> str:
        algorithm, _, hexadecimal = digest.partition(":")
        return f"{self._objects}/{algorithm}/{hexadecimal[:2]}/{hexadecimal[2:]}"

    def _located(self, digest: str) -> str:
        """Where the bytes are now: in place, or still a temp file of the batch."""
        return (self._group and self._group.get(digest)) or self._path(digest)

    def _holds(self, digest: str, data: bytes) -> bool:
        """Whether the object is there and good. It is compared, not trusted: a put mends a damaged object."""
        if self._group is not None and digest in self._group:
            return True
        try:
            handle = os.open(self._path(digest), os.O_RDONLY | os.O_CLOEXEC)
        except (FileNotFoundError, NotADirectoryError):
            return False
        try:
            return read_all(handle, len(data)) == data
        finally:
            os.close(handle)

    def _is_good(self, digest: str, size: int) -> bool:
        if self.size(digest) != size:
            return False
        algorithm, _, hexadecimal = digest.partition(":")
        return placing.hash_file(self._located(digest), algorithm)[0] == hexadecimal

    def _write(self, data: bytes) -> str:
        path = self.temporary()
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o444)
        try:
            placing.write_all(handle, data)
        except BaseException:
            os.close(handle)
            _unlink_all([path])
            raise
        os.close(handle)
        return path

    def _copy_in(self, source: int, size: int, path: str, seen: Callable[[int], None] | None) -> str:
        """Copy an open file to `path`, hashing what is written; the digest. A reflinked copy cannot change under us."""
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o444)
        try:
            state = hasher(self.algorithm)
            cloned = reflink(source, handle)
            # One byte past the end tells a file that grows, and one that grows for ever must not keep us.
            while size >= 0 and (block := os.read(handle if cloned else source, BLOCK_BYTES)):
                size -= len(block)
                state.update(block)
                if not cloned:
                    placing.write_all(handle, block)
                if seen is not None:
                    seen(len(block))
        finally:
            os.close(handle)
        return f"{self.algorithm}:{state.hexdigest()}"

    def _land(self, temporary: str, digest: str, size: int) -> None:
        """Give a temp file its name; now, or with the group it joins."""
        if self._group is None:
            try:
                durable.fsync_file(temporary)
                os.rename(temporary, self._ready(digest))
            except BaseException:
                _unlink_all([temporary])
                raise
            durable.fsync_folder(os.path.dirname(self._path(digest)))
            return
        self._group[digest] = temporary
        self._group_bytes += size
        if len(self._group) >= _GROUP_FILES or self._group_bytes >= _GROUP_BYTES:
            self._flush()

    def _flush(self) -> None:
        """Bytes first, then names, then the folders that hold the names: a crash leaves no name without its bytes."""
        group = self._group or {}
        with machine_errors(f"cannot write to the cache {self.cache}"):
            durable.sync_files(group.values(), self.cache)
            folders = set()
            for digest, temporary in list(group.items()):
                path = self._ready(digest)
                os.rename(temporary, path)
                del group[digest]
                folders.add(os.path.dirname(path))
            durable.sync_folders(folders, self.cache)
        self._group_bytes = 0

    def _ready(self, digest: str) -> str:
        """The object's path, its folder made durable if it is new."""
        path = self._path(digest)
        folder = os.path.dirname(path)
        if folder not in self._fanout:
            if not os.path.isdir(folder):
                os.makedirs(folder, exist_ok=True)
                durable.fsync_folder(os.path.dirname(folder))
            self._fanout.add(folder)
        return path

    def _refuse_newer(self) -> None:
        try:
            with open(os.path.join(self.cache, "VERSION"), "rb") as file:
                text = file.read(16).strip()
        except (FileNotFoundError, NotADirectoryError):
            return
        if not text.isdigit() or int(text) > VERSION:
            raise ProjectError(
                f"the cache {self.cache} has format {text.decode(errors='replace')!r}; this mlo reads {VERSION}",
                hint="upgrade mlo: pip install --upgrade mlops-cli",
            )


def _unlink_all(paths: Iterable[str]) -> None:
    for path in paths:
        with contextlib.suppress(OSError):
            os.unlink(path)


def _listing(folder: str) -> list[str]:
    try:
        return sorted(os.listdir(folder))
    except (FileNotFoundError, NotADirectoryError):
        return []
