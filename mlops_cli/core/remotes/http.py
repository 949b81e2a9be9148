"""A remote that a plain web server shows: read only, listed by the server's own index pages.

What is supported is a page of links for each folder, as `python -m http.server`, nginx (`autoindex on`), Apache
(mod_autoindex) and Caddy (`file_server browse`) make them. See store/FORMAT.md, "Remote".
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, MutableSequence, Sequence
from functools import partial
from html.parser import HTMLParser
from http import HTTPStatus
from pathlib import Path
from typing import Any, NoReturn, TypeVar
from urllib.parse import quote, unquote, urljoin, urlsplit, urlunsplit

import aiohttp
from fsspec.asyn import get_loop, sync
from fsspec.implementations.http import HTTPFileSystem
from yarl import URL

from mlops_cli.core.errors import RemoteError
from mlops_cli.core.remotes.filesystem import FilesystemRemote
from mlops_cli.core.remotes.remote import Fact, Unsupported, checked_key
from mlops_cli.core.remotes.retry import Patience, status_of

_AT_ONCE = 32
_BLOCK = 1 << 20
_PAGE_BYTES = 64 << 20
_HINT = "open that URL in a browser: it should list the remote's files; then `mlo remote check`"
Result = TypeVar("Result")


def open_http(
    name: str, url: str, shown: str, options: dict[str, Any], patience: Patience, protocol: str
) -> HttpRemote:
    """Options go to aiohttp with each request (`headers`, `proxy`, `ssl`), `client_kwargs` to its session."""
    given = dict(options)
    limits = aiohttp.ClientTimeout(total=None, sock_connect=patience.connect_s, sock_read=patience.read_s)
    client = {"timeout": limits, "trust_env": True, **given.pop("client_kwargs", {})}
    # Without compression: what comes is to be the bytes that lie there, and their number the length that is said.
    headers = {"Accept-Encoding": "identity", **given.pop("headers", {})}
    system = HTTPFileSystem(skip_instance_cache=True, encoded=True, client_kwargs=client, headers=headers, **given)
    parts = urlsplit(url)
    base = urlunsplit((parts.scheme.lower(), parts.netloc, parts.path.rstrip("/"), "", ""))
    return HttpRemote(name, shown, system, base, protocol=protocol, patience=patience)


class HttpRemote(FilesystemRemote):
    """Implements the reading half of Remote; writing is Unsupported."""

    def __init__(self, name: str, url: str, filesystem: Any, base: str, *, protocol: str, patience: Patience) -> None:
        super().__init__(name, url, filesystem, base, protocol=protocol, patience=patience)
        self.hint = _HINT

    def facts(self) -> list[Fact]:
        with self._errors("cannot reach it"):
            server = self._insist(lambda: self._ask("GET", self._base + "/", _server))
        return [Fact("endpoint", urlsplit(self._base).netloc.rpartition("@")[2]), Fact("server", server)]

    # -- writing ---------------------------------------------------------------------------------------------

    def put(self, key: str, data: bytes) -> None:
        self._refuse(key)

    def put_file(self, key: str, path: Path) -> None:
        self._refuse(key)

    def put_if_absent(self, key: str, data: bytes) -> bool:
        self._refuse(key)

    def delete(self, key: str) -> None:
        self._refuse(key)

    def create(self) -> None:
        """A remote that others wrote is there or not."""

    def require_create(self) -> None:
        raise Unsupported(f"{self.title} is read only, so it can hold no registry", hint=_WRITE_HINT)

    def _refuse(self, key: str) -> NoReturn:
        checked_key(key)
        raise Unsupported(f"{self.title} is read only: mlo cannot write or delete {key} over HTTP", hint=_WRITE_HINT)

    # -- reading ---------------------------------------------------------------------------------------------

    def exists(self, key: str) -> bool:
        url = self._path(key)
        with self._errors(f"cannot look for {key}"):
            try:
                # A folder answers with a redirection to the same with a slash.
                return not self._insist(lambda: self._ask("HEAD", url, _final)).endswith("/")
            except FileNotFoundError:
                self._reach()
                return False

    def _path(self, key: str) -> str:
        return f"{self._base}/{quote(checked_key(key))}"

    def _read(self, path: str) -> bytes:
        async def whole(answer: aiohttp.ClientResponse) -> bytes:
            return await answer.read()

        return self._ask("GET", path, whole)

    def _read_file(self, path: str, target: Path) -> None:
        async def save(answer: aiohttp.ClientResponse) -> None:
            with open(target, "wb") as file:
                async for block in answer.content.iter_chunked(_BLOCK):
                    file.write(block)

        self._ask("GET", path, save)

    def _read_range(self, path: str, start: int, length: int) -> bytes:
        async def part(answer: aiohttp.ClientResponse) -> bytes:
            if answer.status == HTTPStatus.PARTIAL_CONTENT:
                said = answer.headers.get("Content-Range", "")
                if not said.replace(" ", "").startswith(f"bytes{start}-"):
                    raise RemoteError(f"{self.title}: asked for bytes from {start}, it sent {said!r}", hint=self.hint)
                return await answer.read()
            # A server that knows no ranges sends everything: what lies before is passed over, the rest not awaited.
            data = bytearray()
            position = 0
            async for block in answer.content.iter_chunked(_BLOCK):
                data += block[max(start - position, 0) : max(start + length - position, 0)]
                position += len(block)
                if len(data) >= length:
                    answer.close()
                    break
            return bytes(data)

        try:
            return self._ask("GET", path, part, headers={"Range": f"bytes={start}-{start + length - 1}"})
        except aiohttp.ClientResponseError as error:
            if status_of(error) != HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
                raise
            return b""

    def _size(self, path: str) -> int:
        return self._ask("HEAD", path, _length)

    def sizes(self, prefix: str = "") -> Iterator[tuple[str, int]]:
        """By index pages for the names and a HEAD for each size. Raises RemoteError where there are no such pages."""
        if prefix:
            checked_key(prefix.rstrip("/"))
        with self._errors(f"cannot list {prefix or 'it'}"):
            keys = [key for key in self._keys(prefix) if key.startswith(prefix) and not key.startswith("tmp/")]
            lengths = self._insist(lambda: self._lengths(keys))
        yield from sorted((key, length) for key, length in zip(keys, lengths, strict=True) if length is not None)

    def list(self, prefix: str = "") -> Iterator[str]:
        if prefix:
            checked_key(prefix.rstrip("/"))
        with self._errors(f"cannot list {prefix or 'it'}"):
            keys = self._keys(prefix)
        yield from sorted(key for key in keys if key.startswith(prefix) and not key.startswith("tmp/"))

    def _keys(self, prefix: str) -> Sequence[str]:
        """The keys below the folder of a prefix, folder by folder."""
        folder = prefix.rpartition("/")[0]
        level = [f"{folder}/" if folder else ""]
        found: MutableSequence[str] = []
        first = True
        while level:
            pages = self._insist(partial(self._pages, level))
            if first and pages == [None]:
                self._reach()
            first = False
            names = [f"{at}{name}" for at, page in zip(level, pages, strict=True) for name in page or ()]
            found += [name for name in names if not name.endswith("/")]
            level = [name for name in names if name.endswith("/") and name != "tmp/"]
        return found

    def _pages(self, folders: Sequence[str]) -> Sequence[Sequence[str] | None]:
        """The names on each folder's page, those of folders with a slash; None for one that is not there."""

        async def page(folder: str) -> Sequence[str] | None:
            url = f"{self._base}/{quote(folder)}"

            async def names(answer: aiohttp.ClientResponse) -> Sequence[str]:
                if answer.content_type != "text/html":
                    raise RemoteError(
                        f"{self.title}: {url} is {answer.content_type}, not a page that lists a folder",
                        hint="let the server list its folders: nginx `autoindex on`, Apache `Options +Indexes`",
                    )
                text = bytearray()
                async for block in answer.content.iter_chunked(_BLOCK):
                    text += block
                    if len(text) > _PAGE_BYTES:
                        raise RemoteError(f"{self.title}: the page of {url} does not end", hint=self.hint)
                return names_on(text.decode("utf-8", "replace"), str(answer.url))

            try:
                return await self._request("GET", url, names)
            except FileNotFoundError:
                return None

        return self._together(page, folders)

    def _lengths(self, keys: Sequence[str]) -> Sequence[int | None]:
        async def length(key: str) -> int | None:
            try:
                return await self._request("HEAD", self._path(key), _length)
            except FileNotFoundError:
                return None  # deleted meanwhile

        return self._together(length, keys)

    def _together(self, work: Callable[[str], Awaitable[Result]], items: Sequence[str]) -> Sequence[Result]:
        async def run() -> Sequence[Result]:
            few = asyncio.Semaphore(_AT_ONCE)

            async def one(item: str) -> Result:
                async with few:
                    return await work(item)

            return await asyncio.gather(*map(one, items))

        result: Sequence[Result] = sync(get_loop(), run)
        return result

    def _reach(self) -> None:
        try:
            page = self._insist(lambda: self._pages([""]))[0]
        except aiohttp.ClientError as error:
            raise self._failed("cannot reach it", error) from error
        if page is None:
            raise RemoteError(f"{self.title}: there is nothing at that URL", hint=self.hint)

    # -- requests --------------------------------------------------------------------------------------------

    def _ask(
        self,
        method: str,
        url: str,
        read: Callable[[aiohttp.ClientResponse], Awaitable[Result]],
        *,
        headers: dict[str, str] | None = None,
    ) -> Result:
        result: Result = sync(get_loop(), self._request, method, url, read, headers)
        return result

    async def _request(
        self,
        method: str,
        url: str,
        read: Callable[[aiohttp.ClientResponse], Awaitable[Result]],
        headers: dict[str, str] | None = None,
    ) -> Result:
        """One request. Raises FileNotFoundError for 404 and 410, aiohttp's ClientResponseError for other refusals."""
        session = await self._filesystem.set_session()
        given = {**self._filesystem.kwargs, "allow_redirects": True}
        given["headers"] = {**given.get("headers", {}), **(headers or {})}
        async with session.request(method, URL(url, encoded=True), **given) as answer:
            if answer.status in (404, 410):
                raise FileNotFoundError(url)
            answer.raise_for_status()
            return await read(answer)


_WRITE_HINT = "push to the folder or bucket that the web server shows, under its own URL"


async def _final(answer: aiohttp.ClientResponse) -> str:
    return answer.url.path


async def _length(answer: aiohttp.ClientResponse) -> int:
    if answer.content_length is None:
        raise RemoteError(f"{answer.url} has no Content-Length", hint="use a server that says how long its files are")
    return answer.content_length


async def _server(answer: aiohttp.ClientResponse) -> str:
    return answer.headers.get("Server", "unknown")


class _Links(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "a":
            self.found += [value for name, value in attrs if name == "href" and value]


def names_on(page: str, url: str) -> list[str]:
    """What a folder's index page lists directly below itself; folders with a slash. Links elsewhere, to sort orders
    and to the parent are passed over."""
    links = _Links()
    links.feed(page)
    here = urlsplit(url)
    names: dict[str, None] = {}
    for link in links.found:
        there = urlsplit(urljoin(url, link))
        # Compared as text: servers do not agree on what they quote.
        path, folder = unquote(there.path), unquote(here.path)
        if there.query or there.fragment or there.netloc != here.netloc or not path.startswith(folder):
            continue
        name = path[len(folder) :]
        bare = name.removesuffix("/")
        if bare not in ("", ".", "..") and "/" not in bare:
            names[name] = None
    return list(names)
