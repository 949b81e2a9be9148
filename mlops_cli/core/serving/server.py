"""uvicorn, held to what a server at the edge needs: deadlines for headers, a drain at SIGTERM, a port taken early."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import signal
import socket
import ssl
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import uvicorn

from mlops_cli.core.base.files import machine_errors
from mlops_cli.core.errors import MachineError, UsageError
from mlops_cli.core.serving.connection import BoundedProtocol
from mlops_cli.core.serving.limits import Limits
from mlops_cli.core.serving.watch import Watch

BACKLOG = 2048
# The event loop and the inference thread take turns under one lock. At Python's 5 ms a decoded request waits that
# long for a thread that computes.
SWITCH_S = 0.0002
# What was loaded is there to stay, and a request leaves no cycles behind: the collector need not look often, and never
# at all of scikit-learn, which took it 100 ms.
COLLECTED = (20_000, 20, 20)


def bind(host: str, port: int, *, shared: bool = False) -> socket.socket:
    """A listening socket; port 0 is any free one. Raises MachineError if the port is taken or the host not ours.

    Several `shared` ones may listen on one port.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host.strip("[]"), port, type=socket.SOCK_STREAM)[0]
    except socket.gaierror as error:
        raise UsageError(
            f"{host} is no address to listen on: {error.strerror}", hint="mlo serve --host 127.0.0.1"
        ) from None
    listener = socket.socket(family, kind, protocol)
    try:
        with machine_errors(f"cannot listen on {host} port {port}"):
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if shared:
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            listener.bind(address)
            listener.listen(BACKLOG)
    except MachineError:
        listener.close()
        raise
    except OSError as error:
        listener.close()
        raise MachineError(
            f"cannot listen on {host} port {port}: {error.strerror}", hint="mlo serve --host 127.0.0.1 --port 0"
        ) from error
    listener.setblocking(False)
    return listener


def bind_all(host: str, port: int, count: int) -> list[socket.socket]:
    """A listening socket for each of `count` processes, all on one port. Raises as `bind`.

    Linux shares connections out between sockets of one port; elsewhere the processes accept on one socket in turn.
    """
    if count == 1:
        return [bind(host, port)]
    with bind(host, port) as alone:  # a shared port could be another server's: one that is not shared finds out
        port = alone.getsockname()[1]
        if not sys.platform.startswith("linux"):
            return [alone.dup() for _ in range(count)]
    listeners = []
    try:
        for _ in range(count):
            listeners.append(bind(host, port, shared=True))
    except MachineError:
        for listener in listeners:
            listener.close()
        raise
    return listeners


def free_port(host: str, port: int) -> int:
    """The port, or any free one for 0, which others may still take. Raises as `bind`."""
    with bind(host, port) as listener:
        found: int = listener.getsockname()[1]
        return found


def url_of(listener: socket.socket, *, tls: bool = False) -> str:
    host, port = listener.getsockname()[:2]
    scheme = "https" if tls else "http"
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"


class Server(uvicorn.Server):
    """uvicorn's server, which says when it is ready and keeps the signal that ended it instead of raising it again.

    `ready` is called once requests are answered, `ending` when no more connections are taken. `should_exit = True` ends
    it, as SIGTERM does.
    """

    def __init__(
        self,
        app: Any,
        *,
        limits: Limits,
        ready: Callable[[], None],
        ending: Callable[[], None] = lambda: None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        config = uvicorn.Config(
            app,
            http=type("Connection", (BoundedProtocol,), {"limits": limits}),
            ws="none",
            lifespan="on",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_graceful_shutdown=int(limits.drain_s),
            backlog=BACKLOG,
        )
        super().__init__(config)
        self.watch: Watch = config.http.watch  # type: ignore[union-attr]
        self._limits = limits
        self._ready = ready
        self._ending = ending
        self._tls = tls
        self._adopted: dict[int, asyncio.AbstractServer] = {}
        self.received: signal.Signals | None = None

    def serve_on(self, listener: socket.socket, others: Sequence[socket.socket] = ()) -> signal.Signals | None:
        """Serve until SIGTERM or SIGINT, which is returned: stop accepting, finish what is in flight, end the lifespan.

        A second SIGINT does not wait for what is in flight. `others` are the sockets of the processes beside this one,
        which it may have to `adopt`.
        """
        self._others = tuple(others)
        before, collected = sys.getswitchinterval(), gc.get_threshold()
        sys.setswitchinterval(SWITCH_S)
        gc.collect()
        gc.freeze()
        gc.set_threshold(*COLLECTED)
        try:
            with asyncio.Runner(loop_factory=_new_loop) as runner:
                runner.run(self.serve(sockets=[listener]))
        finally:
            sys.setswitchinterval(before)
            gc.set_threshold(*collected)
            gc.unfreeze()
        return self.received

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """As uvicorn's, but with a deadline for the TLS handshake: no connection of ours stands behind it yet."""
        await self.lifespan.startup()
        if self.lifespan.should_exit:
            raise MachineError("the server could not start; its log says why")
        self.servers = [await self._accept(sock) for sock in sockets or ()]
        self.started = True
        self._ready()

    async def _accept(self, listener: socket.socket) -> asyncio.Server:
        bounds: dict[str, Any] = {}
        if self._tls is not None:
            bounds = {"ssl_handshake_timeout": self._limits.headers_s, "ssl_shutdown_timeout": self._limits.linger_s}
        loop = asyncio.get_running_loop()
        return await loop.create_server(self._connection, sock=listener, ssl=self._tls, backlog=BACKLOG, **bounds)

    async def adopt(self, seat: int) -> None:
        """Accept the connections of another process, which has died."""
        if seat not in self._adopted and not self.should_exit:
            # A copy: closing the server closes it, and the socket itself must stay open for the process to come.
            self._adopted[seat] = await self._accept(self._others[seat].dup())

    def release(self, seat: int) -> None:
        """The other process is back."""
        if (server := self._adopted.pop(seat, None)) is not None:
            server.close()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._ending()
        for seat in list(self._adopted):
            self.release(seat)
        await super().shutdown([*(sockets or ()), *self._others])

    def _connection(self) -> asyncio.Protocol:
        kind: Any = self.config.http_protocol_class
        connection: asyncio.Protocol = kind(self.config, self.server_state, self.lifespan.state)
        return connection

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        if threading.current_thread() is not threading.main_thread():
            yield  # only the main thread hears signals
            return
        handled = (signal.SIGINT, signal.SIGTERM)
        before = {number: signal.signal(number, self.handle_exit) for number in handled}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def handle_exit(self, sig: int, frame: Any) -> None:
        self.received = self.received or signal.Signals(sig)
        super().handle_exit(sig, frame)


def _new_loop() -> asyncio.AbstractEventLoop:
    try:
        import uvloop
    except ImportError:  # no wheel for this platform
        return asyncio.new_event_loop()
    loop: asyncio.AbstractEventLoop = uvloop.new_event_loop()
    return loop
