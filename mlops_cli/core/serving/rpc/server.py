"""A gRPC server on the event loop of the HTTP one, and with its limits."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc

from mlops_cli.core.errors import UsageError
from mlops_cli.core.serving.limits import Limits
from mlops_cli.core.serving.rpc.service import Service

if TYPE_CHECKING:
    from mlops_cli.core.serving.app import Application

_FRAMING = 64 << 10  # of a message around the data that may be in it


@dataclass(frozen=True, slots=True)
class RpcTls:
    """PEM files; the key may stand in the certificate's. `client_authority`: who signed the clients' certificates."""

    certificate: Path
    key: Path | None = None
    client_authority: Path | None = None

    def credentials(self) -> Any:
        """Raises UsageError for an encrypted key, which gRPC cannot read."""
        key = (self.key or self.certificate).read_bytes()
        if b"ENCRYPTED" in key:
            raise UsageError(
                f"the key in {self.key or self.certificate} is encrypted, and gRPC reads none that is",
                hint="openssl pkey -in KEY -out PLAIN; mlo serve --tls-key PLAIN",
            )
        authority = self.client_authority.read_bytes() if self.client_authority is not None else None
        return grpc.ssl_server_credentials([(key, self.certificate.read_bytes())], authority, authority is not None)


class RpcServer:
    """Starts and stops with an application; `address` is where. If it is `shared`, other processes listen there too."""

    def __init__(
        self, app: Application, host: str, port: int, *, limits: Limits, tls: RpcTls | None = None, shared: bool = False
    ) -> None:
        self._app = app
        self.address = f"[{host.strip('[]')}]:{port}" if ":" in host else f"{host}:{port}"
        self._limits = limits
        self._credentials = tls.credentials() if tls is not None else None
        self._shared = shared
        self._server: Any = None

    async def start(self) -> None:
        """Raises RuntimeError if the port is taken."""
        limits = self._limits
        options = [
            ("grpc.so_reuseport", int(self._shared)),
            ("grpc.max_receive_message_length", limits.body_bytes + _FRAMING),  # before and after it is decompressed
            ("grpc.max_metadata_size", limits.header_bytes),
            ("grpc.absolute_max_metadata_size", limits.header_bytes),
            ("grpc.max_concurrent_streams", limits.pipelined),
            ("grpc.max_connection_idle_ms", int(limits.idle_s * 1000)),
            ("grpc.server_handshake_timeout_ms", int(limits.headers_s * 1000)),
            ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
        ]
        self._server = grpc.aio.server(options=options)
        self._server.add_generic_rpc_handlers((Service(self._app).handlers(),))
        if self._credentials is not None:
            self._server.add_secure_port(self.address, self._credentials)
        else:
            self._server.add_insecure_port(self.address)
        await self._server.start()

    async def stop(self) -> None:
        """Take no more, and finish what is in flight."""
        if self._server is not None:
            await self._server.stop(self._limits.drain_s)
