"""The store in a folder: objects by the digest of their bytes, in packs or as files. Format in FORMAT.md."""

from __future__ import annotations

import contextlib
import io
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

from mlops_cli.core.base import durable
from mlops_cli.core.base.digest import Digest, hex_function
from mlops_cli.core.base.files import machine_errors
from mlops_cli.core.errors import MachineError
from mlops_cli.core.store import placing
from mlops_cli.core.store.batch import Batch, Run, unlink_all, write_new
from mlops_cli.core.store.cache import CacheFolder
from mlops_cli.core.store.loose import Loose
from mlops_cli.core.store.packs import Packs
from mlops_cli.core.store.protocol import ObjectCorrupt, ObjectMissing
from mlops_cli.core.store.stable import SMALL_BYTES, read_all, read_small, read_stable

REFILL = "run `mlo pull`, or add the data again"
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
        self.folder = CacheFolder(cache)
        self.temporary = self.folder.temporary
        self.packs = Packs(os.path.join(cache, "packs"))
        self.loose = Loose(os.path.join(cache, "objects"))
        self._hex = hex_function(algorithm)
        self._batch: Batch | None = None

    # -- putting -------------------------------------------------------------------------------------------

    def put_bytes(self, data: bytes) -> Digest:
        """Keep some bytes; durable on return, or at the end of the batch."""
        return Digest.parse(self.put_text(data))

    def put_text(self, data: bytes) -> str:
        """As put_bytes; returns the digest as text, which hot loops carry."""
        digest = f"{self.algorithm}:{self._hex(data)}"
        if self._batch is not None:
            self._put(digest, data)
        else:
            with self.writing():
                self._put(digest, data)
        return digest

    def put_file(self, path: Path, *, seen: Callable[[int], None] | None = None) -> Digest:
        """Keep a file's bytes. Raises ChangedWhileRead, UnsupportedFile, FileNotFoundError."""
        return Digest.parse(self.ingest(os.fsencode(path), seen=seen)[0])

    def ingest(self, path: bytes, *, seen: Callable[[int], None] | None = None) -> tuple[str, os.stat_result]:
        """Keep a file's bytes: the digest as text, and the status the file had while it was read."""
        try:
            data, status = read_small(path)
        except OSError:
            with machine_errors(f"cannot read {os.fsdecode(path)}"):
                raise
        if data is None:
            return self._ingest_large(path, seen)
        if seen is not None:
            seen(len(data))
        return self.put_text(data), status

    def put_verified(self, digest: Digest, data: bytes) -> None:
        """Keep bytes that came from elsewhere under the name they came with. Raises ObjectCorrupt, keeping nothing."""
        if hex_function(digest.algorithm)(data) != digest.hex:
            raise _not_its_bytes(digest)
        with self.writing():
            self._put(str(digest), data)

    def put_absent(self, run: Run) -> None:
        """Keep small objects that the caller verified and `missing` denied."""
        with self.batch(), machine_errors(f"cannot write to the cache {self.cache}"):
            if self._batch is not None:  # there is one now
                self._batch.put_run(run)

    def adopt(self, path: str, digest: Digest, *, hashed: str | None = None) -> None:
        """As put_verified, for a file made with `temporary`; it is moved into place, or removed if it is not good.

        `hashed` is the digest of its bytes where the caller took it while writing them.
        """
        try:
            found = hashed or f"{digest.algorithm}:{placing.hash_file(path, digest.algorithm)[0]}"
            if found != str(digest):
                raise _not_its_bytes(digest)
            size = os.stat(path).st_size
            with machine_errors(f"cannot write to the cache {self.cache}"):
                os.chmod(path, 0o444)
                self._land(path, str(digest), size)
        except BaseException:
            unlink_all([path])
            raise

    @contextlib.contextmanager
    def batch(self) -> Iterator[None]:
        """Puts inside it become durable in groups, small ones in packs, with one flush a group, not one an object.

        When it ends every object put in it is durable and visible; if it ends with an error, or dies, each of them
        is wholly there or not at all. Batches nest; the outermost counts. Not for several threads at once.
        """
        if self._batch is not None:
            yield
            return
        with self.writing():
            self._batch = Batch(self.cache, self.packs, self.loose, self.temporary)
            try:
                yield
                with machine_errors(f"cannot write to the cache {self.cache}"):
                    self._batch.flush()
            except BaseException:
                # What is whole stays, so that the same command has less to do when it is run again.
                with contextlib.suppress(OSError, MachineError):
                    self._batch.flush()
                raise
            finally:
                self._batch.abandon()
                self._batch = None

    @contextlib.contextmanager
    def writing(self, *, wait: bool = True) -> Iterator[None]:
        """Keep the collector of garbage out until what is put inside has been named. See CacheFolder.writing."""
        first = not self.folder.is_writing
        with self.folder.writing(wait=wait):
            if first:
                # What was there when this store last looked may have been collected since.
                self.packs.rescan()
                self.packs.forget_freshened()
                self.loose.forget_listings()
            yield

    @property
    def device(self) -> int:
        """The file system that temp files are made on."""
        return self.folder.device

    # -- asking --------------------------------------------------------------------------------------------

    def has(self, digest: Digest) -> bool:
        return self.size(str(digest)) is not None or self._came(str(digest))

    def size(self, digest: str) -> int | None:
        """Bytes of an object as it lies there; None if there is none."""
        if self._batch is not None and self._batch.holds(digest):
            path = self._batch.path(digest)
            return os.stat(path).st_size if path is not None else len(self._batch.read(digest) or b"")
        place = self.packs.find(digest)
        return place.length if place is not None else self.loose.size(digest)

    def missing(self, digests: Iterable[str]) -> set[str]:
        """Those that are not here. Many are answered from tables and listings."""
        wanted = set(digests)
        if len(wanted) <= _MANY:
            return {digest for digest in wanted if self.size(digest) is None and not self._came(digest)}
        tables = {algorithm: self.packs.table(algorithm) for algorithm in {d.partition(":")[0] for d in wanted}}
        unpacked = [d for d in wanted if bytes.fromhex(d.partition(":")[2]) not in tables[d.partition(":")[0]]]
        absent = self.loose.absent(unpacked)
        if absent and self.packs.rescan():
            return self.missing(absent)
        return {d for d in absent if not self._batch.holds(d)} if self._batch is not None else absent

    def has_all(self, algorithm: str, raw_digests: Iterable[bytes]) -> bool:
        """Whether every one of many objects is here."""
        packed = self.packs.table(algorithm)
        return all(raw in packed or self.size(f"{algorithm}:{raw.hex()}") is not None for raw in raw_digests)

    def read(self, digest: Digest) -> bytes:
        """The bytes, verified. Raises ObjectMissing, ObjectCorrupt."""
        wanted, met = hex_function(digest.algorithm), False
        for data in self._found(str(digest)):
            if wanted(data) == digest.hex:
                return data
            met = True
        raise self.corrupt(digest) if met else self.absent(digest)

    def open(self, digest: Digest) -> BinaryIO:
        """The bytes as a file to read here and there, not verified. Raises ObjectMissing."""
        with machine_errors(f"cannot read the cache {self.cache}"):
            with contextlib.suppress(FileNotFoundError, NotADirectoryError):
                return open(self._located(str(digest)), "rb")
            for data in self._found(str(digest)):
                return io.BytesIO(data)
        raise self.absent(digest)

    def verify(self, digest: Digest, *, seen: Callable[[int], None] | None = None) -> int:
        """Read an object through; its size in bytes. Raises ObjectMissing, ObjectCorrupt."""
        if self.loose.size(str(digest)) is None:
            data = self.read(digest)
            if seen is not None:
                seen(len(data))
            return len(data)
        with machine_errors(f"cannot read the cache {self.cache}"):
            hexadecimal, size = placing.hash_file(self.loose.path(str(digest)), digest.algorithm, seen=seen)
        return size if hexadecimal == digest.hex else len(self.read(digest))

    def file_of(self, digest: Digest) -> Path:
        """The object as a file of its own, unpacked if need be. Raises ObjectMissing, ObjectCorrupt."""
        path = Path(self._located(str(digest)))
        if not path.exists():
            data = self.read(digest)
            with machine_errors(f"cannot write to the cache {self.cache}"), self.writing():
                temporary = self.temporary()
                write_new(temporary, data)
                self._land_now(temporary, str(digest))
        return path

    def __iter__(self) -> Iterator[Digest]:
        """Every object's digest, once or twice; files that are not named as objects are passed over."""
        self.packs.rescan()
        for index in list(self.packs.indexes.values()):
            for raw in index.raw_digests():
                yield Digest(index.algorithm, raw.hex())
        yield from self.loose

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
        """As copy_to. `new`: nothing may stand at `target`; raises FileExistsError. What lies in a pack is copied."""
        with machine_errors(f"cannot write {os.fsdecode(target)}"):
            if self.packs.find(digest) is None and not (self._batch is not None and self._batch.holds(digest)):
                with contextlib.suppress(ObjectMissing):  # packed meanwhile, or nowhere, which `read` finds out
                    source = self.loose.path(digest)
                    placing.place(self, digest, source, target, link=link, executable=executable, new=new)
                    return
            placing.place_bytes(self, self.read(Digest.parse(digest)), target, executable=executable, new=new)

    def quarantine(self, digest: Digest) -> Path | None:
        """Set a bad loose object aside, so that a good one can take its place; where it went, None if it was gone."""
        return self.folder.set_aside(self.loose.path(str(digest)), f"{digest.algorithm}-{digest.hex}")

    # -- inside --------------------------------------------------------------------------------------------

    def absent(self, digest: Digest) -> ObjectMissing:
        return ObjectMissing(f"object {digest} is not in the cache {self.cache}", hint=self.refill)

    def corrupt(self, digest: Digest) -> ObjectCorrupt:
        return ObjectCorrupt(
            f"object {digest} in the cache {self.cache} is damaged: its bytes have another digest",
            hint=f"run `mlo data fsck --repair`, which sets it aside and brings back what it can; else {self.refill}",
        )

    def _located(self, digest: str) -> str:
        """Where the bytes are if they are a file: in place, or still a temp file of the batch."""
        return (self._batch is not None and self._batch.path(digest)) or self.loose.path(digest)

    def _found(self, digest: str) -> Iterator[bytes]:
        """The bytes of an object from every place that has it, until the caller has seen enough; not verified."""
        if self._batch is not None and (data := self._batch.read(digest)) is not None:
            yield data
        with machine_errors(f"cannot read the cache {self.cache}"):
            yield from self._packed(digest)
            with contextlib.suppress(FileNotFoundError, NotADirectoryError):
                handle = os.open(self._located(digest), os.O_RDONLY | os.O_CLOEXEC)
                try:
                    data = read_all(handle, os.fstat(handle).st_size)
                finally:
                    os.close(handle)
                yield data
                return
            # Another mlo may have packed it, or packed it anew, since the packs were listed.
            if self.packs.rescan():
                yield from self._packed(digest)

    def _packed(self, digest: str) -> Iterator[bytes]:
        first = self.packs.find(digest)
        if first is None:
            return
        with contextlib.suppress(FileNotFoundError):
            yield self.packs.read(first)
        for place in self.packs.places(digest):
            if place != first:
                with contextlib.suppress(FileNotFoundError):
                    yield self.packs.read(place)

    def _came(self, digest: str) -> bool:
        """Whether another mlo has packed an object since the packs were listed."""
        return self.packs.rescan() and self.packs.find(digest) is not None

    def _holds(self, digest: str, data: bytes) -> bool:
        """Whether the object is there and good. It is compared, not trusted: a put mends a damaged object."""
        if self._batch is not None and self._batch.holds(digest):
            return True
        with machine_errors(f"cannot read the cache {self.cache}"):
            for place in self.packs.places(digest) if self.packs.find(digest) is not None else ():
                with contextlib.suppress(FileNotFoundError):
                    if self.packs.read(place) == data:
                        self.packs.freshen(place.pack.name)
                        return True
            try:
                handle = os.open(self.loose.path(digest), os.O_RDONLY | os.O_CLOEXEC)
            except (FileNotFoundError, NotADirectoryError):
                return False
            try:
                good = read_all(handle, len(data)) == data
            finally:
                os.close(handle)
        return good and self._freshened(digest)

    def _freshened(self, digest: str) -> bool:
        """Say that a loose object is needed again, so that a collection of garbage leaves it for a while."""
        with contextlib.suppress(PermissionError, FileNotFoundError):  # another user's, in a shared cache
            os.utime(self.loose.path(digest))
        return True

    def _put(self, digest: str, data: bytes) -> None:
        if self._batch is not None and len(data) <= SMALL_BYTES:
            self._put_small(self._batch, digest, data)
        elif not self._holds(digest, data):
            with machine_errors(f"cannot write to the cache {self.cache}"):
                path = self.temporary()
                write_new(path, data)
                self._land(path, digest, len(data))

    def _put_small(self, batch: Batch, digest: str, data: bytes) -> None:
        algorithm, _, hexadecimal = digest.partition(":")
        raw = bytes.fromhex(hexadecimal)
        may_be_here = raw in self.packs.table(algorithm) or self.loose.may_hold(digest)
        if batch.packs(algorithm, raw) or (may_be_here and self._holds(digest, data)):
            return
        try:
            batch.put_raw(algorithm, raw, data)
        except OSError:
            with machine_errors(f"cannot write to the cache {self.cache}"):
                raise

    def _ingest_large(self, path: bytes, seen: Callable[[int], None] | None) -> tuple[str, os.stat_result]:
        copies: list[str] = []

        def consume(handle: int, status: os.stat_result) -> str:
            copies.append(self.temporary())
            return placing.copy_in(handle, status.st_size, copies[-1], self.algorithm, seen)

        with self.writing(), machine_errors(f"cannot add {os.fsdecode(path)} to the cache {self.cache}"):
            try:
                digest, status = read_stable(path, consume)
                if not self._is_good(digest, status.st_size):
                    self._land(copies.pop(), digest, status.st_size)
                return digest, status
            finally:
                unlink_all(copies)

    def _is_good(self, digest: str, size: int) -> bool:
        """Whether a large object is there, with its bytes."""
        if self.size(digest) != size:
            return False
        algorithm, _, hexadecimal = digest.partition(":")
        with contextlib.suppress(FileNotFoundError):
            return placing.hash_file(self._located(digest), algorithm)[0] == hexadecimal and self._freshened(digest)
        return False

    def _land(self, temporary: str, digest: str, size: int) -> None:
        """Give a temp file its name; now, or with the batch it joins."""
        if self._batch is not None:
            self._batch.put_file(digest, temporary, size)
        else:
            with self.writing():
                self._land_now(temporary, digest)

    def _land_now(self, temporary: str, digest: str) -> None:
        try:
            durable.fsync_file(temporary)
            path = self.loose.ready(digest)
            os.rename(temporary, path)
        except BaseException:
            unlink_all([temporary])
            raise
        durable.fsync_folder(os.path.dirname(path))


def _not_its_bytes(digest: Digest) -> ObjectCorrupt:
    return ObjectCorrupt(
        f"the bytes that came for {digest} are not its bytes", hint="they were damaged on the way or at rest"
    )
