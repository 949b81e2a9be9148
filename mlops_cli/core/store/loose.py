"""Objects that are files of their own: where they lie, and which there are."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator

from mlops_cli.core.base import durable
from mlops_cli.core.base.digest import Digest
from mlops_cli.core.errors import IntegrityError


class Loose:
    """The files below `folder`: `<algorithm>/<first 2 hex>/<other hex>`, read-only."""

    def __init__(self, folder: str) -> None:
        self.folder = folder
        self._made: set[str] = set()
        self._listings: dict[str, frozenset[str]] = {}

    def path(self, digest: str) -> str:
        algorithm, _, hexadecimal = digest.partition(":")
        return f"{self.folder}/{algorithm}/{hexadecimal[:2]}/{hexadecimal[2:]}"

    def size(self, digest: str) -> int | None:
        """Bytes of an object as it lies there; None if there is none."""
        try:
            return os.stat(self.path(digest)).st_size
        except (FileNotFoundError, NotADirectoryError):
            return None

    def absent(self, digests: Iterable[str]) -> set[str]:
        """Those that are not here, from listings of the folders they would lie in."""
        folders: dict[str, frozenset[str]] = {}
        missing = set()
        for digest in digests:
            folder, _, name = self.path(digest).rpartition("/")
            if folder not in folders:
                folders[folder] = frozenset(listing(folder))
            if name not in folders[folder]:
                missing.add(digest)
        return missing

    def may_hold(self, digest: str) -> bool:
        """Whether the object was there when its folder was first listed: cheap, and wrong only for what came since."""
        at = digest.index(":") + 3
        found = self._listings.get(digest[:at])
        if found is None:
            found = self._listings[digest[:at]] = frozenset(listing(os.path.dirname(self.path(digest))))
        return digest[at:] in found

    def forget_listings(self) -> None:
        """Look again before saying what may be there."""
        self._listings.clear()

    def ready(self, digest: str) -> str:
        """The path for a new object, its folder made durable if it is new."""
        path = self.path(digest)
        folder = os.path.dirname(path)
        if folder not in self._made:
            if not os.path.isdir(folder):
                durable.make_folders(folder)
            self._made.add(folder)
        return path

    def __iter__(self) -> Iterator[Digest]:
        """Every object's digest; files that are not named as objects are passed over."""
        for algorithm in listing(self.folder):
            for prefix in listing(os.path.join(self.folder, algorithm)):
                for rest in listing(os.path.join(self.folder, algorithm, prefix)):
                    with contextlib.suppress(IntegrityError):
                        yield Digest(algorithm, prefix + rest)


def listing(folder: str) -> list[str]:
    """The names in a folder, sorted; none if there is no such folder."""
    try:
        return sorted(os.listdir(folder))
    except (FileNotFoundError, NotADirectoryError):
        return []
