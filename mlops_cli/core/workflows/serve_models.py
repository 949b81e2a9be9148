"""From references to models that answer: the registry as a server sees it, from a thread of its own."""

from __future__ import annotations

import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import pyarrow.parquet as pq

from mlops_cli.core.base.records import ModelRef, ResolvedModel
from mlops_cli.core.errors import MloError
from mlops_cli.core.models.save import EXAMPLE_FILE
from mlops_cli.core.predictions.segment import refuse_reserved
from mlops_cli.core.serving.admission import LaneLimits
from mlops_cli.core.serving.batching import single_threaded
from mlops_cli.core.serving.loader import Served, make_served
from mlops_cli.core.serving.shelf import Slot, Source
from mlops_cli.core.workflows.resolve import load_resolved, model_folder, resolve_model
from mlops_cli.core.workflows.workspace import Workspace


def load_served(workspace: Workspace, resolved: ResolvedModel, *, logged: bool) -> Served:
    """The version, loaded and shown to predict its own example. Raises MloError if it cannot."""
    model = workspace.project.model
    time_column = model.time if model is not None else None
    loaded = load_resolved(workspace, resolved)
    if logged:
        refuse_reserved(loaded.signature, time_column)
    example = model_folder(workspace, resolved) / EXAMPLE_FILE
    single_threaded()  # this thread too: what follows would start OpenMP's threads beside those that serve
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
    try:
        return served.warmed()
    except MloError:
        raise
    except Exception as error:
        raise MloError(
            f"{served.title} fails on its own example: {type(error).__name__}: {error}",
            hint="train and register it again with the packages that are installed here",
        ) from error


def lane_limits(workspace: Workspace, name: str) -> LaneLimits:
    """What mlo.yaml says of a model's queue, or of every model's."""
    serve = workspace.project.serve
    own = serve.models.get(name)
    queue, sla_ms, timeout_ms = serve.queue, serve.sla_ms, serve.timeout_ms
    if own is not None:
        queue, sla_ms, timeout_ms = own.queue or queue, own.sla_ms or sla_ms, own.timeout_ms or timeout_ms
    sla_s = sla_ms / 1000 if sla_ms is not None else None
    return LaneLimits(queue=queue, sla_s=sla_s, timeout_s=timeout_ms / 1000)


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a server stands, as its deployments say. `log` is the place of the prediction log, None without one."""

    address: str
    log: str | None
    pid: int
    is_recording: bool = True  # of several processes of one server, one records


class Registered:
    """The registry behind one server. Its sources are called in a thread of their own.

    It opens the project a second time, in that thread: SQLite's connections stay with the thread that made them.
    """

    def __init__(self, workspace: Workspace, place: Place) -> None:
        self._opened_from = workspace
        self._place = place
        self._own: Workspace | None = None

    def source(self, ref: str) -> Source:
        deployment = _Deployment(self._workspace, ref, self._place)
        return Source(deployment.resolve, deployment.load, deployment.deployed, deployment.failed)

    def find(self, name: str) -> Slot:
        """An empty slot for a registered model: its production version, or else its latest. Raises NotFound."""
        workspace = self._workspace()
        workspace.registry.refresh()
        alias = "production" if workspace.registry.alias(name, "production") is not None else "latest"
        ref = f"{name}@{alias}"
        workspace.registry.resolve(ModelRef.parse(ref))
        return Slot(ref, name, limits=lane_limits(workspace, name), source=self.source(ref), follows=True)

    def classes(self, name: str) -> tuple[str | int | float | bool, ...]:
        """Of all versions, whichever of them the server holds; () for a model that was never registered."""
        registry = self._workspace().registry
        registry.refresh()
        versions = registry.versions(name) if name in registry.names() else ()
        return tuple(dict.fromkeys(label for version in versions for label in version.signature.classes))

    def _workspace(self) -> Workspace:
        if self._own is None:
            other = self._opened_from
            self._own = Workspace(
                other.root, other.project, other.settings, other.environ, command_line=other.command_line
            )
        return self._own


class _Deployment:
    """One reference's dealings with the registry."""

    def __init__(self, workspace: Callable[[], Workspace], ref: str, place: Place) -> None:
        self._workspace = workspace
        self._ref = ref
        self._place = place
        self._previous: str | None = None

    def resolve(self) -> ResolvedModel:
        """What the reference means now."""
        workspace = self._workspace()
        workspace.registry.refresh()
        return resolve_model(workspace, self._ref)

    def load(self, resolved: ResolvedModel) -> Served:
        return load_served(self._workspace(), resolved, logged=self._place.log is not None)

    def deployed(self, served: Served) -> None:
        """Record that this version answers from now on."""
        previous, self._previous = self._previous, served.title
        resolved = served.key
        self._record(
            "deploy",
            served.title,
            {
                "ref": self._ref,
                "version": served.version,
                "model": resolved.model.digest if isinstance(resolved, ResolvedModel) else None,
                "address": self._place.address,
                "previous": previous,
                "log": self._place.log,
            },
        )

    def failed(self, resolved: ResolvedModel, reason: str) -> None:
        """Record that this version was to answer and cannot; the one before goes on."""
        title = f"{resolved.name}@{resolved.version}" if resolved.version is not None else f"runs:{resolved.run[:8]}"
        facts = {"ref": self._ref, "address": self._place.address, "serving": self._previous, "error": reason[:1000]}
        self._record("deploy-failed", title, facts)

    def _record(self, kind: str, subject: str, facts: Mapping[str, object]) -> None:
        if self._place.is_recording:
            machine = {"host": socket.gethostname(), "pid": self._place.pid}
            self._workspace().registry.record(kind, subject, {**facts, **machine})
