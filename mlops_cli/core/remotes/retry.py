"""When a failed request is worth another try, and how long to wait for it."""

from __future__ import annotations

import errno
import random
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from mlops_cli.core.errors import ProjectError

Result = TypeVar("Result")

_STATUSES = frozenset({408, 425, 429, 500, 502, 503, 504})
_ERRNOS = frozenset(
    {errno.ECONNRESET, errno.ECONNABORTED, errno.EPIPE, errno.ETIMEDOUT, errno.ENETUNREACH, errno.EHOSTUNREACH}
)
# S3 answers some of these with a status that says otherwise.
_CODES = frozenset(
    {
        "ConditionalRequestConflict",
        "IncompleteBody",
        "InternalError",
        "OperationAborted",
        "RequestTimeout",
        "ServiceUnavailable",
        "SlowDown",
        "Throttling",
        "ThrottlingException",
    }
)
# By name, so that judging an error imports no client library: aiohttp, botocore, asyncssh and urllib3.
_NAMES = frozenset(
    {
        "ClientPayloadError",
        "ConnectTimeoutError",
        "ConnectionClosedError",
        "ConnectionLost",
        "FlexibleChecksumError",
        "IncompleteRead",
        "IncompleteReadError",
        "ReadTimeoutError",
        "ResponseParserError",
        "ResponseStreamingError",
        "SFTPConnectionLost",
        "ServerDisconnectedError",
        "ServerTimeoutError",
        "ServiceNotAvailable",
    }
)
_TRIED = "_mlo_tried"


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How long one request may take and how often it is made. From the options of a remote in mlo.yaml."""

    connect_s: float = 10.0  # for a connection to stand
    read_s: float = 60.0  # without a byte
    tries: int = 5  # in all; 1 gives up at once
    backoff_s: float = 0.5  # before the second try, doubled before each further one
    longest_s: float = 20.0

    @classmethod
    def taken_from(cls, options: dict[str, Any], remote: str) -> Patience:
        """Takes its four options out of those that go to the client library. Raises ProjectError."""
        default = cls()
        given = {
            name: _number(options.pop(name), f"remotes.{remote}.options.{name}", least)
            for name, least in (("connect_timeout", 0.001), ("read_timeout", 0.001), ("retries", 0), ("backoff", 0))
            if name in options
        }
        return cls(
            connect_s=given.get("connect_timeout", default.connect_s),
            read_s=given.get("read_timeout", default.read_s),
            tries=int(given.get("retries", default.tries - 1)) + 1,
            backoff_s=given.get("backoff", default.backoff_s),
        )

    def insist(self, work: Callable[[], Result], *, renew: Callable[[], None] | None = None) -> Result:
        """What `work` returns, tried again after failures that pass. `renew` runs before each further try."""
        for wait_s in self._waits():
            try:
                return work()
            except Exception as error:
                if wait_s is None or not is_transient(error) or tries_of(error) > 1:
                    _mark(error, self.tries if wait_s is None else 1)
                    raise
            if wait_s:
                time.sleep(wait_s)
            if renew is not None:
                renew()
        raise AssertionError("the last try returns or raises")

    async def insist_async(self, work: Callable[[], Awaitable[Result]]) -> Result:
        """As insist, on an event loop."""
        import asyncio

        for wait_s in self._waits():
            try:
                return await work()
            except Exception as error:
                if wait_s is None or not is_transient(error):
                    _mark(error, self.tries if wait_s is None else 1)
                    raise
            await asyncio.sleep(wait_s)
        raise AssertionError("the last try returns or raises")

    def _waits(self) -> Iterator[float | None]:
        """Seconds to wait after each try; None after the last."""
        for number in range(self.tries - 1):
            longest = min(self.backoff_s * 2**number, self.longest_s)
            # Jitter: clients that failed together shall not come back together.
            yield random.uniform(longest / 2, longest)  # noqa: S311
        yield None


def is_transient(error: BaseException) -> bool:
    """True if the same request may well succeed in a moment: a lost connection, a timeout, a busy or broken server."""
    for link in chain(error):
        status = status_of(link)
        if status is not None:
            return status in _STATUSES or _code(link) in _CODES
        if isinstance(link, FileNotFoundError | PermissionError | FileExistsError | ConnectionRefusedError):
            # S3's refusals are those by name, and what they were made from says why.
            if _status_below(link) in _STATUSES:
                continue
            return False
        if isinstance(link, TimeoutError | ConnectionResetError | ConnectionAbortedError | BrokenPipeError):
            return True
        if isinstance(link, OSError) and link.errno in _ERRNOS and not _is_local(link):
            return True
        if any(kind.__name__ in _NAMES for kind in type(link).__mro__):
            return True
    return False


def status_of(error: BaseException) -> int | None:
    """The HTTP status a client library's error carries: botocore's, aiohttp's, azure's, gcsfs's."""
    response = getattr(error, "response", None)
    if isinstance(response, Mapping):
        return _as_status(response.get("ResponseMetadata", {}).get("HTTPStatusCode"))
    for name in ("status", "status_code", "code"):
        status = _as_status(getattr(error, name, None))
        if status is not None:
            return status
    return None


def tries_of(error: BaseException) -> int:
    """How often the request that ended so was made; 1 if nobody counted."""
    return max((getattr(link, _TRIED, 1) for link in chain(error)), default=1)


def _as_status(value: object) -> int | None:
    try:
        number = int(str(value))
    except ValueError:
        return None
    return number if 300 <= number < 600 else None


def _code(error: BaseException) -> str:
    response = getattr(error, "response", None)
    return str(response.get("Error", {}).get("Code", "")) if isinstance(response, Mapping) else ""


def _status_below(error: BaseException) -> int | None:
    return next((status for link in chain(error) if (status := status_of(link)) is not None), None)


def _is_local(error: OSError) -> bool:
    """An error of a file on this machine names the file."""
    return error.filename is not None


def chain(error: BaseException) -> Iterator[BaseException]:
    """The error and what it came from, outermost first."""
    seen: set[int] = set()
    link: BaseException | None = error
    while link is not None and id(link) not in seen:
        seen.add(id(link))
        yield link
        link = link.__cause__ or link.__context__


def _mark(error: Exception, tries: int) -> None:
    if tries > tries_of(error):
        setattr(error, _TRIED, tries)


def _number(value: object, name: str, least: float) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value <= 86_400:
        raise ProjectError(f"{name} is {value!r}", hint="write a number, of seconds or of retries: 10")
    return float(value)
