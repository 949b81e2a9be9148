"""What a remote holds, found out by listing it: never by asking for each object, and never from memory alone.

The one thing remembered is what an `.idx` says, which cannot change: its name is the digest of what it says.
"""

from __future__ import annotations

import contextlib
import hashlib
import re
from array import array
from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from mlops_cli.core.base.files import machine_errors, write_atomic
from mlops_cli.core.errors import IntegrityError, MachineError, MloError, NotFound
from mlops_cli.core.remotes.remote import Remote
from mlops_cli.core.store.exchange import PACKS, THREADS, in_threads, read_format
from mlops_cli.core.store.needs import ANY_SIZE, Contents
from mlops_cli.core.store.pack import PackIndex

_KEY = re.compile(rf"{PACKS}([0-9a-f]{{32}}|[0-9a-f]{{64}})\.(pack|idx)")
_FEW = 8  # up to here the folders that objects would lie in are listed, not all
_KEPT_BYTES = 1 << 27  # of indexes in memory; the others are read again when they are asked for
_SPARSE = 64
_NO_SIZE = -2


class Held(NamedTuple):
    """A pack on the remote and some rows of it. `size` is what the listing says."""

    pack: PackIndex
    size: int
    rows: array[int]


class Holdings:
    """The packs and loose objects of a remote as a listing shows them; ask `look` first.

    `facts` is a folder for copies of `.idx` values, made if need be; without one they are fetched each time.
    A pack that is not as large as its `.idx` says is doubtful: it counts as absent; what is whole in it can be read.
    """

    def __init__(
        self,
        remote: Remote,
        facts: Path | None = None,
        *,
        threads: int = THREADS,
        note: Callable[[str], None] = lambda _: None,
    ) -> None:
        self.remote = remote
        self.version = 0
        self.damaged: dict[str, str] = {}
        self._facts = facts
        self._threads = threads
        self._note = note
        self._sizes: dict[str, int] = {}  # pack -> its size in the listing
        self._doubtful: set[str] = set()
        self._kept: dict[str, tuple[PackIndex, int]] = {}
        self._kept_bytes = 0

    def look(self) -> None:
        """Ask for the format and list the packs, at once; then fetch every `.idx` that is not known yet.

        Raises RemoteError, ProjectError.
        """
        with ThreadPoolExecutor(1) as pool:
            listing = pool.submit(lambda: list(self.remote.sizes(PACKS)))
            self.version = read_format(self.remote)
            listed = listing.result()
        found: dict[str, dict[str, int]] = {"pack": {}, "idx": {}}
        for key, size in listed:
            match = _KEY.fullmatch(key)
            if match is not None:
                found[match[2]][match[1]] = size
        # Without an .idx a pack is one that a push is about to finish, or never did.
        self._sizes = {name: size for name, size in sorted(found["pack"].items()) if name in found["idx"]}
        self._forget_others()
        self._learn([name for name in self._sizes if not self._known(name)])
        for name in self._sizes:
            if name not in self.damaged and self._expected(name) != self._sizes[name]:
                self._doubtful.add(name)

    def subtract_from(self, *wanted: Contents) -> None:
        """Take out of `wanted` what the remote has whole: in a pack, or loose and of the right size."""
        for name in self._whole():
            index = self._index(name)
            for some in wanted:
                objects = some.get(index.algorithm)
                if objects:
                    for row in matches(index, objects):
                        del objects[index.digest_at(row)]
        for algorithm, sizes in self.loose(*wanted).items():
            for some in wanted:
                objects = some.get(algorithm, {})
                for raw in [raw for raw, size in sizes.items() if objects.get(raw, _NO_SIZE) in (size, ANY_SIZE)]:
                    del objects[raw]

    def packs_with(self, wanted: Mapping[str, set[bytes]], avoid: set[str], *, doubtful: bool = False) -> list[Held]:
        """Where to read objects: each in one pack, in as few packs as a simple rule finds."""
        candidates = []
        for name in sorted(self._doubtful) if doubtful else self._whole():
            if name in avoid:
                continue
            index = self._index(name)
            rows = matches(index, wanted.get(index.algorithm, set()))
            if doubtful:
                size = self._sizes[name]
                rows = array("I", (row for row in rows if index.offsets[row] + index.lengths[row] <= size))
            if rows:
                candidates.append(Held(index, self._sizes[name], rows))
        candidates.sort(key=lambda held: -len(held.rows))
        taken: dict[str, set[bytes]] = {algorithm: set() for algorithm in wanted}
        chosen = []
        for index, size, rows in candidates:
            seen = taken[index.algorithm]
            own = array("I", (row for row in rows if index.digest_at(row) not in seen)) if seen else rows
            if own:
                seen.update(index.digest_at(row) for row in own)
                chosen.append(Held(index, size, own))
        return chosen

    def promised(self, algorithm: str, raws: set[bytes]) -> set[bytes]:
        """Those that may stand in what is damaged there: all of them if an `.idx` cannot be read, else what a pack
        that is too short should hold."""
        if self.damaged:
            return set(raws)
        found: set[bytes] = set()
        for name in self._doubtful:
            index = self._index(name)
            if index.algorithm == algorithm:
                found.update(index.digest_at(row) for row in matches(index, raws))
        return found

    def faulty_keys(self) -> set[str]:
        """The keys of what turned out damaged when the remote was listed."""
        return {f"{PACKS}{name}.idx" for name in self.damaged} | {f"{PACKS}{name}.pack" for name in self._doubtful}

    def loose(self, *wanted: Mapping[str, Mapping[bytes, int]] | Mapping[str, set[bytes]]) -> Contents:
        """The loose ones among them, with their sizes as the listing has them."""
        found: Contents = {algorithm: {} for some in wanted for algorithm in some}
        folders: set[str] = set()
        for algorithm in found:
            groups = [some[algorithm] for some in wanted if algorithm in some]
            if sum(map(len, groups)) <= _FEW:
                folders |= {f"objects/{algorithm}/{raw[:1].hex()}/" for group in groups for raw in group}
            else:
                folders.add(f"objects/{algorithm}/")
        for _, keys in in_threads(
            lambda folder: list(self.remote.sizes(folder)), sorted(folders), threads=self._threads
        ):
            if isinstance(keys, Exception):
                raise keys
            for key, size in keys:
                _, algorithm, *rest = key.split("/")
                with contextlib.suppress(ValueError):  # other things may lie there, which are nobody's object
                    raw = bytes.fromhex("".join(rest)) if len(rest) == 2 and len(rest[0]) == 2 else b""
                    if any(raw in some.get(algorithm, ()) for some in wanted):
                        found[algorithm][raw] = size
        return found

    # -- inside --------------------------------------------------------------------------------------------

    def _whole(self) -> Iterator[str]:
        return (name for name in self._sizes if name not in self._doubtful and name not in self.damaged)

    def _index(self, name: str) -> PackIndex:
        known = self._kept.get(name)
        if known is None:
            found = self._read_fact(name)
            if found is None:
                found = PackIndex.from_idx(self.remote.get(f"{PACKS}{name}.idx"), name)
            known = self._keep(name, *found)
        return known[0]

    def _expected(self, name: str) -> int:
        known = self._kept.get(name)
        if known is None:
            found = self._read_fact(name)
            return found[1] if found is not None else -1
        return known[1]

    def _keep(self, name: str, index: PackIndex, size: int) -> tuple[PackIndex, int]:
        weight = len(index.digests) + 8 * len(index)
        if self._facts is None or self._kept_bytes + weight <= _KEPT_BYTES:
            self._kept[name] = index, size
            self._kept_bytes += weight
        return index, size

    def _known(self, name: str) -> bool:
        """Whether there is a good copy of an `.idx` here that agrees with the listing."""
        found = self._read_fact(name)
        # One that does not agree is fetched again: its copy here may be the wrong one.
        if found is None or found[1] != self._sizes[name]:
            return False
        self._keep(name, *found)
        return True

    def _read_fact(self, name: str) -> tuple[PackIndex, int] | None:
        if self._facts is None:
            return None
        try:
            return PackIndex.from_idx((self._facts / f"{name}.idx").read_bytes(), name, strict=False)
        except (OSError, IntegrityError):
            return None

    def _learn(self, names: list[str]) -> None:
        """Fetch `.idx` values, and keep good ones here."""

        def fetch(name: str) -> bytes | None:
            with contextlib.suppress(NotFound):  # collected since it was listed
                return self.remote.get(f"{PACKS}{name}.idx")
            return None

        # Read one after another: while it is checked, an index takes several times its size.
        for name, data in in_threads(fetch, names, threads=self._threads, most=self._threads):
            if isinstance(data, MloError):
                raise data
            if data is None:
                del self._sizes[name]
                continue
            try:
                self._keep(name, *PackIndex.from_idx(data, name))
            except IntegrityError as error:
                self.damaged[name] = error.message
                self._note(f"{PACKS}{name}.idx on remote {self.remote.name} is damaged and not used: {error.message}")
                continue
            if self._facts is not None:
                # A copy that cannot be kept is fetched again next time.
                with contextlib.suppress(MachineError, OSError), machine_errors("cannot keep an index"):
                    self._facts.mkdir(parents=True, exist_ok=True)
                    write_atomic(self._facts / f"{name}.idx", data, durable=False)

    def _forget_others(self) -> None:
        """Copies of what the listing no longer shows."""
        if self._facts is None:
            return
        with contextlib.suppress(OSError):
            for path in self._facts.glob("*.idx"):
                if path.stem not in self._sizes:
                    path.unlink(missing_ok=True)


def matches(index: PackIndex, wanted: Mapping[bytes, int] | set[bytes]) -> array[int]:
    """The rows of a pack that hold one of these."""
    if len(wanted) * _SPARSE < len(index):
        found = array("I")
        for raw in wanted:
            at = bisect_left(range(len(index)), raw, key=index.digest_at)
            if at < len(index) and index.digest_at(at) == raw:
                found.append(at)
        return found
    return array("I", (row for row, raw in enumerate(index.raw_digests()) if raw in wanted))


def facts_folder(private: Path, remote: Remote) -> Path:
    """Where a project keeps copies of a remote's `.idx` values; `private` is the project's `.mlo`."""
    return private / "remotes" / hashlib.sha256(remote.url.encode()).hexdigest()[:16]
