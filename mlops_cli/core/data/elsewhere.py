"""Another mlo project, read where it lies: what its mlo.lock says of a path, and the objects of that.

Its files are read as hostile: names are checked as those of our own mlo.lock are, bytes by their digests, and of the
options that its remotes carry only those are used that cannot run or read anything here.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any, Protocol

import msgspec

from mlops_cli.core.base.digest import Digest, digest_file
from mlops_cli.core.base.files import user_path
from mlops_cli.core.base.names import name_some
from mlops_cli.core.base.progress import Progress
from mlops_cli.core.base.records import Entry
from mlops_cli.core.data import names
from mlops_cli.core.data.planting import plant
from mlops_cli.core.data.repository import Blob, Repository
from mlops_cli.core.errors import IntegrityError, MloError, NotFound, ProjectError, RemoteError, UsageError
from mlops_cli.core.project.load import FILE_NAME, Source, convert
from mlops_cli.core.project.lock import Lock, parse_lock
from mlops_cli.core.project.schema import Project, RemoteConfig
from mlops_cli.core.remotes.open import folder_of, open_remote
from mlops_cli.core.remotes.remote import Remote
from mlops_cli.core.store.exchange import Forgeable
from mlops_cli.core.store.local import LocalStore
from mlops_cli.core.store.protocol import ObjectCorrupt, ObjectMissing
from mlops_cli.core.store.transfer import pull_digests, pull_objects
from mlops_cli.core.store.tree import DIR, EXEC, FILE, LINK, TreeEntry, item_of, read_tree, walk_bytes

LOCK_NAME = "mlo.lock"
LARGE_BYTES = 1 << 20  # above this a file goes by file, not through memory
_OPTIONS = frozenset({"endpoint_url", "anon", "region", "region_name", "requester_pays", "account_name", "project"})
_POINTER = b"version https://git-lfs.github.com/spec/"


class Tree(Protocol):
    """The files of a project at one state, by their paths below its top."""

    shown: str
    commit: str | None
    folder: Path | None  # where it lies on this machine, its caches included; None if it was fetched from afar

    def text(self, path: str) -> bytes | None: ...
    def files(self, path: str) -> dict[bytes, Blob]: ...
    def contents(self, blobs: list[Blob]) -> Iterator[Callable[[int], bytes]]: ...


class CommitTree:
    """A commit of a git repository."""

    def __init__(self, repository: Repository, commit: str, folder: Path | None) -> None:
        self._repository = repository
        self.shown = repository.shown
        self.commit: str | None = commit
        self.folder = folder

    def text(self, path: str) -> bytes | None:
        return self._repository.text(self.commit or "", path)

    def files(self, path: str) -> dict[bytes, Blob]:
        return self._repository.files(self.commit or "", path)

    def contents(self, blobs: list[Blob]) -> Iterator[Callable[[int], bytes]]:
        return self._repository.contents(blobs)


class FolderTree:
    """A project outside git, as it stands. What its mlo.lock does not name is nobody's promise, and not given."""

    commit: str | None = None

    def __init__(self, folder: Path, shown: str) -> None:
        self.folder: Path | None = folder
        self.shown = shown
        self._top = folder

    def text(self, path: str) -> bytes | None:
        try:
            return (self._top / path).read_bytes()
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            return None

    def files(self, path: str) -> dict[bytes, Blob]:
        return {}

    def contents(self, blobs: list[Blob]) -> Iterator[Callable[[int], bytes]]:
        return iter(())


class Elsewhere:
    """What one path of another project is: an entry of its mlo.lock or a part of one, files of git, or both."""

    def __init__(self, tree: Tree, path: str, *, scratch: Path, progress: Progress) -> None:
        self._tree = tree
        self._scratch = scratch
        self._progress = progress
        self._path = path
        self._top, self._project, self._lock = self._find()
        self._name = path[len(self._top) :].lstrip("/")
        owner = names.owner_of(self._name, self._lock.entries)
        below = [name for name in self._lock.entries if name.startswith(self._name + "/")]
        self.entry = self._lock.entries[owner] if owner is not None else None
        self._owner = owner
        self._below = {name: self._lock.entries[name] for name in below}
        self._blobs = {} if owner is not None else tree.files(path)
        if owner is None and not self._below and not self._blobs:
            raise self._unknown()

    @property
    def is_entry(self) -> bool:
        return self._owner is not None

    @property
    def algorithm(self) -> str | None:
        """What its entries there are named by; None if git alone has it."""
        first = self.entry or next(iter(self._below.values()), None)
        return first.name.algorithm if first is not None else None

    def part(self, store: LocalStore) -> Entry:
        """The entry that the path is, or the part of one; brings no more than the trees on the way to it."""
        if self._owner is None or self.entry is None:
            raise ProjectError(f"{self._path} is no entry", hint="bring it")
        found = self.entry
        for step in filter(None, names.inside(self._name, self._owner).split(b"/")):
            if found.kind != "dir":
                raise self._unknown()
            self._supply(store, {self._owner: found}, trees_only=True)
            item = next((item for item in read_tree(store, found) if item.name == step), None)
            if item is None:
                raise self._unknown()
            if item.mode == LINK:
                raise ProjectError(f"{self._path} is a link there", hint="get what it points to")
            found = item.entry
        return found

    def bring(self, store: LocalStore) -> Entry:
        """Put all that the path is into `store`, whose algorithm is the entries'."""
        if self.is_entry:
            part = self.part(store)
            self._supply(store, {self._path: part})
            if part.kind == "file" and store.size(part.digest) != part.size:
                raise IntegrityError(
                    f"{self._tree.shown} says that {self._path} has {part.size} bytes; its object has another size",
                    hint="its mlo.lock was altered; mend it there",
                )
            return item_of(part).entry
        if b"" in self._blobs:
            return self._copy(store, {b"": self._blobs[b""]})[b""].entry
        items = self._copy(store, self._blobs)
        self._supply(store, self._below)
        start = len(self._name) + 1 if self._name else 0
        items.update({os.fsencode(name[start:]): item_of(entry) for name, entry in self._below.items()})
        return plant(store, items)

    # -- inside --------------------------------------------------------------------------------------------

    def _find(self) -> tuple[str, Project | None, Lock]:
        """The nearest project around the path: its folder, its mlo.yaml and its mlo.lock."""
        for folder in (self._path, *(parent.as_posix() for parent in PurePosixPath(self._path).parents)):
            top = "" if folder == "." else folder
            data = self._tree.text(f"{top}/{FILE_NAME}" if top else FILE_NAME)
            if data is None:
                continue
            if top == self._path:
                raise UsageError(f"{top or self._tree.shown} is a whole project", hint="say which path of it you want")
            lock = self._tree.text(f"{top}/{LOCK_NAME}" if top else LOCK_NAME)
            return top, self._read_project(data), self._read_lock(lock)
        return "", None, Lock()

    def _read_project(self, data: bytes) -> Project:
        """Only what says where its objects are; the rest of mlo.yaml may be of any later version."""
        place = self._scratch / FILE_NAME
        place.write_bytes(data)
        source = Source(place)
        wanted: dict[str, Any] = {key: source.document[key] for key in ("remotes", "cache") if key in source.document}
        return convert({"name": "elsewhere", **wanted}, [source])

    def _read_lock(self, data: bytes | None) -> Lock:
        try:
            return Lock() if data is None else parse_lock(data.decode(), self._scratch / LOCK_NAME)
        except UnicodeDecodeError as error:
            raise IntegrityError(
                f"mlo.lock of {self._tree.shown} is not UTF-8: {error}", hint="mend it there"
            ) from None
        except MloError as error:
            raise type(error)(f"{self._tree.shown}: {error.message}", hint="mend it there") from None

    def _unknown(self) -> NotFound:
        at = f" at {self._tree.commit[:12]}" if self._tree.commit else ""
        held = name_some(sorted(self._lock.entries)) or "nothing"
        where = "commit mlo.lock there if it is new" if self._tree.commit else f"mlo data add {shlex.quote(self._name)}"
        return NotFound(
            f"{self._tree.shown} has no {self._path}{at}; its mlo.lock names {held}", hint=f"check the path; {where}"
        )

    def _copy(self, store: LocalStore, blobs: Mapping[bytes, Blob]) -> dict[bytes, TreeEntry]:
        """Files that git tracks, into the store."""
        items = {}
        with store.batch():
            for (path, blob), read in zip(blobs.items(), self._tree.contents(list(blobs.values())), strict=True):
                name = os.fsdecode(path) or self._path
                if blob.mode == "160000":
                    raise ProjectError(f"{name} is a submodule in {self._tree.shown}", hint="get it from its own URL")
                data = read(blob.size) if blob.size <= LARGE_BYTES else None
                if data is not None and data.startswith(_POINTER):
                    raise ProjectError(
                        f"{name} lies in Git LFS, which mlo does not read", hint="clone it with git lfs, then copy it"
                    )
                mode = {"100755": EXEC, "120000": LINK}.get(blob.mode, FILE)
                if mode == LINK and not path:
                    raise ProjectError(f"{name} is a link there", hint="get what it points to")
                digest = str(store.put_bytes(data)) if data is not None else _stream(store, read)
                items[path] = TreeEntry(path, mode, digest, blob.size)
        return items

    def _supply(self, store: LocalStore, entries: Mapping[str, Entry], *, trees_only: bool = False) -> None:
        """Bring objects from the caches of the project if it lies on this machine, else from its remotes."""
        wanted = {name: entry for name, entry in entries.items() if _lacks(store, entry, trees_only)}
        cache = self._cache()
        if wanted and cache is not None:
            for entry in wanted.values():
                copy_objects(cache, store, entry, trees_only=trees_only)
            wanted = {name: entry for name, entry in wanted.items() if _lacks(store, entry, trees_only)}
        problems: list[str] = []
        for remote in self._remotes(problems) if wanted else ():
            try:
                if trees_only:
                    pull_digests(store, remote, [entry.digest for entry in wanted.values()], progress=self._progress)
                else:
                    came = pull_objects(store, remote, wanted, progress=self._progress)
                    problems += [f"{remote.name} holds damaged bytes for {name_some(came.corrupt)}"] * bool(
                        came.corrupt
                    )
            except (RemoteError, Forgeable) as error:
                problems.append(error.message)
            wanted = {name: entry for name, entry in wanted.items() if _lacks(store, entry, trees_only)}
            if not wanted:
                return
        if wanted:
            raise self._out_of_reach(wanted, problems, cache)

    def _out_of_reach(self, wanted: Mapping[str, Entry], problems: list[str], cache: LocalStore | None) -> MloError:
        looked = f"its cache {cache.cache} lacks objects of it" if cache is not None else ""
        why = "; ".join(filter(None, [looked, *problems])) or "its mlo.yaml names no remote"
        damaged = any("damaged" in problem for problem in problems)
        kind = ObjectCorrupt if damaged else ObjectMissing
        return kind(
            f"{self._tree.shown} names {name_some(sorted(wanted))}, but its bytes did not come: {why}",
            hint="run `mlo data push` there, to a remote that this machine reaches",
        )

    def _cache(self) -> LocalStore | None:
        if self._tree.folder is None:
            return None
        top = self._tree.folder / self._top
        said = self._project.cache.dir if self._project else None
        place = top / user_path(said, "cache.dir") if said else top / ".mlo" / "cache"
        return LocalStore(place, self.algorithm or "xxh128") if place.is_dir() else None

    def _remotes(self, problems: list[str]) -> Iterator[Remote]:
        """The remotes of the project that can be reached from here, `origin` first."""
        project = self._project
        for name in sorted(project.remotes if project else (), key=lambda name: (name != "origin", name)):
            config = project.remote(name) if project else RemoteConfig("")
            here = self._tree.folder
            folder = folder_of(config.url, Path("/"))
            if here is None and folder is not None and not _is_absolute(config.url):
                problems.append(f"its remote {name} is the folder {config.url}, which is relative to where it lies")
                continue
            if "::" in config.url:
                problems.append(f"its remote {name} is a chain of file systems")
                continue
            try:
                root = here / self._top if here is not None else self._scratch
                yield open_remote(name, msgspec.structs.replace(config, options=_harmless(config.options)), root=root)
            except MloError as error:
                problems.append(error.message)


def copy_objects(source: LocalStore, target: LocalStore, entry: Entry, *, trees_only: bool = False) -> None:
    """Copy what an entry needs and `target` lacks, verified, as far as `source` has it whole."""
    lost: dict[bytes, MloError] = {}
    items = [item_of(entry)]
    if entry.kind == "dir":
        try:
            if not trees_only:
                items += [item for _, item in walk_bytes(source, entry, lost)]
        except NotFound:
            return
    absent = target.missing(item.digest for item in items)
    there = absent - source.missing(absent)
    with target.batch():
        for item in reversed(items):  # a tree after all that it names
            if item.digest in there:
                there.discard(item.digest)
                digest = Digest.parse(item.digest)
                if item.mode == DIR or item.size <= LARGE_BYTES:
                    target.put_verified(digest, source.read(digest))
                else:
                    temporary = target.temporary()
                    source.copy_to(digest, Path(temporary), link=("reflink", "copy"))
                    target.adopt(temporary, digest)


def _lacks(store: LocalStore, entry: Entry, trees_only: bool) -> bool:
    if trees_only or entry.kind == "file":
        return bool(store.missing([entry.digest]))
    try:
        return bool(store.missing([entry.digest, *(item.digest for _, item in walk_bytes(store, entry))]))
    except NotFound:
        return True


def _stream(store: LocalStore, read: Callable[[int], bytes]) -> str:
    place = Path(store.temporary())
    try:
        with place.open("xb") as file:
            while block := read(LARGE_BYTES):
                file.write(block)
        digest = digest_file(place, store.algorithm)
    except BaseException:
        place.unlink(missing_ok=True)
        raise
    store.adopt(str(place), digest)
    return str(digest)


def _is_absolute(url: str) -> bool:
    return user_path(url.partition("://")[2] if "://" in url else url, "the url of a remote").is_absolute()


def _harmless(options: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in options.items() if key in _OPTIONS}
