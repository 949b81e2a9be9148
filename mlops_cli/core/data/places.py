"""Data by its own address as a source: a file or folder of this machine, or a file or prefix on anything that fsspec
speaks. What each file of a prefix was is remembered, so that an update fetches only files that changed."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from mlops_cli.core.base.clock import format_time
from mlops_cli.core.base.digest import canonical_json, digest_file, sha256_bytes
from mlops_cli.core.base.extras import require
from mlops_cli.core.base.files import write_atomic
from mlops_cli.core.base.progress import Progress
from mlops_cli.core.base.records import Entry
from mlops_cli.core.data.address import Address
from mlops_cli.core.data.origin import State
from mlops_cli.core.data.planting import plant
from mlops_cli.core.errors import MloError, NotFound, ProjectError, RemoteError
from mlops_cli.core.project.lock import SourceLock
from mlops_cli.core.remotes.open import EXTRAS
from mlops_cli.core.store.index import Index
from mlops_cli.core.store.local import LocalStore
from mlops_cli.core.store.snapshot import record, survey
from mlops_cli.core.store.stable import SMALL_BYTES
from mlops_cli.core.store.tree import FILE, TreeEntry

_THREADS = 16
_TAGS = ("ETag", "etag", "md5Hash", "generation", "content_md5")
_TIMES = ("LastModified", "last_modified", "updated", "mtime", "modified")
_MEMORY_VERSION = 1


class PlaceOrigin:
    """A file or folder of this machine. It is read through at every look: times and sizes can lie, digests cannot."""

    def __init__(self, address: Address, algorithm: str, *, scratch: Path, progress: Progress) -> None:
        self._folder = address.folder or Path(address.url)
        self._shown = address.recorded
        self._algorithm = algorithm
        self._index = Index(scratch / "index", root=scratch)
        self._progress = progress

    def look(self, before: SourceLock | None = None) -> State:
        try:
            return self._state(survey(self._index, self._folder, self._algorithm, progress=self._progress).entry)
        except FileNotFoundError:
            raise self._gone() from None

    def bring(self, store: LocalStore) -> tuple[Entry, State]:
        try:
            entry = record(store, self._index, self._folder, progress=self._progress)
        except FileNotFoundError:
            raise self._gone() from None
        return entry, self._state(entry)

    def _state(self, entry: Entry) -> State:
        moment = datetime.fromtimestamp(os.stat(self._folder).st_mtime, UTC) if entry.kind == "file" else None
        return State(entry.digest, entry.size, modified=format_time(moment) if moment else None)

    def _gone(self) -> NotFound:
        return NotFound(f"there is no file and no folder {self._shown}", hint="check the path; a URL begins with s3://")


class _Known(msgspec.Struct, array_like=True):
    """What one file of a prefix was: its size, its tag there, and its digest here."""

    size: int
    tag: str
    digest: str


class _Memory(msgspec.Struct):
    version: int = _MEMORY_VERSION
    url: str = ""
    files: dict[str, _Known] = {}


class BucketOrigin:
    """A file or prefix that fsspec reads. `memory` is the file that remembers what was fetched, if any does."""

    def __init__(self, address: Address, *, memory: Path | None, progress: Progress) -> None:
        self._address = address
        self._memory = memory
        self._progress = progress
        self._system, self._base = _open(address)
        self._listed: tuple[bool, dict[str, dict[str, Any]]] | None = None

    def look(self, before: SourceLock | None = None) -> State:
        is_file, files = self._list()
        size = sum(_size(info) for info in files.values())
        if is_file:
            info = next(iter(files.values()))
            return State(size=size, etag=_first(info, _TAGS), modified=_first(info, _TIMES))
        return State(size=size, etag=_listing(files))

    def bring(self, store: LocalStore) -> tuple[Entry, State]:
        is_file, files = self._list()
        state = self.look()
        known = self._recall()
        items: dict[bytes, TreeEntry] = {}
        kept = {}
        with store.batch():
            for name, digest in self._fetch(store, files, known):
                info = files[name]
                items[os.fsencode(name)] = TreeEntry(os.fsencode(name), FILE, digest, _size(info))
                kept[name] = _Known(_size(info), _tag(info), digest)
            entry = next(iter(items.values())).entry if is_file else plant(store, items)
        self._remember(kept)
        return entry, state

    # -- inside --------------------------------------------------------------------------------------------

    def _list(self) -> tuple[bool, dict[str, dict[str, Any]]]:
        """Whether it is one file, and every file by its path below (the file itself: its name)."""
        if self._listed is None:
            with self._errors():
                info = self._system.info(self._base)
                if info["type"] == "file":
                    self._listed = True, {self._address.name: info}
                else:
                    base = self._base.rstrip("/") + "/"
                    found = self._system.find(self._base, detail=True)
                    files = {path.removeprefix(base): item for path, item in found.items() if item["type"] == "file"}
                    # Consoles make empty keys that end in a slash, to show a folder.
                    self._listed = False, {name: item for name, item in files.items() if name and name[-1] != "/"}
            if not self._listed[1]:
                raise NotFound(f"{self._address.recorded} holds nothing", hint="check the spelling of the prefix")
        return self._listed

    def _fetch(
        self, store: LocalStore, files: Mapping[str, dict[str, Any]], known: Mapping[str, _Known]
    ) -> Iterator[tuple[str, str]]:
        """The digest of each file, brought unless it is here as it is there."""
        same = {name: old for name, old in known.items() if name in files and _is_same(old, files[name])}
        absent = store.missing(old.digest for old in same.values())
        same = {name: old for name, old in same.items() if old.digest not in absent}
        yield from ((name, old.digest) for name, old in same.items())
        todo = [name for name in files if name not in same]
        places = {name: store.temporary() for name in todo}
        base = self._base.rstrip("/")
        is_file = bool(self._listed and self._listed[0])

        def fetch(name: str) -> str:
            with self._errors():
                self._system.get_file(base if is_file else f"{base}/{name}", places[name])
            return name

        pool = ThreadPoolExecutor(_THREADS)
        self._progress.begin("getting", sum(_size(files[name]) for name in todo), "bytes")
        try:
            for name in pool.map(fetch, todo):
                yield name, keep(store, places[name], _size(files[name]), f"{self._address.recorded}: {name}")
                del places[name]
                self._progress.advance(_size(files[name]))
        finally:
            pool.shutdown(cancel_futures=True)  # after an error nobody waits for the rest
            self._progress.end()
            for place in places.values():  # what was kept is the store's
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(place)

    def _recall(self) -> dict[str, _Known]:
        try:
            memory = msgspec.json.decode(self._memory.read_bytes(), type=_Memory) if self._memory else _Memory()
        except (FileNotFoundError, NotADirectoryError, msgspec.DecodeError):
            return {}
        is_ours = memory.version == _MEMORY_VERSION and memory.url == self._address.recorded
        return memory.files if is_ours else {}

    def _remember(self, files: dict[str, _Known]) -> None:
        if self._memory is not None:
            document = _Memory(url=self._address.recorded, files=files)
            write_atomic(self._memory, msgspec.json.encode(document), durable=False)

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        shown = self._address.recorded
        try:
            yield
        except MloError:
            raise
        except FileNotFoundError as error:
            raise NotFound(f"there is no {shown}", hint="check the spelling, and who may read it") from error
        except Exception as error:
            said = str(error).replace(self._address.url, shown)
            raise RemoteError(
                f"{shown}: {said or type(error).__name__}", hint="check the URL and who you are"
            ) from error


def keep(store: LocalStore, place: str, size: int, shown: str) -> str:
    """Move a file that came into the store; its digest. Raises RemoteError if it came short or long."""
    came = os.stat(place).st_size
    if came != size:
        raise RemoteError(
            f"{shown}: {came} bytes came of {size}", hint="it changed meanwhile or the way is bad; run it again"
        )
    if size <= SMALL_BYTES:
        digest = store.put_bytes(Path(place).read_bytes())
        os.unlink(place)
    else:
        digest = digest_file(Path(place), store.algorithm)
        store.adopt(place, digest)
    return str(digest)


def _open(address: Address) -> tuple[Any, str]:
    protocol = address.url.partition("://")[0].lower()
    if protocol in EXTRAS:
        module, extra = EXTRAS[protocol]
        require(module, extra=extra, purpose=address.recorded)
    import fsspec

    fresh = {} if protocol == "memory" else {"use_listings_cache": False, "skip_instance_cache": True}
    try:
        system, base = fsspec.core.url_to_fs(address.url, **fresh)
    except (ValueError, ImportError) as error:
        raise ProjectError(
            f"{address.recorded} cannot be opened: {str(error).replace(address.url, address.recorded)}",
            hint="write a path, or a URL that begins with https:// s3:// gs:// abfs:// or sftp://",
        ) from None
    except Exception as error:
        said = str(error).replace(address.url, address.recorded)
        raise RemoteError(f"{address.recorded}: {said}", hint="check the URL and who you are") from error
    return system, str(base)


def _size(info: Mapping[str, Any]) -> int:
    return int(info.get("size") or 0)


def _first(info: Mapping[str, Any], keys: tuple[str, ...]) -> str | None:
    for key in keys:
        value = info.get(key)
        if isinstance(value, datetime):
            return format_time(value if value.tzinfo else value.replace(tzinfo=UTC))
        if isinstance(value, float | int) and key in _TIMES:
            return format_time(datetime.fromtimestamp(value, UTC))
        if value:
            return str(value).strip('"')
    return None


def _tag(info: Mapping[str, Any]) -> str:
    """What changes when the file does; empty if the source says nothing of the kind."""
    return _first(info, _TAGS) or _first(info, _TIMES) or ""


def _is_same(old: _Known, info: Mapping[str, Any]) -> bool:
    return bool(old.tag) and (old.size, old.tag) == (_size(info), _tag(info))


def _listing(files: Mapping[str, dict[str, Any]]) -> str | None:
    rows = sorted([name, _size(info), _tag(info)] for name, info in files.items())
    if not all(row[2] for row in rows):
        return None
    return f"listing-{sha256_bytes(canonical_json(rows))[:32]}"
