"""The bytes of a DVC project: from the work tree, DVC's cache or its remotes into mlo's cache, each md5 verified."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec

from mlops_cli.core.base.digest import hasher
from mlops_cli.core.base.files import machine_errors, safe_join
from mlops_cli.core.base.records import Entry
from mlops_cli.core.data.dvc_files import DvcOut, ObjectName
from mlops_cli.core.data.dvc_objects import Md5, checked_files, keys, manifest_md5, md5_bytes, md5_file, parse_manifest
from mlops_cli.core.store.protocol import ChangedWhileRead, UnsupportedFile
from mlops_cli.core.store.snapshot import record, survey
from mlops_cli.core.store.stable import signature
from mlops_cli.core.store.tree import DIR, EXEC, FILE, LINK, TreeEntry, encode, totals, walk_bytes
from mlops_cli.core.workflows.dvc_remotes import DvcRemotes
from mlops_cli.core.workflows.workspace import Workspace

SMALL_BYTES = 1 << 18  # read in one piece
_SELF = b""
WORK_TREE, CACHE, REMOTE = "work tree", "DVC's cache", "DVC's remote"
_STRIDE = 64
_THREADS = 4  # hashing lets the others run

Files = list[tuple[bytes, ObjectName]]


class Brought(msgspec.Struct, frozen=True):
    """What became of one output. No `entry` if something of it is nowhere: then `missing` or `damaged` name files.

    `places` counts files by where their bytes were taken from. `differs`: the work tree holds something else;
    `links` are files of the work tree that are links into DVC's cache, with the digests of their bytes.
    """

    path: str
    entry: Entry | None = None
    places: dict[str, int] = {}
    missing: list[str] = []
    damaged: list[str] = []
    absent: bool = False
    differs: bool = False
    links: dict[str, str] = {}


class _Standing(msgspec.Struct, frozen=True):
    """What the work tree holds at an output: its entry, and each file with the md5 names its bytes may bear."""

    entry: Entry | None
    files: dict[bytes, tuple[TreeEntry, Md5]]
    links: list[bytes]
    folders: list[bytes] = []


class Contents:
    """Takes outputs in. `caches` are DVC's, the project's own first; `remotes` is None to use only what is here."""

    def __init__(self, workspace: Workspace, caches: Sequence[Path], remotes: DvcRemotes | None) -> None:
        self._workspace = workspace
        self._store = workspace.store
        self._caches = [str(cache) for cache in caches]
        self._remotes = remotes
        self._known: dict[ObjectName, tuple[str, int, str]] = {}  # digest, size in bytes, place
        self._damaged: set[ObjectName] = set()
        self.bad: dict[str, ObjectName] = {}  # files of DVC's whose bytes are not what their name says
        self._manifests: dict[ObjectName, Files] = {}
        self._stood: dict[tuple[str, ObjectName], str | None] = {}

    # -- manifests -----------------------------------------------------------------------------------------

    def read_manifests(self, outs: Iterable[DvcOut], *, fetch: bool = True) -> None:
        """Read what every folder should hold, before anything is written. Raises IntegrityError for a hostile one."""
        wanted = [out for out in outs if out.name is not None and out.name.is_dir and out.files is None]
        for out in wanted:
            self._read_manifest(out)
        lost = {out.name: out for out in wanted if out.name is not None and out.name not in self._manifests}
        if lost and fetch and self._remotes is not None:
            with self._remotes.fetch({name: out.remote for name, out in lost.items()}, "manifests") as arrived:
                for name, place in arrived:
                    self._accept_manifest(name, place.read_bytes(), str(lost[name].path))

    def files(self, out: DvcOut) -> Files | None:
        """The files of an output: itself alone, or those of the folder; None if its manifest is nowhere."""
        if out.files is not None:
            return checked_files(out.files, str(out.path))
        if out.name is None:
            return None
        return self._manifests.get(out.name) if out.name.is_dir else [(_SELF, out.name)]

    def here(self, name: ObjectName) -> str | None:
        """Where DVC's cache has an object, whether it is good or not."""
        for cache in self._caches:
            for key, _ in keys(name):
                if os.path.isfile(f"{cache}/{key}"):
                    return f"{cache}/{key}"
        return None

    def _read_manifest(self, out: DvcOut) -> None:
        if out.name is None or out.name in self._manifests:
            return
        place = self.here(out.name)
        if place is not None:
            with machine_errors(f"cannot read {place}"):
                if not self._accept_manifest(out.name, Path(place).read_bytes(), str(out.path)):
                    self.bad[place] = out.name

    def _accept_manifest(self, name: ObjectName, data: bytes, where: str) -> bool:
        if not md5_bytes(data).is_named(name):
            self._damaged.add(name)
            return False
        self._manifests[name] = parse_manifest(data, name.legacy, where)
        self._damaged.discard(name)
        return True

    # -- outputs -------------------------------------------------------------------------------------------

    def bring(self, outs: Sequence[tuple[str, DvcOut]]) -> Iterator[Brought]:
        """Take each output in, the work tree's files first."""
        standing: dict[str, _Standing | None] = {}
        lacking: dict[ObjectName, str | None] = {}
        for path, out in outs:
            standing[path] = self._look(path)
            files = self._files_of(path, out, standing[path])
            for inner, name in files or ():
                if self._fits(standing[path], inner, name) is None and self.here(name) is None:
                    lacking[name] = out.remote
        self._fetch(lacking)
        for path, out in outs:
            with self._store.batch():
                yield self._bring(path, out, standing[path])

    def _bring(self, path: str, out: DvcOut, standing: _Standing | None) -> Brought:
        absent = standing is None
        files = self._files_of(path, out, standing)
        if files is None:
            lost = [path if out.name is None or not out.name.is_dir else f"{path}/"]
            bad = out.name in self._damaged
            return Brought(path, missing=[] if bad else lost, damaged=lost if bad else [], absent=absent)
        places: dict[str, int] = {}
        missing: list[str] = []
        damaged: list[str] = []
        rows: list[tuple[bytes, TreeEntry]] = []
        same = True
        self._workspace.progress.begin(f"importing {path}", len(files), "files")
        try:
            for number, (inner, name) in enumerate(files, 1):
                if number % _STRIDE == 0:
                    self._workspace.progress.advance(_STRIDE)
                item, place = self._item(standing, inner, name, executable=out.executable)
                same = same and place == WORK_TREE
                if item is None:
                    (damaged if name in self._damaged else missing).append(_shown(path, inner))
                else:
                    rows.append((inner, item))
                    places[place] = places.get(place, 0) + 1
        finally:
            self._workspace.progress.end()
        if missing or damaged:
            return Brought(path, places=places, missing=missing, damaged=damaged, absent=absent)
        same = same and standing is not None and len(standing.files) == len(files)
        linked = set(standing.links) if standing is not None else set()
        links = {_shown(path, inner): item.digest for inner, item in rows if inner in linked}
        alike = same or (bool(links) and standing is not None and self._only_links(standing, files))
        if same and standing is not None and standing.entry is not None:
            entry = standing.entry
        else:
            entry = self._entry(rows, standing.folders if alike and standing is not None else ())
        return Brought(path, entry, places, absent=absent, differs=not absent and not alike, links=links)

    def _only_links(self, standing: _Standing, files: Files) -> bool:
        """Whether the work tree differs from the files in nothing but that some are links into DVC's cache."""
        links = set(standing.links)
        solid = {inner for inner, name in files if self._fits(standing, inner, name) is not None}
        return {inner for inner, _ in files} == solid | links and standing.files.keys() <= solid | links

    def _item(
        self, standing: _Standing | None, inner: bytes, name: ObjectName, *, executable: bool
    ) -> tuple[TreeEntry | None, str]:
        found = self._fits(standing, inner, name)
        base = inner.rpartition(b"/")[2] or b"-"
        if found is not None:
            return msgspec.structs.replace(found, name=base), WORK_TREE
        taken = self._take(name)
        if taken is None:
            return None, ""
        digest, size, place = taken
        return TreeEntry(base, EXEC if executable else FILE, digest, size), place

    def _fits(self, standing: _Standing | None, inner: bytes, name: ObjectName) -> TreeEntry | None:
        if standing is None or inner not in standing.files:
            return None
        item, md5 = standing.files[inner]
        return item if md5.is_named(name) else None

    def _files_of(self, path: str, out: DvcOut, standing: _Standing | None) -> Files | None:
        """The files of an output, told from the work tree where the manifest is lost and its name fits."""
        files = self.files(out)
        if files is not None or standing is None or out.name is None or not out.name.is_dir:
            return files
        for legacy in (False, True):
            pairs = [
                (os.fsdecode(inner), md5.text if legacy else md5.plain) for inner, (_, md5) in standing.files.items()
            ]
            if manifest_md5(pairs) == out.name.md5:
                self._damaged.discard(out.name)
                return [(os.fsencode(inner), ObjectName(md5, legacy)) for inner, md5 in pairs]
        return None

    def _entry(self, rows: Sequence[tuple[bytes, TreeEntry]], more: Iterable[bytes]) -> Entry:
        """The entry of these files: one file, or trees from the inside out. `more` are folders that may be empty."""
        if len(rows) == 1 and rows[0][0] == _SELF:
            return rows[0][1].entry
        folders: dict[bytes, list[TreeEntry]] = {_SELF: [], **{folder: [] for folder in more}}
        for inner, item in rows:
            folder = inner.rpartition(b"/")[0]
            folders.setdefault(folder, []).append(item)
            while folder:
                folder = folder.rpartition(b"/")[0]
                folders.setdefault(folder, [])
        top = Entry("", "dir", 0)
        for folder in sorted(folders, key=lambda folder: (folder.count(b"/") if folder else -1, folder), reverse=True):
            entries = folders[folder]
            digest = self._store.put_bytes(encode(entries, self._store.algorithm))
            size, files = totals(entries)
            if folder:
                parent, _, name = folder.rpartition(b"/")
                folders[parent].append(TreeEntry(name, DIR, str(digest), size, files))
            else:
                top = Entry(str(digest), "dir", size, files)
        return top

    def standing_digest(self, path: str, name: ObjectName) -> str | None:
        """mlo's digest of what stands at a path of the work tree, if it is what DVC calls `name`. Keeps nothing."""
        if (path, name) not in self._stood:  # many stages read the same folder
            self._stood[path, name] = self._stands_as(safe_join(self._workspace.root, path), name)
        return self._stood[path, name]

    def _stands_as(self, place: Path, name: ObjectName) -> str | None:
        try:
            found = survey(self._workspace.index, place, self._store.algorithm)
            if not name.is_dir:
                same = found.entry.kind == "file" and md5_file(place).is_named(name)
            else:
                files = {inner for inner, item in found.items.items() if item.mode != DIR}
                hashes = {os.fsdecode(inner): md5_file(os.path.join(os.fsencode(place), inner)) for inner in files}
                pairs = [(inner, md5.text if name.legacy else md5.plain) for inner, md5 in hashes.items()]
                same = found.entry.kind == "dir" and manifest_md5(pairs) == name.md5
        except (FileNotFoundError, IsADirectoryError, UnsupportedFile):  # broken links, links to folders
            return None
        return found.entry.digest if same else None

    # -- the work tree -------------------------------------------------------------------------------------

    def _look(self, path: str) -> _Standing | None:
        """Keep what stands at an output, and hash it as DVC does. None if nothing does."""
        place = safe_join(self._workspace.root, path)
        if not os.path.lexists(place):
            return None
        if place.is_symlink():
            return self._linked(place)
        try:
            entry = record(self._store, self._workspace.index, place, progress=self._workspace.progress)
        except UnsupportedFile:  # a socket, another project: DVC's cache has what it tracks of it
            return _Standing(None, {}, [])
        if entry.kind == "file":
            items = {_SELF: TreeEntry(b"-", EXEC if entry.executable else FILE, entry.digest, entry.size)}
        else:
            items = {inner: item for inner, item in walk_bytes(self._store, entry) if item.mode != DIR}
        links = [inner for inner, item in items.items() if item.mode == LINK and self._is_cached(place, inner)]
        linked = set(links)
        solid = [inner for inner in items if inner not in linked]
        hashes = self._hashes(place, solid, items)
        files = {inner: (items[inner], md5) for inner in solid if (md5 := hashes[inner]) is not None}
        folders = [inner for inner, item in walk_bytes(self._store, entry) if item.mode == DIR]
        return _Standing(entry if not links else None, files, links, folders)

    def _hashes(self, place: Path, paths: Sequence[bytes], items: Mapping[bytes, TreeEntry]) -> dict[bytes, Md5 | None]:
        """The md5s of files of the work tree; large ones beside each other, since hashing lets other threads run."""
        large = [path for path in paths if items[path].size > SMALL_BYTES]
        self._workspace.progress.begin(f"verifying {place.name}", len(paths), "files")
        try:
            with ThreadPoolExecutor(_THREADS) as pool:
                found = dict(
                    zip(large, pool.map(lambda path: self._hash(place, path, items[path]), large), strict=True)
                )
            for number, path in enumerate(paths, 1):
                if path not in found:
                    found[path] = self._hash(place, path, items[path])
                if number % _STRIDE == 0:
                    self._workspace.progress.advance(_STRIDE)
        finally:
            self._workspace.progress.end()
        return found

    def _linked(self, place: Path) -> _Standing:
        """An output that is a link itself: into DVC's cache, if its cache type is symlink."""
        return _Standing(None, {}, [_SELF] if self._is_cached(place, _SELF) else [])

    def _is_cached(self, place: Path, inner: bytes) -> bool:
        target = os.path.realpath(os.path.join(os.fsencode(place), inner) if inner else os.fsencode(place))
        return any(target.startswith(os.fsencode(os.path.realpath(cache)) + b"/") for cache in self._caches)

    def _hash(self, place: Path, inner: bytes, item: TreeEntry) -> Md5 | None:
        """The md5 of a file of the work tree, if its bytes are still those that were kept."""
        raw = os.path.join(os.fsencode(place), inner) if inner else os.fsencode(place)
        state = hasher(self._store.algorithm)
        try:
            md5 = md5_file(raw, beside=state)
        except (FileNotFoundError, IsADirectoryError):
            return None
        if item.mode == LINK:
            inside = Path(os.fsdecode(os.path.realpath(raw))).is_relative_to(self._workspace.root.resolve())
            return md5 if inside else None
        digest = f"{self._store.algorithm}:{state.hexdigest()}"
        if digest != item.digest:
            raise ChangedWhileRead(
                f"{os.fsdecode(raw)} changed while it was imported", hint="wait until whatever writes it is done"
            )
        return md5

    # -- objects -------------------------------------------------------------------------------------------

    def _take(self, name: ObjectName) -> tuple[str, int, str] | None:
        """An object of DVC's, verified, in mlo's cache: digest, size, where it was. None if no good one is found."""
        if name not in self._known:
            for cache in self._caches:
                for key, _ in keys(name):
                    if self._keep(name, Path(cache, key), CACHE):
                        return self._known[name]
            if name in self._damaged:
                self._fetch({name: None})
        return self._known.get(name)

    def _fetch(self, lacking: dict[ObjectName, str | None]) -> None:
        wanted = {name: remote for name, remote in lacking.items() if name not in self._known}
        if self._remotes is None or not wanted:
            return
        scratch = self._workspace.paths.private / "tmp"
        with self._remotes.fetch(wanted, "objects", scratch=scratch) as arrived, self._store.batch():
            for name, place in arrived:
                self._keep(name, place, REMOTE)

    def _keep(self, name: ObjectName, place: Path, source: str) -> bool:
        """Hash a file both ways and keep it, if it is what its name says."""
        with machine_errors(f"cannot read {place}"):
            try:
                before = os.stat(place)
                if not stat.S_ISREG(before.st_mode):
                    return False
                if before.st_size <= SMALL_BYTES:
                    data = place.read_bytes()
                    good = md5_bytes(data).is_named(name)
                    digest = str(self._store.put_bytes(data)) if good else ""
                else:
                    with ThreadPoolExecutor(1) as pool:  # both read the file at once, so the disk is asked once
                        md5 = pool.submit(md5_file, place)
                        digest = str(self._store.put_file(place))
                        good = md5.result().is_named(name) and signature(os.stat(place)) == signature(before)
            except (FileNotFoundError, NotADirectoryError):
                return False
        if not good:
            self._damaged.add(name)
            self.bad[f"{source}: {place.name}" if source == REMOTE else str(place)] = name
            return False
        self._damaged.discard(name)
        self._known[name] = (digest, before.st_size, source)
        return True


def _shown(path: str, inner: bytes) -> str:
    return f"{path}/{os.fsdecode(inner)}" if inner else path
