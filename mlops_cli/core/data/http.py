"""One file behind http or https as a source."""

from __future__ import annotations

import base64
import contextlib
from collections.abc import Iterator
from http.client import HTTPException, IncompleteRead
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import unquote, urlsplit, urlunsplit
from urllib.request import Request, urlopen

from mlops_cli.core.base.progress import Progress
from mlops_cli.core.base.records import Entry
from mlops_cli.core.data.address import Address
from mlops_cli.core.data.origin import State
from mlops_cli.core.data.places import keep
from mlops_cli.core.errors import MloError, NotFound, RemoteError
from mlops_cli.core.project.lock import SourceLock
from mlops_cli.core.remotes.retry import Patience
from mlops_cli.core.store.local import LocalStore

_BLOCK_BYTES = 1 << 20
PATIENCE = Patience()  # as with a remote of which mlo.yaml says nothing else
_NO_HEAD = frozenset({400, 403, 405, 501})  # servers that only answer GET say so in many ways
_REFUSED = frozenset({401, 403})


class HttpOrigin:
    """Redirects are followed, to http and https alone; a password in the URL goes to the first server only.

    What fails in passing is asked for again, from the start."""

    def __init__(self, address: Address, *, progress: Progress) -> None:
        self._address = address
        self._progress = progress

    def look(self, before: SourceLock | None = None) -> State:
        return PATIENCE.insist(self._look)

    def _look(self) -> State:
        try:
            with self._answer("HEAD") as answer:
                return self._state(answer)
        except RemoteError as error:
            cause = error.__cause__
            if not isinstance(cause, HTTPError) or cause.code not in _NO_HEAD:
                raise
        with self._answer("GET") as answer:
            return self._state(answer)

    def bring(self, store: LocalStore) -> tuple[Entry, State]:
        place = Path(store.temporary())
        try:
            size, state = PATIENCE.insist(lambda: self._fetch(place))
            digest = keep(store, str(place), size if state.size is None else state.size, self._address.recorded)
        except BaseException:
            place.unlink(missing_ok=True)
            raise
        return Entry(digest, "file", size), State(size=size, etag=state.etag, modified=state.modified)

    def _fetch(self, place: Path) -> tuple[int, State]:
        place.unlink(missing_ok=True)
        with self._answer("GET") as answer:
            state = self._state(answer)
            size = self._write(answer, place, state.size)
        if state.size is not None and size < state.size:
            raise RemoteError(
                f"{self._address.recorded}: {size} bytes came of {state.size}", hint="the way is bad; run it again"
            ) from IncompleteRead(b"", state.size - size)
        return size, state

    def _write(self, answer: Any, place: Path, total: int | None) -> int:
        size = 0
        self._progress.begin(f"getting {self._address.name}", total, "bytes")
        try:
            with place.open("xb") as file:
                while block := answer.read(_BLOCK_BYTES):
                    file.write(block)
                    size += len(block)
                    self._progress.advance(len(block))
        finally:
            self._progress.end()
        return size

    @contextlib.contextmanager
    def _answer(self, method: str) -> Iterator[Any]:
        shown = self._address.recorded
        try:
            with urlopen(self._request(method), timeout=PATIENCE.read_s) as answer:  # noqa: S310 - the scheme is checked
                yield answer
        except HTTPError as error:
            error.close()
            if error.code in (404, 410):
                raise NotFound(
                    f"there is no {shown}: {error.code} {error.reason}", hint="check the spelling"
                ) from error
            hint = "give the whole URL again, its signature or password included" if error.code in _REFUSED else None
            raise RemoteError(
                f"{shown} answered {error.code} {error.reason}", hint=hint or "try again later"
            ) from error
        except MloError:
            raise
        except (URLError, HTTPException, TimeoutError, ConnectionError) as error:
            why = getattr(error, "reason", None) or str(error) or type(error).__name__
            raise RemoteError(f"{shown} cannot be reached: {why}", hint="check the URL and the network") from error

    def _request(self, method: str) -> Request:
        parts = urlsplit(self._address.url)
        user, at, host = parts.netloc.rpartition("@")
        url = urlunsplit((parts.scheme, host, parts.path or "/", parts.query, ""))
        request = Request(url, method=method, headers={"User-Agent": "mlo", "Accept-Encoding": "identity"})  # noqa: S310
        if at:
            token = base64.b64encode(unquote(user).encode()).decode()
            request.add_unredirected_header("Authorization", f"Basic {token}")
        return request

    def _state(self, answer: Any) -> State:
        headers = answer.headers
        if urlsplit(answer.url).path.endswith("/") and headers.get_content_type() == "text/html":
            raise NotFound(
                f"{self._address.recorded} is a folder's index page, not data",
                hint="name one file; of a folder that mlo pushed, make it a remote: mlo remote add NAME URL",
            )
        length = headers.get("Content-Length", "")
        encoded = headers.get("Content-Encoding", "identity") != "identity"
        return State(
            size=int(length) if length.isdigit() and not encoded else None,
            etag=headers.get("ETag"),
            modified=headers.get("Last-Modified"),
        )
