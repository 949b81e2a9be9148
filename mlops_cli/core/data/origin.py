"""What every source of `mlo data get` offers: a look at what it holds now, and its bytes."""

from __future__ import annotations

from typing import Protocol

import msgspec

from mlops_cli.core.base.records import Entry
from mlops_cli.core.project.lock import SourceLock
from mlops_cli.core.store.local import LocalStore


class State(msgspec.Struct, frozen=True):
    """What a source says it holds, as far as it says anything. `digest` is by its own algorithm."""

    digest: str | None = None
    size: int | None = None
    commit: str | None = None
    etag: str | None = None
    modified: str | None = None

    def is_as(self, source: SourceLock) -> bool | None:
        """Whether it is what was brought before; None if only the bytes could tell."""
        if self.commit is not None and self.commit == source.commit:
            return True
        if self.digest is not None:
            return self.digest == (source.digest_there or source.digest)
        if self.etag is not None and source.etag is not None:
            return self.etag == source.etag
        if self.modified is not None and source.modified is not None:
            return (self.modified, self.size) == (source.modified, source.size)
        return None

    def record(self, entry: Entry, *, url: str, path: str | None, rev: str | None) -> SourceLock:
        """What mlo.lock says of where `entry` came from."""
        there = self.digest if self.digest != entry.digest else None
        return SourceLock(
            url,
            entry.digest,
            entry.size,
            path=path,
            rev=rev,
            commit=self.commit,
            digest_there=there,
            etag=self.etag,
            modified=self.modified,
        )


class Origin(Protocol):
    """One source. Raises NotFound where it does not hold what it should, RemoteError where it cannot be read."""

    def look(self, before: SourceLock | None = None) -> State:
        """What it holds now, without its bytes; as little is asked as tells it from `before`."""
        ...

    def bring(self, store: LocalStore) -> tuple[Entry, State]:
        """Put its bytes into the store, by the store's algorithm; what they are, and what the source was then."""
        ...
