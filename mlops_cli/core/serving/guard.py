"""Who may ask, and who may change what is served: by a token, and on loopback only by a loopback name."""

from __future__ import annotations

import hmac
import ipaddress
from collections.abc import Iterable, Mapping

from mlops_cli.core.errors import UsageError
from mlops_cli.core.serving.problems import Problem

OPEN_PATHS = frozenset({"/ping", "/health", "/v2/health/live", "/v2/health/ready"})
_ADMIN_PATHS = ("/v2/repository", "/admin")
_LOOPBACK_NAMES = frozenset({"127.0.0.1", "localhost", "[::1]"})


def is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def require_token(host: str, token: str | None, *, insecure: bool) -> None:
    """Raise UsageError for a host that others reach, unless there is a token or the user insists."""
    if is_loopback(host) or token or insecure:
        return
    raise UsageError(
        f"{host} can be reached from other machines, and no token protects the model",
        hint="set MLO_SERVE_TOKEN to a secret that clients send as `Authorization: Bearer ...`, or say --insecure",
    )


class Guard:
    """Checks the head of each request, before its body is read. Tokens are compared in constant time, never logged.

    `token` opens the paths that predict, `admin` those that change what is served, and all others. Without an admin
    token nobody changes anything, but for a server on loopback that has no token at all. `hosts` are the names that the
    Host header may hold; on loopback they come on top of its own.
    """

    def __init__(self, host: str, token: str | None, admin: str | None = None, hosts: Iterable[str] = ()) -> None:
        if token and token == admin:
            raise UsageError(
                "MLO_SERVE_ADMIN_TOKEN is the same as MLO_SERVE_TOKEN", hint="every client could change what is served"
            )
        self._token = token.encode() if token else None
        self._admin = admin.encode() if admin else None
        self._is_trusting = is_loopback(host) and not token and not admin
        self._is_loopback = is_loopback(host)
        named = frozenset(name.lower().rstrip(".") for name in hosts)
        # A page in a browser may reach loopback under a name of its own (DNS rebinding); its Host header gives it away.
        self._hosts = _LOOPBACK_NAMES | {host.lower()} | named if self._is_loopback else named

    def check(self, path: str, headers: Mapping[bytes, bytes]) -> None:
        """Raises Problem 403 or 401."""
        self.check_host(path, headers)
        self.authorize(path, headers)

    def check_host(self, path: str, headers: Mapping[bytes, bytes]) -> None:
        """Is it this server that the client means? Raises Problem 403."""
        if self._hosts and (self._is_loopback or path not in OPEN_PATHS):  # probes ask by the address
            self._check_name(headers.get(b"host", b"").decode("latin-1").lower())

    def authorize(self, path: str, headers: Mapping[bytes, bytes]) -> None:
        """May the client ask here? Raises Problem 401 or 403."""
        if path.startswith(_ADMIN_PATHS):
            self._check_admin(headers)
        elif self._token is not None and path not in OPEN_PATHS and not self.knows(headers):
            raise _unknown("this server wants its token: Authorization: Bearer ...")

    def knows(self, headers: Mapping[bytes, bytes]) -> bool:
        """Does the request carry the token, or the admin's, if there is one?"""
        if self._token is None:
            return True
        given = _bearer(headers)
        return _same(given, self._token) or _same(given, self._admin)

    def _check_name(self, host: str) -> None:
        name = host.rpartition(":")[0] if host.rpartition(":")[2].isdigit() else host
        if name not in self._hosts:
            names = "127.0.0.1 and localhost" if self._is_loopback else "the names in serve.hosts"
            raise Problem(f"this server answers to {names}, not to {host[:100] or 'no host'}", status=403)

    def _check_admin(self, headers: Mapping[bytes, bytes]) -> None:
        if self._is_trusting:
            return
        if self._admin is None:
            raise Problem("what is served cannot be changed here: the server has no MLO_SERVE_ADMIN_TOKEN", status=403)
        given = _bearer(headers)
        if _same(given, self._admin):
            return
        if _same(given, self._token):
            raise Problem("this token may predict, but not change what is served", status=403)
        raise _unknown("this path wants the admin's token: Authorization: Bearer ...")


def _bearer(headers: Mapping[bytes, bytes]) -> bytes:
    scheme, _, given = headers.get(b"authorization", b"").partition(b" ")
    return given.strip() if scheme.lower() == b"bearer" else b""


def _same(given: bytes, token: bytes | None) -> bool:
    return token is not None and hmac.compare_digest(given, token)


def _unknown(message: str) -> Problem:
    return Problem(message, status=401, headers=((b"www-authenticate", b"Bearer"),))
