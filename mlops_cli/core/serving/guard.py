"""Who may ask: a token where the project sets one, and on loopback only by a loopback name."""

from __future__ import annotations

import hmac
import ipaddress
from collections.abc import Mapping

from mlops_cli.core.errors import UsageError
from mlops_cli.core.serving.problems import Problem

OPEN_PATHS = frozenset({"/ping", "/health", "/v2/health/live", "/v2/health/ready"})
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
    """Checks the head of each request. The token is compared in constant time and never logged."""

    def __init__(self, host: str, token: str | None) -> None:
        self._token = token.encode() if token else None
        # A page in a browser may reach loopback under a name of its own (DNS rebinding); its Host header gives it away.
        self._hosts = _LOOPBACK_NAMES | {host.lower()} if is_loopback(host) else None

    def check(self, path: str, headers: Mapping[bytes, bytes]) -> None:
        """Raises Problem 403 or 401."""
        if self._hosts is not None:
            host = headers.get(b"host", b"").decode("latin-1").lower()
            name = host.rpartition(":")[0] if host.rpartition(":")[2].isdigit() else host
            if name not in self._hosts:
                raise Problem(
                    f"this server answers to 127.0.0.1 and localhost, not to {host[:100] or 'no host'}", status=403
                )
        if self._token is not None and path not in OPEN_PATHS and not self.knows(headers):
            raise Problem(
                "this server wants its token: Authorization: Bearer ...",
                status=401,
                headers=((b"www-authenticate", b"Bearer"),),
            )

    def knows(self, headers: Mapping[bytes, bytes]) -> bool:
        """Does the request carry the token, if there is one?"""
        if self._token is None:
            return True
        scheme, _, given = headers.get(b"authorization", b"").partition(b" ")
        return scheme.lower() == b"bearer" and hmac.compare_digest(given.strip(), self._token)
