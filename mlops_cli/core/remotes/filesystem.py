"""A remote on an fsspec filesystem: a bucket, or whatever else fsspec speaks.

What differs is only how a value comes to stand under its key in one step: by a whole put where the backend's puts are
atomic, by renaming a temp file elsewhere.
"""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

from mlops_cli.core.base.files import machine_errors
from mlops_cli.core.errors import RemoteError
from mlops_cli.core.remotes.named import NamedRemote
from mlops_cli.core.remotes.remote import TEMPORARY, Fact, checked_key, checked_range, exactly, short_answer
from mlops_cli.core.remotes.retry import Patience, status_of

# Backends whose put is one request that replaces the value as a whole or not at all.
ATOMIC_PUT = frozenset({"s3", "s3a", "gs", "gcs", "abfs", "abfss", "az", "adl", "oss"})
_HINTS = {
    "s3": "check AWS_PROFILE or AWS_ACCESS_KEY_ID, the bucket's name and the endpoint, then `mlo remote check`",
    "gs": "check GOOGLE_APPLICATION_CREDENTIALS and the bucket's name, then `mlo remote check`",
    "abfs": "check AZURE_STORAGE_ACCOUNT_NAME, its key and the container's name, then `mlo remote check`",
}
_ALIASES = {"s3a": "s3", "gcs": "gs", "az": "abfs", "abfss": "abfs", "adl": "abfs"}
_BEYOND_THE_END = 416
Result = TypeVar("Result")


class FilesystemRemote(NamedRemote):
    """Implements Remote on `filesystem`, below `base`. `protocol` is fsspec's name of the kind."""

    def __init__(
        self,
        name: str,
        url: str,
        filesystem: Any,
        base: str,
        *,
        protocol: str,
        endpoint: str = "",
        patience: Patience | None = None,
    ) -> None:
        super().__init__(name, url, protocol=protocol, endpoint=endpoint)
        self.hint = _HINTS.get(_ALIASES.get(protocol, protocol), self.hint)
        self._filesystem = filesystem
        self._base = base.rstrip("/")
        self._patience = patience or Patience()

    def facts(self) -> list[Fact]:
        system = self._filesystem
        names = {"account_name": "account", "project": "project", "host": "host"}
        return [
            *super().facts(),
            *(Fact(word, str(value)) for name, word in names.items() if (value := getattr(system, name, None))),
        ]

    def put(self, key: str, data: bytes) -> None:
        path = self._path(key)

        def write() -> None:
            with self._landing(path) as place:
                self._write(place, data)

        with self._errors(f"cannot write {key}"):
            self._insist(write)

    def put_file(self, key: str, path: Path) -> None:
        final = self._path(key)

        def write() -> None:
            with self._landing(final) as place:
                self._write_file(place, path)

        # What the machine refuses here is the file that is read: the backend's own errors have other numbers.
        with self._errors(f"cannot write {key}"):
            self._insist(write)

    def get(self, key: str) -> bytes:
        path = self._path(key)
        with self._errors(f"cannot read {key}", key=key):
            return self._insist(lambda: self._read(path))

    def get_file(self, key: str, target: Path) -> None:
        path = self._path(key)
        with self._errors(f"cannot read {key}", key=key), machine_errors(f"{self.title}: cannot read {key}"):
            self._insist(lambda: self._read_file(path, target))

    def get_range(self, key: str, start: int, length: int) -> bytes:
        checked_range(start, length)
        path = self._path(key)
        with self._errors(f"cannot read {key}", key=key):
            if not length and self._insist(lambda: self._size(path)) < start:
                raise short_answer(start, 0, 0, of=f"{self.title}: {key}, which ends before that")
            data = self._insist(lambda: self._read_range(path, start, length)) if length else b""
        return exactly(data, start, length, of=f"{self.title}: {key}")

    def sizes(self, prefix: str = "") -> Iterator[tuple[str, int]]:
        if prefix:
            checked_key(prefix.rstrip("/"))
        folder = prefix.rpartition("/")[0]
        place = f"{self._base}/{folder}" if folder else self._base
        with self._errors(f"cannot list {prefix or 'it'}"):
            found = self._insist(lambda: self._find(place))
            if not found:
                self._reach()
        start = len(self._base) + 1
        for key, size in sorted((path[start:], size) for path, size in found.items()):
            if key.startswith(prefix) and not key.startswith(f"{TEMPORARY}/"):
                yield key, size

    def modified(self, prefix: str = "") -> dict[str, float]:
        place = f"{self._base}/{prefix.rpartition('/')[0]}".rstrip("/")
        with self._errors(f"cannot list {prefix or 'it'}"):
            try:
                found = self._insist(lambda: self._filesystem.find(place, detail=True))
            except (FileNotFoundError, NotADirectoryError):
                return {}
        start = len(self._base) + 1
        times = ((path[start:], _written_at(info)) for path, info in found.items())
        return {key: time for key, time in times if time is not None and key.startswith(prefix)}

    def exists(self, key: str) -> bool:
        path = self._path(key)
        with self._errors(f"cannot look for {key}"):
            try:
                # Not fsspec's isfile or exists: they take an endpoint that does not answer for an absent file.
                return bool(self._insist(lambda: self._filesystem.info(path))["type"] == "file")
            except (FileNotFoundError, NotADirectoryError):
                self._reach()
                return False

    def delete(self, key: str) -> None:
        path = self._path(key)
        with self._errors(f"cannot delete {key}"), contextlib.suppress(FileNotFoundError):
            self._insist(lambda: self._filesystem.rm_file(path))

    def create(self) -> None:
        if self.protocol not in ATOMIC_PUT:
            with self._errors("cannot create it"):
                self._insist(lambda: self._filesystem.makedirs(self._base, exist_ok=True))

    # -- what a backend may do better ----------------------------------------------------------------------

    def _insist(self, work: Callable[[], Result]) -> Result:
        return self._patience.insist(work)

    def _write(self, path: str, data: bytes) -> None:
        self._filesystem.pipe_file(path, data)

    def _write_file(self, path: str, source: Path) -> None:
        self._filesystem.put_file(str(source), path)

    def _read(self, path: str) -> bytes:
        return bytes(self._filesystem.cat_file(path))

    def _read_file(self, path: str, target: Path) -> None:
        self._filesystem.get_file(path, str(target))

    def _read_range(self, path: str, start: int, length: int) -> bytes:
        """The bytes that there are of that range, maybe fewer."""
        try:
            return bytes(self._filesystem.cat_file(path, start=start, end=start + length))
        except Exception as error:
            if not _is_beyond_the_end(error):
                raise
            return b""

    def _size(self, path: str) -> int:
        return int(self._filesystem.info(path)["size"])

    def _move(self, source: str, target: str) -> None:
        self._filesystem.makedirs(target.rpartition("/")[0], exist_ok=True)
        self._filesystem.mv(source, target)

    def _find(self, place: str) -> dict[str, int]:
        """Path and size of every file below a place; nothing if it is not there."""
        try:
            found = self._filesystem.find(place, detail=True)
        except (FileNotFoundError, NotADirectoryError):
            return {}
        found.pop(self._base, None)  # a file where the folder should be
        return {path: int(info.get("size") or 0) for path, info in found.items()}

    def _reach(self) -> None:
        if self.protocol == "memory":
            return
        is_bucket = self.protocol in ATOMIC_PUT
        place = self._base.lstrip("/").partition("/")[0] if is_bucket else self._base
        try:
            if self._insist(lambda: self._filesystem.info(place))["type"] == "directory":
                return
        except (FileNotFoundError, NotADirectoryError):
            pass
        if is_bucket:
            raise RemoteError(f"{self.title}: there is no bucket {place}", hint="check its name, or create it")
        raise RemoteError(f"{self.title}: there is no folder {place}", hint=f"create it there: mkdir -p {place}")

    # -- inside --------------------------------------------------------------------------------------------

    def _path(self, key: str) -> str:
        return f"{self._base}/{checked_key(key)}"

    def _temporary(self) -> str:
        folder = f"{self._base}/{TEMPORARY}"
        self._filesystem.makedirs(folder, exist_ok=True)
        return f"{folder}/{secrets.token_hex(12)}"

    @contextlib.contextmanager
    def _landing(self, path: str) -> Iterator[str]:
        """Where to write so that `path` shows the whole value or nothing."""
        if self.protocol in ATOMIC_PUT:
            yield path
            return
        temporary = self._temporary()
        try:
            yield temporary
            self._move(temporary, path)
        except BaseException:
            with contextlib.suppress(Exception):
                self._filesystem.rm_file(temporary)
            raise


def _is_beyond_the_end(error: BaseException) -> bool:
    """S3, gcs and azure answer so to a range that begins after the last byte."""
    link: BaseException | None = error
    while link is not None:
        if status_of(link) == _BEYOND_THE_END:
            return True
        link = link.__cause__ or link.__context__
    return False


def _written_at(info: dict[str, Any]) -> float | None:
    """Unix time, from whatever name and form a filesystem has for it."""
    for name in ("LastModified", "last_modified", "mtime", "updated", "modified", "created"):
        value = info.get(name)
        if isinstance(value, datetime):
            return (value if value.tzinfo is not None else value.replace(tzinfo=UTC)).timestamp()
        if isinstance(value, int | float) and not isinstance(value, bool):
            return float(value)
        if isinstance(value, str):
            with contextlib.suppress(ValueError):
                time = datetime.fromisoformat(value)
                return (time if time.tzinfo is not None else time.replace(tzinfo=UTC)).timestamp()
    return None
