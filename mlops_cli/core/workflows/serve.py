"""Serve references: bind, resolve, load, answer, follow the aliases, drain."""

from __future__ import annotations

import os
import signal
import socket
import ssl
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from mlops_cli.core.base.clock import parse_duration
from mlops_cli.core.base.extras import require
from mlops_cli.core.base.names import repeated
from mlops_cli.core.base.records import ModelRef
from mlops_cli.core.base.sizes import parse_size
from mlops_cli.core.errors import Exit, UsageError
from mlops_cli.core.predictions.label_writer import LabelWriter
from mlops_cli.core.predictions.open import open_log, outbox_folder
from mlops_cli.core.predictions.writer import PredictionWriter
from mlops_cli.core.serving.app import Application
from mlops_cli.core.serving.guard import Guard, require_token
from mlops_cli.core.serving.limits import Limits
from mlops_cli.core.serving.server import Server, bind_all, free_port, url_of
from mlops_cli.core.serving.shelf import Slot
from mlops_cli.core.serving.tls import PASSWORD_VARIABLE, server_context
from mlops_cli.core.serving.workers.link import Link
from mlops_cli.core.serving.workers.seat import Seat
from mlops_cli.core.serving.workers.supervisor import Supervisor
from mlops_cli.core.workflows.resolve import resolve_model
from mlops_cli.core.workflows.serve_models import Place, Registered, lane_limits, load_served
from mlops_cli.core.workflows.workspace import Workspace

if TYPE_CHECKING:
    from mlops_cli.core.remotes.remote import Remote
    from mlops_cli.core.serving.rpc.server import RpcServer


class Serving(msgspec.Struct, frozen=True):
    """A server that answers. Of the first model: its name, its version (null for a run's), its title (both) and its
    reference; `models` are the titles, or references where they are not loaded yet, of all. `pid` is the process to
    send signals to. `grpc` is the address of its gRPC server, if it has one."""

    url: str
    model: str
    version: int | None
    pid: int
    title: str
    ref: str
    models: tuple[str, ...] = ()
    workers: int = 1
    grpc: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ServeOptions:
    """What the command line says; None is as in mlo.yaml."""

    host: str | None = None
    port: int | None = None
    log: bool = True
    insecure: bool = False
    lazy: bool = False
    workers: int | None = None
    tls_cert: Path | None = None
    tls_key: Path | None = None
    tls_client_ca: Path | None = None
    grpc_port: int | None = None


def serve_models(
    workspace: Workspace, refs: Sequence[str], options: ServeOptions, *, ready: Callable[[Serving], None]
) -> Exit | int:
    """Serve until SIGTERM (DONE) or SIGINT (INTERRUPTED); both finish what is in flight and flush the log.

    `ready` is called when requests are answered. The port is taken before anything is loaded. Raises MachineError for
    a port that is taken, UsageError for an open host without a token, for references that cannot be told apart and for
    certificates that do not fit. With several workers, the exit code of one that cannot start is returned: it has said
    why itself.
    """
    _check(refs)
    settings = workspace.project.serve
    host = options.host or settings.host
    require_token(host, workspace.environ.get("MLO_SERVE_TOKEN"), insecure=options.insecure)
    tls = _tls(workspace, options)
    workers = options.workers or settings.workers
    seat = Seat.of(workspace.environ)
    if options.grpc_port is not None:
        require("grpc", extra="grpc", purpose="--grpc-port")
        if seat is None:  # else it is the port of all
            options = replace(options, grpc_port=free_port(host, options.grpc_port))
    if seat is not None:
        received: signal.Signals | int | None = _Process(workspace, refs, options, tls, seat.listener, seat).serve(
            ready
        )
    else:
        listeners = bind_all(host, settings.port if options.port is None else options.port, workers)
        try:
            if workers == 1:
                received = _Process(workspace, refs, options, tls, listeners[0]).serve(ready)
            else:
                received = _supervise(workspace, refs, options, listeners, ready)
        finally:
            for listener in listeners:
                listener.close()
    if received is signal.SIGINT:
        return Exit.INTERRUPTED
    return received if isinstance(received, int) and not isinstance(received, signal.Signals) else Exit.DONE


def _supervise(
    workspace: Workspace,
    refs: Sequence[str],
    options: ServeOptions,
    listeners: Sequence[socket.socket],
    ready: Callable[[Serving], None],
) -> signal.Signals | int:
    """The same command once for each listener. What the processes need to know of the project, they read themselves."""
    flags = ["--no-log"] * (not options.log) + ["--insecure"] * options.insecure + ["--lazy"] * options.lazy
    for name, value in (("host", options.host), ("tls-cert", options.tls_cert), ("tls-key", options.tls_key)):
        flags += [f"--{name}={value}"] * (value is not None)
    for name, given in (("tls-client-ca", options.tls_client_ca), ("grpc-port", options.grpc_port)):
        flags += [f"--{name}={given}"] * (given is not None)
    overlay = {"MLO_ENV": workspace.environment} if workspace.environment is not None else {}
    return Supervisor(
        [sys.executable, "-m", "mlops_cli", "serve", *refs, *flags],
        cwd=str(workspace.root),
        environ={**workspace.environ, **overlay},
        listeners=listeners,
        ready=lambda said: ready(msgspec.structs.replace(_READ.decode(said), pid=os.getpid(), workers=len(listeners))),
        drain_s=Limits().drain_s + _GRACE_S,
    ).run()


class _Process:
    """One process that answers: the only one, or with a seat among others."""

    def __init__(
        self,
        workspace: Workspace,
        refs: Sequence[str],
        options: ServeOptions,
        tls: ssl.SSLContext | None,
        listener: socket.socket,
        seat: Seat | None = None,
    ) -> None:
        settings = workspace.project.serve
        self._workspace = workspace
        self._refs = refs
        self._options = options
        self._tls = tls
        self._listener = listener
        self._seat = seat
        self._limits = Limits(body_bytes=parse_size(settings.max_body), rows=settings.max_rows)
        self._target = open_log(workspace.project, workspace.paths) if options.log else None

    def serve(self, ready: Callable[[Serving], None]) -> signal.Signals | None:
        """Load, answer, and end. Raises MloError if a model cannot be loaded."""
        seat = self._seat
        place = Place(
            address=url_of(self._listener, tls=self._tls is not None),
            log=_place_of(self._target),
            pid=os.getpid() if seat is None else os.getppid(),
            is_recording=seat is None or seat.number == 0,
        )
        registered = Registered(self._workspace, place)
        slots = [_slot(self._workspace, registered, ref, place, lazy=self._options.lazy) for ref in self._refs]
        writer = self._writer()
        try:
            application = self._application(slots, registered, writer)
            fleet = application.fleet
            rpc = self._rpc(application)
            application.beside += [rpc] if rpc is not None else []

            def say() -> None:
                said = _serving(place, slots, rpc.address if rpc is not None else None)
                if fleet.link is None:
                    ready(said)
                else:
                    fleet.link.ready(msgspec.json.encode(said))

            server = Server(application, limits=self._limits, ready=say, ending=application.status.drain, tls=self._tls)
            application.metrics.unread = server.watch.refused
            if seat is None:
                return server.serve_on(self._listener)
            fleet.link = Link(
                seat,
                do=fleet.carry_out,
                counted=application.metrics.snapshot,
                adopt=server.adopt,
                release=server.release,
                ended=partial(setattr, server, "should_exit", True),
            )
            return server.serve_on(self._listener, seat.listeners)
        finally:
            if writer is not None:
                writer.close()

    def _rpc(self, application: Application) -> RpcServer | None:
        options = self._options
        if options.grpc_port is None:
            return None
        from mlops_cli.core.serving.rpc.server import RpcServer, RpcTls

        tls = RpcTls(options.tls_cert, options.tls_key, options.tls_client_ca) if options.tls_cert is not None else None
        host = options.host or self._workspace.project.serve.host
        is_shared = self._seat is not None
        return RpcServer(application, host, options.grpc_port, limits=self._limits, tls=tls, shared=is_shared)

    def _writer(self) -> PredictionWriter | None:
        if self._target is None:
            return None
        settings = self._workspace.project.serve
        return PredictionWriter(
            self._target,
            outbox=outbox_folder(self._workspace.paths),
            clock=self._workspace.clock,
            sample=settings.sample,
            keep=timedelta(seconds=parse_duration(settings.keep)) if settings.keep is not None else None,
        )

    def _application(
        self, slots: Sequence[Slot], registered: Registered, writer: PredictionWriter | None
    ) -> Application:
        settings, environ = self._workspace.project.serve, self._workspace.environ
        token = environ.get("MLO_SERVE_TOKEN")
        host = self._options.host or settings.host
        return Application(
            slots,
            clock=self._workspace.clock,
            guard=Guard(host, token, environ.get("MLO_SERVE_ADMIN_TOKEN"), settings.hosts),
            limits=self._limits,
            log=writer,
            labels=LabelWriter(self._target, self._workspace.clock) if self._target is not None else None,
            library=registered,
            locked=token is not None,
        )


def _tls(workspace: Workspace, options: ServeOptions) -> ssl.SSLContext | None:
    if options.tls_cert is None:
        if options.tls_key is not None or options.tls_client_ca is not None:
            raise UsageError("a key without a certificate", hint="mlo serve --tls-cert server.pem --tls-key server.key")
        return None
    password = workspace.environ.get(PASSWORD_VARIABLE)
    return server_context(options.tls_cert, options.tls_key, client_authority=options.tls_client_ca, password=password)


def _check(refs: Sequence[str]) -> None:
    parsed = [ModelRef.parse(ref) for ref in refs]
    if twice := repeated([str(ref) for ref in parsed]):
        raise UsageError(f"{', '.join(twice)} is named twice", hint="name each reference once")


def _slot(workspace: Workspace, registered: Registered, text: str, place: Place, *, lazy: bool) -> Slot:
    """A reference with its model, or without one yet if it is lazy."""
    ref = ModelRef.parse(text)
    name = ref.name or workspace.project.name
    own = workspace.project.serve.models.get(name)
    is_lazy = lazy or (own is not None and own.lazy)
    served = None
    if not is_lazy:
        served = load_served(workspace, resolve_model(workspace, text), logged=place.log is not None)
        name = served.name
    return Slot(
        text,
        name,
        limits=lane_limits(workspace, name),
        served=served,
        source=registered.source(text),
        follows=ref.alias is not None,  # a version and a run never become another
        is_eager=not is_lazy,
    )


def _place_of(target: Path | Remote | None) -> str | None:
    if target is None or isinstance(target, os.PathLike):
        return str(target) if target is not None else None
    return target.url


def _serving(place: Place, slots: Sequence[Slot], grpc: str | None) -> Serving:
    first = slots[0]
    titles = tuple(slot.served.title if slot.served is not None else slot.ref for slot in slots)
    version = first.served.version if first.served is not None else None
    return Serving(place.address, first.name, version, place.pid, titles[0], first.ref, titles, grpc=grpc)


_GRACE_S = 15.0  # beyond the drain: for the log to reach its place
_READ = msgspec.json.Decoder(Serving)
