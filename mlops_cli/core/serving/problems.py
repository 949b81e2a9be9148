"""What a server may refuse, as an HTTP status and a sentence. Each protocol gives it the form its clients read."""

from __future__ import annotations


class Problem(Exception):
    """A request that gets an error for an answer. `headers` go with it; `close` ends the connection; `refused` is why
    it was turned away without being looked at, for the metrics."""

    status = 400
    refused = ""

    def __init__(
        self,
        message: str,
        *,
        status: int | None = None,
        headers: tuple[tuple[bytes, bytes], ...] = (),
        close: bool = False,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.status = status if status is not None else self.status
        self.headers = headers
        self.close = close


class BadInput(Problem):
    """The rows do not fit the model's signature, or the body is not what the path takes."""


class TooLarge(Problem):
    status = 413


class UnsupportedType(Problem):
    status = 415


class UnknownPath(Problem):
    status = 404


class Unavailable(Problem):
    """More work is queued than the server should hold."""

    status = 503

    def __init__(self, message: str, *, refused: str = "", retry_s: int = 1) -> None:
        super().__init__(message, headers=((b"retry-after", b"%d" % retry_s),))
        self.refused = refused


class Expired(Problem):
    """The request waited longer than anybody waits for its answer."""

    status = 504
    refused = "expired"


class ModelFailed(Problem):
    """The model raised while it predicted these rows; what it raised is in the server's log."""

    status = 500
