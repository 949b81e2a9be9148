"""A remote on any fsspec filesystem: a folder, a bucket, a server. One code path for all of them.

What differs is only how a value comes to stand under its key in one step: by renaming a temp file where there are
renames, by a whole put where the backend's puts are atomic.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mlops_cli.core.base import durable
from mlops_cli.core.base.files import machine_errors
from mlops_cli.core.errors import MloError, NotFound, RemoteError
from mlops_cli.core.remotes.remote import Unsupported, checked_key, checked_range, exactly

# Backends whose put is one request that replaces the value as a whole or not at all.
ATOMIC_PUT = frozenset({"s3", "s3a", "gs", "gcs", "abfs", "abfss", "az", "adl", "oss", "memory"})
# Backends whose put can be told to fail if the key exists (S3: `If-None-Match: *`).
CONDITIONAL_PUT = frozenset({"s3", "s3a"})
_CONFLICT_TRIES = 5
_HINTS = {
    "s3": "check AWS_PROFILE or AWS_ACCESS_KEY_ID, the bucket's name and the endpoint, then `mlo remote check`",
    "gs": "check GOOGLE_APPLICATION_CREDENTIALS and the bucket's name, then `mlo remote check`",
    "abfs": "check AZURE_STORAGE_ACCOUNT_NAME, its key and the container's name, then `mlo remote check`",
    "ssh": "check that `ssh` to that host works without a question, then `mlo remote check`",
    "file": "check that the folder is there and can be written, then `mlo remote check`",
}
_ALIASES = {"s3a": "s3", "gcs": "gs", "az": "abfs", "abfss": "abfs", "adl": "abfs", "sftp": "ssh", "local": "file"}
_TEMPORARY = "tmp"
_ABANDONED_S = 86_400.0


class FilesystemRemote:
    """Implements Remote on `filesystem`, below `base`. `protocol` is fsspec's name of the kind."""

    def __init__(self, name: str, url: str, filesystem: Any, base: str, *, protocol: str, endpoint: str = "") -> None:
        self.name = name
        self.url = url
        self.protocol = protocol
        self._endpoint = endpoint
        self._filesystem = filesystem
        self._base = base.rstrip("/")
        self._create_is_proven = False

    @property
    def is_folder(self) -> bool:
        return self.protocol in ("file", "local")

    @property
    def title(self) -> str:
        """`remote origin (s3://bucket/path at http://host:9000)`."""
        return f"remote {self.name} ({self.url}{f' at {self._endpoint}' if self._endpoint else ''})"

    def require_create(self) -> None:
        if self.is_folder or self._create_is_proven:
            return
        if self.protocol not in CONDITIONAL_PUT:
            raise Unsupported(
                f"{self.title}: mlo has no proven conditional create on {self.protocol}",
                hint="keep the registry in a folder that everybody reaches or on S3, or say `registry: local`",
            )
        # Some servers that speak S3 ignore the condition and overwrite: ask this one, once, before relying on it.
        probe = self._temporary()
        with self._errors("cannot try a conditional create"):
            honoured = self._put_once(probe, b"first") and not self._put_once(probe, b"second")
            self._filesystem.rm_file(probe)
        if not honoured:
            raise Unsupported(
                f"{self.title}: it ignores `If-None-Match`, so two writers would overwrite each other",
                hint="upgrade that server, or keep the registry in a folder that everybody reaches",
            )
        self._create_is_proven = True

    def _put_once(self, path: str, data: bytes) -> bool:
        """One conditional put. Raises what the backend raises."""
        for _ in range(_CONFLICT_TRIES - 1):
            try:
                self._filesystem.pipe_file(path, data, mode="create")
                return True
            except FileExistsError:
                return False
            except OSError as error:
                # 409: another conditional put of this key is under way, and S3 asks to try again.
                if "ConditionalRequestConflict" not in f"{error} {error.__cause__}":
                    raise
        self._filesystem.pipe_file(path, data, mode="create")
        return True

    def put_if_absent(self, key: str, data: bytes) -> bool:
        self.require_create()
        if not self.is_folder:
            with self._errors(f"cannot create {key}"):
                return self._put_once(self._path(key), data)
        path = self._path(key)
        with self._errors(f"cannot create {key}"), machine_errors(f"{self.title}: cannot create {key}"):
            temporary = self._temporary()
            self._filesystem.makedirs(os.path.dirname(path), exist_ok=True)
            try:
                self._filesystem.pipe_file(temporary, data)
                durable.fsync_file(temporary)
                try:
                    # link(2) fails if the name exists, and is atomic on local file systems and NFS; a rename would
                    # replace what another writer created.
                    os.link(temporary, path)
                except FileExistsError:
                    return False
                except OSError as error:
                    if error.errno not in (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK):
                        raise
                    raise Unsupported(
                        f"{self.title}: its file system has no hard links, so two writers cannot be told apart",
                        hint="use a folder on ext4, xfs, btrfs, apfs or NFS",
                    ) from None
                durable.fsync_folder(os.path.dirname(path))
                return True
            finally:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(temporary)

    def put(self, key: str, data: bytes) -> None:
        path = self._path(key)
        with self._errors(f"cannot write {key}"), self._landing(path) as place:
            self._filesystem.pipe_file(place, data)

    def put_file(self, key: str, path: Path) -> None:
        final = self._path(key)
        with self._errors(f"cannot write {key}"), self._landing(final) as place:
            self._filesystem.put_file(str(path), place)

    def get(self, key: str) -> bytes:
        with self._errors(f"cannot read {key}", key=key):
            return bytes(self._filesystem.cat_file(self._path(key)))

    def get_file(self, key: str, target: Path) -> None:
        with self._errors(f"cannot read {key}", key=key):
            self._filesystem.get_file(self._path(key), str(target))

    def get_range(self, key: str, start: int, length: int) -> bytes:
        checked_range(start, length)
        path = self._path(key)
        with self._errors(f"cannot read {key}", key=key):
            if self.is_folder:
                handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
                try:
                    data = os.pread(handle, length, start)
                finally:
                    os.close(handle)
            else:
                size = int(self._filesystem.info(path)["size"])
                end = min(start + length, size)
                data = bytes(self._filesystem.cat_file(path, start=start, end=end)) if end > start else b""
            return exactly(data, start, length, of=f"{self.title}: {key}")

    def list(self, prefix: str = "") -> Iterator[str]:
        for key, _ in self.sizes(prefix):
            yield key

    def sizes(self, prefix: str = "") -> Iterator[tuple[str, int]]:
        if prefix:
            checked_key(prefix.rstrip("/"))
        folder = prefix.rpartition("/")[0]
        place = f"{self._base}/{folder}" if folder else self._base
        with self._errors(f"cannot list {prefix or 'it'}"):
            found = self._find(place)
        start = len(self._base) + 1
        keys = sorted((path[start:], int(info.get("size") or 0)) for path, info in found.items())
        for key, size in keys:
            if key.startswith(prefix) and not key.startswith(f"{_TEMPORARY}/"):
                yield key, size

    def exists(self, key: str) -> bool:
        with self._errors(f"cannot look for {key}"):
            try:
                # Not fsspec's isfile or exists: they take an endpoint that does not answer for an absent file.
                return bool(self._filesystem.info(self._path(key))["type"] == "file")
            except (FileNotFoundError, NotADirectoryError):
                self._reach()
                return False

    def delete(self, key: str) -> None:
        with self._errors(f"cannot delete {key}"), contextlib.suppress(FileNotFoundError):
            self._filesystem.rm_file(self._path(key))

    def settle(self) -> None:
        if self.is_folder and os.path.isdir(self._base):
            with machine_errors(f"{self.title}: cannot flush"):
                durable.sync_tree(Path(self._base))

    def sweep(self) -> int:
        """Remove temp files that writers left a day or longer ago; how many. Only folders have them."""
        if not self.is_folder:
            return 0
        removed = 0
        with self._errors("cannot clean up"), contextlib.suppress(FileNotFoundError):
            for item in os.scandir(f"{self._base}/{_TEMPORARY}"):
                if time.time() - item.stat().st_mtime >= _ABANDONED_S:
                    os.unlink(item.path)
                    removed += 1
        return removed

    def create(self) -> None:
        """Make the folder; buckets are made by whoever pays for them."""
        if self.protocol not in ATOMIC_PUT:
            with self._errors("cannot create it"), machine_errors(f"{self.title}: cannot create it"):
                self._filesystem.makedirs(self._base, exist_ok=True)

    # -- inside --------------------------------------------------------------------------------------------

    def _path(self, key: str) -> str:
        return f"{self._base}/{checked_key(key)}"

    def _temporary(self) -> str:
        folder = f"{self._base}/{_TEMPORARY}"
        self._filesystem.makedirs(folder, exist_ok=True)
        return f"{folder}/{secrets.token_hex(12)}"

    @contextlib.contextmanager
    def _landing(self, path: str) -> Iterator[str]:
        """Where to write so that `path` shows the whole value or nothing."""
        if self.protocol in ATOMIC_PUT:
            yield path
            return
        with machine_errors(f"{self.title}: cannot write"):
            temporary = self._temporary()
        try:
            with machine_errors(f"{self.title}: cannot write"):
                yield temporary
                self._filesystem.makedirs(path.rpartition("/")[0], exist_ok=True)
                if self.is_folder:
                    os.replace(temporary, path)
                else:
                    self._filesystem.mv(temporary, path)
        except BaseException:
            with contextlib.suppress(Exception):
                self._filesystem.rm_file(temporary)
            raise

    def _find(self, place: str) -> dict[str, dict[str, Any]]:
        # fsspec's walk passes over what it may not read; a registry that looks empty because of that would be a lie.
        strict = {"on_error": "raise"} if self.is_folder else {}
        try:
            found: dict[str, dict[str, Any]] = self._filesystem.find(place, detail=True, **strict)
        except (FileNotFoundError, NotADirectoryError):
            found = {}
        found.pop(self._base, None)  # a file where the folder should be
        if not found:
            self._reach()
        return found

    def _reach(self) -> None:
        """Raises RemoteError if the folder or bucket is not there: an unmounted disk is not an empty one."""
        if self.protocol == "memory":
            return
        is_bucket = self.protocol in ATOMIC_PUT
        place = self._base.lstrip("/").partition("/")[0] if is_bucket else self._base
        try:
            if self._filesystem.info(place)["type"] == "directory":
                return
        except (FileNotFoundError, NotADirectoryError):
            pass
        if is_bucket:
            raise RemoteError(f"{self.title}: there is no bucket {place}", hint="check its name, or create it")
        raise RemoteError(
            f"{self.title}: there is no folder {place}",
            hint=f"mount the disk it lies on, or create it: mkdir -p {place}",
        )

    @contextlib.contextmanager
    def _errors(self, doing: str, *, key: str | None = None) -> Iterator[None]:
        """Whatever a backend raises, as an MloError that names this remote."""
        try:
            yield
        except MloError:
            raise
        except FileNotFoundError as error:
            if key is None:
                raise self._failed(doing, error) from error
            self._reach()
            raise NotFound(f"{self.title} has no {key}", hint="push it from the machine that has it") from None
        except Exception as error:
            raise self._failed(doing, error) from error

    def _failed(self, doing: str, error: Exception) -> RemoteError:
        text = str(error) or type(error).__name__
        hint = _HINTS.get(_ALIASES.get(self.protocol, self.protocol), "try `mlo remote check`")
        return RemoteError(f"{self.title}: {doing}: {text}", hint=hint)
