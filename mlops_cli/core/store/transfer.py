"""Objects between the store and a remote. The keys of a remote are those of the cache; see FORMAT.md, "Remote".

Content goes before the trees that name it, and trees before their parents, so a tree on a remote has all it needs
however a push ended. Everything that comes back is verified before it is kept.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec

from mlops_cli.core.base.digest import Digest
from mlops_cli.core.base.progress import Progress, Silent
from mlops_cli.core.base.records import Entry
from mlops_cli.core.errors import IntegrityError, MloError, NotFound
from mlops_cli.core.remotes.remote import Remote
from mlops_cli.core.store.exchange import THREADS, Transfer, check_format, in_threads, object_key
from mlops_cli.core.store.local import LocalStore
from mlops_cli.core.store.protocol import ObjectCorrupt, ObjectMissing
from mlops_cli.core.store.tree import DIR, FILE, TreeEntry, read_tree, walk_bytes

LARGE_BYTES = 1 << 20  # above this an object goes by file, not through memory
_FEW = 32

# -- push --------------------------------------------------------------------------------------------------------


class _Part(msgspec.Struct):
    """What one entry needs on the remote: object sizes, and trees by the greatest depth they are met at."""

    name: str
    contents: dict[str, int]
    trees: dict[str, int]
    paths: dict[str, str]


def push_objects(
    store: LocalStore,
    remote: Remote,
    entries: Mapping[str, Entry] | Iterable[Entry],
    *,
    progress: Progress | None = None,
) -> Transfer:
    """Send everything the entries (path -> entry) need and the remote lacks. Raises RemoteError.

    An entry for which an object is neither here nor there, or is damaged here, is not sent as a folder: its trees
    stay behind, and Transfer names the paths.
    """
    check_format(remote, write=True)
    missing: list[str] = []
    parts = [
        part for name, entry in _named(entries) if (part := _part(store, remote, name, entry, missing)) is not None
    ]
    wanted = {digest: size for part in parts for digest, size in (part.contents | _tree_sizes(store, part)).items()}
    there = _sizes_there(remote, wanted)
    todo = {digest for digest, size in wanted.items() if there.get(digest) != size}
    absent = store.missing(todo) - there.keys()
    broken = _push_level(store, remote, [d for d in _contents(parts) if d in todo - absent], progress)
    if todo:
        remote.settle()
    bad = absent | broken
    good = [part for part in parts if not bad & (part.contents.keys() | part.trees.keys())]
    for depth in sorted({depth for part in good for depth in part.trees.values()}, reverse=True):
        level = [digest for part in good for digest, at in part.trees.items() if at == depth and digest in todo]
        broken |= _push_level(store, remote, list(dict.fromkeys(level)), progress)
    if todo:
        remote.settle()
    sent = (todo - absent - broken) - {d for p in parts if p not in good for d in p.trees}
    return Transfer(
        len(sent),
        sum(wanted[digest] for digest in sent),
        len(wanted) - len(todo),
        missing + [part.paths[digest] for part in parts for digest in sorted(absent & part.paths.keys())],
        [part.paths[digest] for part in parts for digest in sorted(broken & part.paths.keys())],
    )


def push_digests(
    store: LocalStore, remote: Remote, digests: Iterable[str], *, progress: Progress | None = None
) -> Transfer:
    """Send single objects, such as profiles and manifests."""
    return push_objects(store, remote, {d: Entry(d, "file", store.size(d) or 0) for d in digests}, progress=progress)


def _named(entries: Mapping[str, Entry] | Iterable[Entry]) -> list[tuple[str, Entry]]:
    if isinstance(entries, Mapping):
        return list(entries.items())
    return [(entry.digest, entry) for entry in entries]


def _part(store: LocalStore, remote: Remote, name: str, entry: Entry, missing: list[str]) -> _Part | None:
    part = _Part(name, {}, {}, {entry.digest: name})
    if entry.kind == "file":
        part.contents[entry.digest] = entry.size
        return part
    part.trees[entry.digest] = 0
    try:
        for path, found in walk_bytes(store, entry):
            part.paths.setdefault(found.digest, f"{name}/{os.fsdecode(path)}")
            if found.mode == DIR:
                part.trees[found.digest] = max(part.trees.get(found.digest, 0), path.count(b"/") + 1)
            else:
                part.contents[found.digest] = found.size
    except ObjectMissing:
        # A clone that never pulled: the remote may well have the whole folder, since trees arrive last.
        if not remote.exists(object_key(entry.digest)):
            missing.append(name)
        return None
    return part


def _tree_sizes(store: LocalStore, part: _Part) -> dict[str, int]:
    return {digest: store.size(digest) or 0 for digest in part.trees}


def _contents(parts: list[_Part]) -> list[str]:
    return list(dict.fromkeys(digest for part in parts for digest in part.contents))


def _sizes_there(remote: Remote, wanted: Mapping[str, int]) -> dict[str, int]:
    """Size on the remote of each wanted object it has. By listing: asking for each costs a round trip each."""
    there: dict[str, int] = {}
    digest_of = {object_key(digest): digest for digest in wanted}
    if len(wanted) <= _FEW:
        folders = {object_key(digest).rpartition("/")[0] + "/" for digest in wanted}
    else:
        folders = {f"objects/{digest.partition(':')[0]}/" for digest in wanted}
    with ThreadPoolExecutor(THREADS) as pool:
        for found in pool.map(lambda folder: list(remote.sizes(folder)), sorted(folders)):
            for key, size in found:
                if key in digest_of:  # other things may lie there, which are nobody's object
                    there[digest_of[key]] = size
    return there


def _push_level(store: LocalStore, remote: Remote, digests: list[str], progress: Progress | None) -> set[str]:
    """Send objects in any order; those that turned out damaged here."""
    progress = progress or Silent()

    def send(digest: str) -> int:
        size = store.size(digest) or 0
        if size > LARGE_BYTES:
            store.verify(Digest.parse(digest))
            remote.put_file(object_key(digest), store.file_of(Digest.parse(digest)))
        else:
            remote.put(object_key(digest), store.read(Digest.parse(digest)))
        return size

    broken = set()
    progress.begin(f"pushing to {remote.name}", sum(store.size(digest) or 0 for digest in digests), "bytes")
    try:
        for digest, size in in_threads(send, digests):
            if isinstance(size, int):
                progress.advance(size)
            elif isinstance(size, ObjectCorrupt | ObjectMissing):
                broken.add(digest)
            else:
                raise size
    finally:
        progress.end()
    return broken


# -- pull --------------------------------------------------------------------------------------------------------


def pull_objects(
    store: LocalStore,
    remote: Remote,
    entries: Mapping[str, Entry] | Iterable[Entry],
    *,
    progress: Progress | None = None,
) -> Transfer:
    """Bring everything the entries (path -> entry) need and the store lacks. Raises RemoteError.

    What the remote lacks or holds damaged is named in Transfer; the rest comes all the same, and nothing that fails
    its digest is kept.
    """
    check_format(remote, write=False)
    progress = progress or Silent()
    puller = _Puller(store, remote, progress)
    with store.batch():
        level = [(name, _as_item(entry)) for name, entry in _named(entries)]
        while level:
            puller.fetch([(name, item) for name, item in level if item.mode == DIR])
            puller.wait_for([(name, item) for name, item in level if item.mode != DIR])
            level = [below for name, item in level if item.mode == DIR for below in puller.children(name, item)]
        puller.fetch(puller.contents)
    return puller.transfer


def pull_digests(
    store: LocalStore, remote: Remote, digests: Iterable[str], *, progress: Progress | None = None
) -> Transfer:
    """Bring single objects, such as profiles and manifests."""
    return pull_objects(store, remote, {digest: Entry(digest, "file", 0) for digest in digests}, progress=progress)


def _as_item(entry: Entry) -> TreeEntry:
    return TreeEntry(b"", DIR if entry.kind == "dir" else FILE, entry.digest, entry.size, entry.files)


class _Puller:
    def __init__(self, store: LocalStore, remote: Remote, progress: Progress) -> None:
        self._store = store
        self._remote = remote
        self._progress = progress
        self._seen: set[str] = set()
        self._objects = self._bytes = self._present = 0
        self._missing: list[str] = []
        self._corrupt: list[str] = []
        self.contents: list[tuple[str, TreeEntry]] = []

    @property
    def transfer(self) -> Transfer:
        return Transfer(self._objects, self._bytes, self._present, self._missing, self._corrupt)

    def wait_for(self, items: list[tuple[str, TreeEntry]]) -> None:
        """Contents come after all trees, so that their total is known when the progress bar starts."""
        self.contents.extend(items)

    def children(self, name: str, item: TreeEntry) -> Iterator[tuple[str, TreeEntry]]:
        """What a folder holds; nothing if its tree did not come. A tree met twice is opened once."""
        if item.digest in self._seen:
            return
        self._seen.add(item.digest)
        try:
            found = read_tree(self._store, item)
        except ObjectMissing:
            return  # named already
        except IntegrityError:
            self._corrupt.append(name)
            return
        for below in found:
            yield f"{name}/{os.fsdecode(below.name)}", below

    def fetch(self, items: list[tuple[str, TreeEntry]]) -> None:
        names: dict[str, list[str]] = {}
        sizes: dict[str, int] = {}
        for name, item in items:
            names.setdefault(item.digest, []).append(name)
            sizes[item.digest] = item.size if item.mode != DIR else 0
        absent = self._store.missing(names)
        self._present += len(names) - len(absent)
        if not absent:
            return
        self._progress.begin(f"pulling from {self._remote.name}", sum(sizes[digest] for digest in absent), "bytes")
        try:
            for digest, came in in_threads(lambda digest: self._bring(digest, sizes[digest]), sorted(absent)):
                self._keep(digest, came, names[digest])
        finally:
            self._progress.end()

    def _bring(self, digest: str, size: int) -> bytes | Path:
        """In a thread: the bytes, or the file they were written to, not verified yet."""
        key = object_key(digest)
        if size <= LARGE_BYTES:
            return self._remote.get(key)
        path = Path(self._store.temporary())
        try:
            self._remote.get_file(key, path)
        except BaseException:
            path.unlink(missing_ok=True)
            raise
        return path

    def _keep(self, digest: str, came: bytes | Path | MloError, names: list[str]) -> None:
        try:
            if isinstance(came, MloError):
                raise came
            if isinstance(came, Path):
                size = came.stat().st_size
                self._store.adopt(str(came), Digest.parse(digest))
            else:
                size = len(came)
                self._store.put_verified(Digest.parse(digest), came)
        except NotFound:
            self._missing.extend(names)
        except ObjectCorrupt:
            self._corrupt.extend(names)
        else:
            self._progress.advance(size)
            self._objects += 1
            self._bytes += size
