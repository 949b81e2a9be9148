"""A remote on a server reached by ssh, in a folder there. Through sshfs, whose connection is asyncssh's.

The server has to be known: its key in ~/.ssh/known_hosts, as for `ssh` itself, unless `options: {known_hosts: ...}`
says otherwise. Values are renamed into place and created by hard links, which are extensions of SFTP that OpenSSH has.
"""

from __future__ import annotations

import asyncio
import contextlib
import posixpath
import secrets
import stat
import threading
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import unquote, urlsplit

import asyncssh
from fsspec.asyn import get_loop, sync
from sshfs import SSHFileSystem
from sshfs.utils import wrap_exceptions

from mlops_cli.core.base.files import user_path
from mlops_cli.core.errors import ProjectError, RemoteError
from mlops_cli.core.remotes.filesystem import FilesystemRemote
from mlops_cli.core.remotes.folder import ABANDONED_S
from mlops_cli.core.remotes.remote import TEMPORARY, Fact, Unsupported, checked_key
from mlops_cli.core.remotes.retry import Patience, chain

_HINT = "check that `ssh` to that host works without a question, then `mlo remote check`"
_AT_ONCE = 16  # folders listed side by side
_KEEPALIVES = 3  # unanswered ones after which a connection is lost
Result = TypeVar("Result")


def open_ssh(name: str, url: str, shown: str, options: dict[str, Any], patience: Patience, protocol: str) -> SshRemote:
    """Nothing is contacted yet. Raises ProjectError for a URL without a host."""
    parts = urlsplit(url)
    try:
        port = parts.port
    except ValueError:
        port = None
    if not parts.hostname or (port is None and ":" in parts.netloc.rpartition("@")[2].rpartition("]")[2]):
        raise ProjectError(f"remote {name}: {shown} names no host", hint="write sftp://user@host:22/path")
    login = {
        "port": port,
        "username": unquote(parts.username) if parts.username else None,
        "password": unquote(parts.password) if parts.password else None,
    }
    given = {key: value for key, value in login.items() if value is not None} | options
    host = str(given.pop("host", None) or parts.hostname)
    # sshfs would accept every host; the default of asyncssh is ~/.ssh/known_hosts and to refuse the others.
    given.setdefault("known_hosts", ())
    for option in ("known_hosts", "client_keys"):
        if option in given:
            given[option] = _expanded(given[option], f"remotes.{name}.options.{option}")
    given.setdefault("connect_timeout", patience.connect_s)
    given.setdefault("login_timeout", patience.connect_s)
    given.setdefault("keepalive_interval", patience.read_s / _KEEPALIVES)
    given.setdefault("keepalive_count_max", _KEEPALIVES)
    path = unquote(parts.path)
    base = path[3:] or "." if path.startswith("/~/") else path or "."
    return SshRemote(name, shown, host, given, base, protocol=protocol, patience=patience)


class SshRemote(FilesystemRemote):
    """Implements Remote. The connection is made by the first request, and again when it was lost."""

    hint = _HINT

    def __init__(
        self, name: str, url: str, host: str, options: dict[str, Any], base: str, *, protocol: str, patience: Patience
    ) -> None:
        self._connected: Any = None
        self._connecting = threading.Lock()
        self._host = host
        self._options = options
        super().__init__(name, url, None, base, protocol=protocol, patience=patience)
        self.hint = _HINT

    @property
    def _filesystem(self) -> Any:
        with self._connecting:
            if self._connected is None:
                self._connected = SSHFileSystem(self._host, skip_instance_cache=True, **self._options)
            return self._connected

    @_filesystem.setter
    def _filesystem(self, value: Any) -> None:
        self._connected = value

    def _insist(self, work: Callable[[], Result]) -> Result:
        return self._patience.insist(work, renew=self._hang_up)

    def _hang_up(self) -> None:
        """Forget a connection that no longer stands, so that the next request makes another."""
        with self._connecting:
            if self._connected is not None and self._connected.client.is_closed():
                self._connected = None

    # -- who and where ---------------------------------------------------------------------------------------

    def facts(self) -> list[Fact]:
        with self._errors("cannot log in"):
            client = self._insist(lambda: self._filesystem).client
            host, port = client.get_extra_info("peername")[:2]
            user = client.get_extra_info("username")
            version = client.get_extra_info("server_version") or "unknown"
        key = client.get_server_host_key()
        facts = [
            Fact("endpoint", f"{host} port {port}"),
            Fact("identity", f"{user}@{self._host}"),
            Fact("server", version),
            Fact("path", self._base),
        ]
        return [*facts, Fact("host key", key.get_fingerprint())] if key is not None else facts

    def create(self) -> None:
        with self._errors("cannot create it"):
            self._insist(lambda: self._on_channel(lambda channel: channel.makedirs(self._base, exist_ok=True)))

    def _hint(self, error: Exception) -> str:
        if any(isinstance(link, asyncssh.HostKeyNotVerifiable) for link in chain(error)):
            return (
                f"run `ssh {self._host}` once and compare the fingerprint it shows, which puts the host into "
                "~/.ssh/known_hosts; or name another such file in the remote's `options: {known_hosts: FILE}`"
            )
        return self.hint

    # -- conditional create ----------------------------------------------------------------------------------

    def require_create(self) -> None:
        """Hard links are what tells two writers apart; whether the server has them shows when it is tried."""

    def put_if_absent(self, key: str, data: bytes) -> bool:
        path = f"{self._base}/{checked_key(key)}"
        linking = False

        async def create(channel: Any) -> bool:
            nonlocal linking
            temporary = await self._temporary_on(channel)
            try:
                await _write(channel, temporary, data)
                await channel.makedirs(posixpath.dirname(path), exist_ok=True)
                try:
                    # link(2) on the server fails if the name exists, and is atomic.
                    again, linking = linking, True
                    await channel.link(temporary, path)
                except asyncssh.SFTPOpUnsupported:
                    raise Unsupported(
                        f"{self.title}: that server has no hard links over SFTP, so two writers cannot be told apart",
                        hint="keep the registry in a folder that everybody reaches, or on S3",
                    ) from None
                except asyncssh.SFTPError:
                    # SFTP has no word for "exists" in the version that OpenSSH speaks.
                    if not await channel.lexists(path):
                        raise
                    # An earlier try whose answer was lost may have been the one that created it.
                    return again and await _read(channel, path) == data
                return True
            finally:
                with contextlib.suppress(asyncssh.Error):
                    await channel.unlink(temporary)

        with self._errors(f"cannot create {key}"):
            return self._insist(lambda: self._on_channel(create))

    # -- what ssh does its own way ---------------------------------------------------------------------------

    def _write(self, path: str, data: bytes) -> None:
        self._on_channel(lambda channel: _write(channel, path, data))

    def _write_file(self, path: str, source: Path) -> None:
        async def send(channel: Any) -> None:
            await channel.put(str(source).encode(), path)
            async with channel.open(path, "r+b") as file:
                await _flush(file)

        self._on_channel(send)

    def _read(self, path: str) -> bytes:
        return self._on_channel(lambda channel: _read(channel, path))

    def _read_file(self, path: str, target: Path) -> None:
        self._on_channel(lambda channel: channel.get(path, str(target)))

    def _read_range(self, path: str, start: int, length: int) -> bytes:
        async def read(channel: Any) -> bytes:
            async with channel.open(path, "rb") as file:
                return bytes(await file.read(length, start))

        return self._on_channel(read)

    def _move(self, source: str, target: str) -> None:
        async def move(channel: Any) -> None:
            try:
                try:
                    await channel.posix_rename(source, target)
                except asyncssh.SFTPNoSuchFile:
                    await channel.makedirs(posixpath.dirname(target), exist_ok=True)
                    await channel.posix_rename(source, target)
            except asyncssh.SFTPOpUnsupported:
                raise Unsupported(
                    f"{self.title}: that server cannot rename over an existing file, so a value could be seen half",
                    hint="use OpenSSH's server",
                ) from None

        self._on_channel(move)

    def _temporary(self) -> str:
        return self._on_channel(self._temporary_on)

    async def _temporary_on(self, channel: Any) -> str:
        folder = f"{self._base}/{TEMPORARY}"
        if not await channel.isdir(folder):
            if not await channel.isdir(self._base):
                raise RemoteError(
                    f"{self.title}: there is no folder {self._base}", hint=f"create it there: mkdir -p {self._base}"
                )
            await channel.makedirs(folder, exist_ok=True)
        return f"{folder}/{secrets.token_hex(12)}"

    def _find(self, place: str) -> dict[str, int]:
        found: dict[str, int] = {}

        async def scan(channel: Any, folder: str) -> None:
            below = []
            async for item in channel.scandir(folder):
                name, attributes = item.filename, item.attrs
                if name in (".", ".."):
                    continue
                path = f"{folder}/{name}"
                kind = attributes.permissions or 0
                if stat.S_ISLNK(kind):
                    attributes = await channel.stat(path)
                    kind = attributes.permissions or 0
                if stat.S_ISDIR(kind):
                    below.append(path)
                elif stat.S_ISREG(kind):
                    found[path] = attributes.size or 0
            for start in range(0, len(below), _AT_ONCE):
                await asyncio.gather(*(again(channel, path) for path in below[start : start + _AT_ONCE]))

        async def again(channel: Any, folder: str) -> None:
            # What vanishes meanwhile was deleted by another.
            with contextlib.suppress(asyncssh.SFTPNoSuchFile, asyncssh.SFTPNoSuchPath):
                await scan(channel, folder)

        try:
            self._on_channel(lambda channel: scan(channel, place))
        except (FileNotFoundError, NotADirectoryError):
            return {}
        return found

    def sweep(self) -> int:
        async def clean(channel: Any) -> int:
            removed = 0
            with contextlib.suppress(asyncssh.SFTPNoSuchFile):
                async for item in channel.scandir(f"{self._base}/{TEMPORARY}"):
                    age = time.time() - (item.attrs.mtime or time.time())
                    if stat.S_ISREG(item.attrs.permissions or 0) and age >= ABANDONED_S:
                        await channel.unlink(f"{self._base}/{TEMPORARY}/{item.filename}")
                        removed += 1
            return removed

        with self._errors("cannot clean up"):
            return self._insist(lambda: self._on_channel(clean))

    # -- inside ----------------------------------------------------------------------------------------------

    def _on_channel(self, work: Callable[[Any], Awaitable[Result]]) -> Result:
        """Run `work` with an SFTP channel, on fsspec's loop; its errors as sshfs translates them."""
        system = self._filesystem

        @wrap_exceptions  # type: ignore[untyped-decorator, unused-ignore]
        async def run() -> Result:
            async with system._pool.get() as channel:
                return await work(channel)

        result: Result = sync(get_loop(), run)
        return result


def _expanded(value: Any, setting: str) -> Any:
    """Paths that begin with `~`, written out; anything else as it is."""
    if isinstance(value, str):
        return str(user_path(value, setting))
    return [_expanded(item, setting) for item in value] if isinstance(value, list) else value


async def _write(channel: Any, path: str, data: bytes) -> None:
    async with channel.open(path, "wb") as file:
        await file.write(data)
        await _flush(file)


async def _read(channel: Any, path: str) -> bytes:
    async with channel.open(path, "rb") as file:
        return bytes(await file.read())


async def _flush(file: Any) -> None:
    """fsync on the server, where it offers that."""
    with contextlib.suppress(asyncssh.SFTPOpUnsupported):
        await file.fsync()
