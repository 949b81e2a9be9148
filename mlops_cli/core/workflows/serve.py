"""Serve references: bind, resolve, load, answer, follow the aliases, drain."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING

import msgspec

from mlops_cli.core.base.clock import parse_duration
from mlops_cli.core.base.names import repeated
from mlops_cli.core.base.records import ModelRef
from mlops_cli.core.base.sizes import parse_size
from mlops_cli.core.errors import Exit, UsageError
from mlops_cli.core.predictions.open import open_log, outbox_folder
from mlops_cli.core.predictions.writer import PredictionWriter
from mlops_cli.core.serving.app import Application
from mlops_cli.core.serving.guard import Guard, require_token
from mlops_cli.core.serving.limits import Limits
from mlops_cli.core.serving.server import Server, bind, url_of
from mlops_cli.core.serving.shelf import Slot
from mlops_cli.core.workflows.resolve import resolve_model
from mlops_cli.core.workflows.serve_models import Place, Registered, lane_limits, load_served
from mlops_cli.core.workflows.workspace import Workspace

if TYPE_CHECKING:
    from pathlib import Path

    from mlops_cli.core.remotes.remote import Remote


class Serving(msgspec.Struct, frozen=True):
    """A server that answers. Of the first model: its name, its version (null for a run's), its title (both) and its
    reference; `models` are the titles, or references where they are not loaded yet, of all."""

    url: str
    model: str
    version: int | None
    pid: int
    title: str
    ref: str
    models: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ServeOptions:
    """What the command line says; None is as in mlo.yaml."""

    host: str | None = None
    port: int | None = None
    log: bool = True
    insecure: bool = False
    lazy: bool = False


def serve_models(
    workspace: Workspace, refs: Sequence[str], options: ServeOptions, *, ready: Callable[[Serving], None]
) -> Exit:
    """Serve until SIGTERM (DONE) or SIGINT (INTERRUPTED); both finish what is in flight and flush the log.

    `ready` is called when requests are answered. The port is taken before anything is loaded. Raises MachineError for
    a port that is taken, UsageError for an open host without a token or for references that cannot be told apart.
    """
    _check(refs)
    settings = workspace.project.serve
    host = options.host or settings.host
    token = workspace.environ.get("MLO_SERVE_TOKEN")
    require_token(host, token, insecure=options.insecure)
    limits = Limits(body_bytes=parse_size(settings.max_body), rows=settings.max_rows)
    target = open_log(workspace.project, workspace.paths) if options.log else None
    listener = bind(host, settings.port if options.port is None else options.port)
    writer = None
    try:
        place = Place(address=url_of(listener), log=_place_of(target), pid=os.getpid())
        registered = Registered(workspace, place)
        slots = [_slot(workspace, registered, ref, place, lazy=options.lazy) for ref in refs]
        if target is not None:
            writer = PredictionWriter(
                target,
                outbox=outbox_folder(workspace.paths),
                clock=workspace.clock,
                sample=settings.sample,
                keep=timedelta(seconds=parse_duration(settings.keep)) if settings.keep is not None else None,
            )
        application = Application(
            slots,
            clock=workspace.clock,
            guard=Guard(host, token, workspace.environ.get("MLO_SERVE_ADMIN_TOKEN")),
            limits=limits,
            log=writer,
            library=registered,
            locked=token is not None,
        )
        said = partial(ready, _serving(place, slots))
        received = Server(application, limits=limits, ready=said).serve_on(listener)
    finally:
        listener.close()
        if writer is not None:
            writer.close()
    return Exit.INTERRUPTED if received is signal.SIGINT else Exit.DONE


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


def _serving(place: Place, slots: Sequence[Slot]) -> Serving:
    first = slots[0]
    titles = tuple(slot.served.title if slot.served is not None else slot.ref for slot in slots)
    version = first.served.version if first.served is not None else None
    return Serving(place.address, first.name, version, place.pid, titles[0], first.ref, titles)
