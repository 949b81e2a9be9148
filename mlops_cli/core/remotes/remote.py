"""What a remote promises: bytes under keys, in a folder or a bucket that other machines reach too."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Protocol

import msgspec

from mlops_cli.core.errors import IntegrityError, RemoteError

TEMPORARY = "tmp"  # where a backend without atomic puts writes first; no key


class Fact(msgspec.Struct, frozen=True):
    """Something about where a remote is, or as whom mlo comes there: `endpoint`, `identity`, `path`."""

    name: str
    value: str


class Unsupported(RemoteError):
    """This backend cannot do that safely."""

    code = "unsupported"


class ShortAnswer(RemoteError):
    """Fewer bytes came than the value should have, or others: it suffered on its way, or is damaged where it lies."""

    code = "short_answer"


class Remote(Protocol):
    """Keys are relative paths with forward slashes; `tmp/` is the remote's own.

    A put shows the whole value or nothing, and is durable after `settle`; put_if_absent is durable on return and
    exactly one of several racing callers gets True. What get returns is not verified: who knows the digest does that.
    Every failure of the backend is a RemoteError that names the remote and its URL; an absent key is NotFound.
    Several threads may call one remote.
    """

    name: str
    url: str  # for people: without passwords
    is_shared: bool  # people write there who need not be trusted: `trust: shared`

    def facts(self) -> list[Fact]:
        """Where it is and as whom mlo comes there, without secrets. Raises RemoteError if that cannot be found out."""
        ...

    def require_create(self) -> None:
        """Raises Unsupported where put_if_absent would. A bucket is asked once whether it honours conditions."""
        ...

    def put_if_absent(self, key: str, data: bytes) -> bool:
        """Create the key, or answer False if it exists. Raises Unsupported where no atomic create is proven."""
        ...

    def put(self, key: str, data: bytes) -> None: ...

    def put_file(self, key: str, path: Path) -> None: ...

    def get(self, key: str) -> bytes: ...

    def get_file(self, key: str, target: Path) -> None:
        """Write the value to `target`, which the caller made up; on an error part of it may stand there."""
        ...

    def get_range(self, key: str, start: int, length: int) -> bytes:
        """Exactly `length` bytes of the value from byte `start`, in one request. Raises ShortAnswer, NotFound."""
        ...

    def local_file(self, key: str) -> Path | None:
        """The file that holds the value, where that is a file of this machine; whether it is there is not asked."""
        ...

    def list(self, prefix: str = "") -> Iterator[str]:
        """The keys that begin with `prefix`, sorted. `prefix` is empty or ends where a name ends: `runs/`."""
        ...

    def sizes(self, prefix: str = "") -> Iterator[tuple[str, int]]:
        """As list, with the size in bytes of each value."""
        ...

    def modified(self, prefix: str = "") -> dict[str, float]:
        """When each value was written, in Unix time by the remote's clock; without those it does not know it of."""
        ...

    def exists(self, key: str) -> bool: ...

    def delete(self, key: str) -> None:
        """Remove a key; one that is absent already is no error."""
        ...

    def settle(self) -> None:
        """Return when everything put so far would survive a power cut of the machine that holds it."""
        ...

    def sweep(self) -> int:
        """Remove temp files that writers left a day or longer ago; how many."""
        ...

    def create(self) -> None:
        """Make the place if it is a folder; a bucket is made by whoever pays for it."""
        ...


def checked_key(key: str) -> str:
    """The key, if it stays inside the remote. Raises IntegrityError."""
    pure = PurePosixPath(key)
    if not key or "\0" in key or "\\" in key or pure.is_absolute() or ".." in pure.parts or str(pure) != key:
        raise IntegrityError(f"{key!r} is not a key of a remote", hint="the file that names it was altered")
    return key


def checked_range(start: int, length: int) -> None:
    """Raises IntegrityError for a range that no value has."""
    if start < 0 or length < 0:
        raise IntegrityError(f"{length} bytes from byte {start} is no range", hint="the index that says so was altered")


def exactly(data: bytes, start: int, length: int, *, of: str) -> bytes:
    """The answer to a ranged get, if it is whole. Raises ShortAnswer."""
    if len(data) != length:
        raise short_answer(start, length, len(data), of=of)
    return data


def short_answer(start: int, length: int, came: int, *, of: str) -> ShortAnswer:
    return ShortAnswer(
        f"{of}: asked for {length:,} bytes from byte {start:,}, {came:,} came",
        hint="run the same command again; if the value is damaged on the remote, push it again from where it is",
    )
