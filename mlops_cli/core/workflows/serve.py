"""Serve a reference: bind, resolve, load, answer, follow the alias, drain."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Callable
from functools import partial

import msgspec
import pyarrow.parquet as pq

from mlops_cli.core.base.records import ModelRef, ResolvedModel
from mlops_cli.core.base.sizes import parse_size
from mlops_cli.core.errors import Exit, MloError
from mlops_cli.core.models.save import EXAMPLE_FILE
from mlops_cli.core.predictions.open import open_log, outbox_folder
from mlops_cli.core.predictions.segment import refuse_reserved
from mlops_cli.core.predictions.writer import PredictionWriter
from mlops_cli.core.serving.app import Application
from mlops_cli.core.serving.batching import single_threaded
from mlops_cli.core.serving.guard import Guard, require_token
from mlops_cli.core.serving.limits import Limits
from mlops_cli.core.serving.loader import Served, make_served
from mlops_cli.core.serving.reload import Source
from mlops_cli.core.serving.server import Server, bind, url_of
from mlops_cli.core.workflows.resolve import load_resolved, model_folder, resolve_model
from mlops_cli.core.workflows.workspace import Workspace


class Serving(msgspec.Struct, frozen=True):
    """A server that answers. `model` is the name; `version` is null for a run's model; `title` is both."""

    url: str
    model: str
    version: int | None
    pid: int
    title: str
    ref: str


def serve_model(
    workspace: Workspace,
    text: str,
    *,
    host: str | None = None,
    port: int | None = None,
    log: bool = True,
    insecure: bool = False,
    ready: Callable[[Serving], None],
) -> Exit:
    """Serve until SIGTERM (DONE) or SIGINT (INTERRUPTED); both finish what is in flight and flush the log.

    `host` and `port` default to mlo.yaml's; `ready` is called when requests are answered. The port is taken before
    the model is loaded. Raises MachineError for a port that is taken, UsageError for an open host without a token.
    """
    settings = workspace.project.serve
    ref = ModelRef.parse(text)
    host = host or settings.host
    token = workspace.environ.get("MLO_SERVE_TOKEN")
    require_token(host, token, insecure=insecure)
    limits = Limits(body_bytes=parse_size(settings.max_body), rows=settings.max_rows)
    target = open_log(workspace.project, workspace.paths) if log else None
    listener = bind(host, settings.port if port is None else port)
    writer = None
    try:
        served = _load(workspace, resolve_model(workspace, text), logged=target is not None)
        if target is not None:
            writer = PredictionWriter(target, outbox=outbox_folder(workspace.paths))
        address = url_of(listener)
        place = str(target) if target is None or isinstance(target, os.PathLike) else target.url
        deployment = Deployment(workspace, text, address, place if target is not None else None)
        application = Application(
            served,
            clock=workspace.clock,
            guard=Guard(host, token),
            limits=limits,
            log=writer,
            source=deployment.source,
            follow=ref.alias is not None,  # a version and a run never become another
            locked=token is not None,
        )
        said = Serving(address, served.name, served.version, os.getpid(), served.title, text)
        received = Server(application, limits=limits, ready=partial(ready, said)).serve_on(listener)
    finally:
        listener.close()
        if writer is not None:
            writer.close()
    return Exit.INTERRUPTED if received is signal.SIGINT else Exit.DONE


def _load(workspace: Workspace, resolved: ResolvedModel, *, logged: bool) -> Served:
    """The version, loaded and shown to predict its own example. Raises MloError if it cannot."""
    model = workspace.project.model
    time_column = model.time if model is not None else None
    loaded = load_resolved(workspace, resolved)
    if logged:
        refuse_reserved(loaded.signature, time_column)
    example = model_folder(workspace, resolved) / EXAMPLE_FILE
    served = make_served(
        loaded,
        name=resolved.name or workspace.project.name,
        version=resolved.version,
        run=resolved.run,
        key=resolved,
        example=pq.read_table(example) if example.is_file() else None,
        time_column=time_column,
        max_rows=workspace.project.serve.max_rows,
    )
    single_threaded()  # this thread too: the check below would start OpenMP's threads beside those that serve
    try:
        served.check()
    except MloError:
        raise
    except Exception as error:
        raise MloError(
            f"{served.title} fails on its own example: {type(error).__name__}: {error}",
            hint="train and register it again with the packages that are installed here",
        ) from error
    return served


class Deployment:
    """One server's dealings with the registry, from a thread of its own.

    It opens the project a second time, in that thread: SQLite's connections stay with the thread that made them.
    """

    def __init__(self, workspace: Workspace, text: str, address: str, log: str | None) -> None:
        self._opened_from = workspace
        self._text = text
        self._address = address
        self._log = log
        self._own: Workspace | None = None
        self._previous: str | None = None

    @property
    def source(self) -> Source:
        return Source(resolve=self.resolve, load=self.load, deployed=self.deployed)

    @property
    def _workspace(self) -> Workspace:
        if self._own is None:
            other = self._opened_from
            self._own = Workspace(
                other.root, other.project, other.settings, other.environ, command_line=other.command_line
            )
        return self._own

    def resolve(self) -> ResolvedModel:
        """What the reference means now."""
        self._workspace.registry.refresh()
        return resolve_model(self._workspace, self._text)

    def load(self, resolved: ResolvedModel) -> Served:
        return _load(self._workspace, resolved, logged=self._log is not None)

    def deployed(self, served: Served) -> None:
        """Record that this version answers from now on."""
        previous, self._previous = self._previous, served.title
        resolved = served.key
        self._workspace.registry.record(
            "deploy",
            served.title,
            {
                "ref": self._text,
                "version": served.version,
                "model": resolved.model.digest if isinstance(resolved, ResolvedModel) else None,
                "address": self._address,
                "previous": previous,
                "log": self._log,
                "host": socket.gethostname(),
                "pid": os.getpid(),
            },
        )
