"""What a store of objects promises, and what can go wrong with an object. The format stands in FORMAT.md."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from mlops_cli.core.base.digest import Digest
from mlops_cli.core.errors import IntegrityError, NotFound, ProjectError


class ObjectMissing(NotFound):
    """No object has that digest here."""

    code = "object_missing"


class ObjectCorrupt(IntegrityError):
    """An object's bytes are not those its digest names."""

    code = "object_corrupt"


class ChangedWhileRead(ProjectError):
    """Something wrote to a file while mlo read it, and went on doing so."""

    code = "changed_while_read"


class UnsupportedFile(ProjectError):
    """A socket, a FIFO, a device, a nested repository: not something with bytes to keep."""

    code = "unsupported_file"


class ObjectStore(Protocol):
    """Bytes by the digest of their content.

    put returns only when the bytes are durable, and leaves a good object even where a damaged one stood.
    read returns exactly the bytes that the digest names, or raises: ObjectMissing, ObjectCorrupt.
    Objects never change; any number of processes may put, read and list at once.
    """

    def put_bytes(self, data: bytes) -> Digest: ...
    def put_file(self, path: Path) -> Digest: ...
    def has(self, digest: Digest) -> bool: ...
    def read(self, digest: Digest) -> bytes: ...
    def __iter__(self) -> Iterator[Digest]: ...
