"""The Python API: what a script calls while it trains. `import mlops_cli as mlo`.

Inside `mlo run` everything logged belongs to that run. Outside, `start_run()` opens a run of its own; the first
call that logs does so too, and the run ends with the process. Either way a call is one append to a file below
`.mlo/spool`: no database, no network, and a kill loses nothing that was logged. The next `mlo` command reads it.
Of the processes of a stage with `launch: torchrun`, only that of rank 0 logs; the calls of the others do nothing.
"""

from __future__ import annotations

import atexit
import functools
import os
import shlex
import socket
import sys
import threading
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

import msgspec

from mlops_cli.core.base.clock import clock_from, format_time
from mlops_cli.core.errors import MloError, ProjectError, UsageError
from mlops_cli.core.models.load import LoadedModel
from mlops_cli.core.tracking.parameters import Params
from mlops_cli.core.tracking.recording import Recording
from mlops_cli.core.tracking.spool import Spool
from mlops_cli.core.tracking.spooled import Begin
from mlops_cli.core.workflows.workspace import Workspace

if TYPE_CHECKING:
    from mlops_cli.core.base.records import Signature

__all__ = [
    "LoadedModel",
    "MloError",
    "load_model",
    "log_artifact",
    "log_figure",
    "log_metric",
    "log_metrics",
    "log_model",
    "log_param",
    "log_params",
    "params",
    "set_tag",
    "set_tags",
    "start_run",
]

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


def _public(function: Callable[Arguments, Result]) -> Callable[Arguments, Result]:
    """Let an error's hint stand below it in a script's traceback."""

    @functools.wraps(function)
    def call(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Result:
        try:
            return function(*args, **kwargs)
        except MloError as error:
            if error.hint and not getattr(error, "__notes__", None):
                error.add_note(f"hint: {error.hint}")
            raise

    return call


def _speaks() -> bool:
    """Whether this process may log. Of several that `mlo run` launched together, only the one of rank 0 does."""
    return os.environ.get("MLO_LAUNCH") != "torchrun" or os.environ.get("RANK", "0") == "0"


@_public
def params() -> Params:
    """The parameters of mlo.yaml, as a dict that nests where mlo.yaml nests.

    Inside `mlo run` they are those that the stage declares, with `-P` applied; reading another raises ParamMissing
    (a KeyError), because a result must not depend on what the stage does not declare. Outside they are the project's.
    """
    declared = os.environ.get("MLO_PARAMS")
    if declared is not None:
        return Params(msgspec.json.decode(declared, type=dict[str, Any]), stage=os.environ.get("MLO_STAGE"))
    return Params(_workspace().project.params)


@_public
def log_param(key: str, value: Any) -> None:
    """Note a parameter of the run. It has one value a run; another raises ParamChanged."""
    if _speaks():
        _recording().log_params({key: value})


@_public
def log_params(params: Mapping[str, Any]) -> None:
    """Note several parameters at once."""
    if _speaks():
        _recording().log_params(params)


@_public
def log_metric(key: str, value: Any, step: int | None = None) -> None:
    """Note a number; NaN and infinities are kept. Raises NotANumber.

    Without `step` the first value of a key is step 0 and each one after it one step on, so that a loop of
    log_metric("loss", loss) makes a curve and the last value logged is the latest. (MLflow puts every value without
    a step at step 0.)
    """
    if _speaks():
        _recording().log_metrics({key: value}, step)


@_public
def log_metrics(metrics: Mapping[str, Any], step: int | None = None) -> None:
    """Note several numbers, in one write."""
    if _speaks():
        _recording().log_metrics(metrics, step)


@_public
def set_tag(key: str, value: Any) -> None:
    """Note a text about the run; the last one under a key holds."""
    if _speaks():
        _recording().set_tags({key: value})


@_public
def set_tags(tags: Mapping[str, Any]) -> None:
    """Note several texts at once."""
    if _speaks():
        _recording().set_tags(tags)


@_public
def log_artifact(path: str | os.PathLike[str], name: str | None = None) -> None:
    """Keep a copy of a file or folder with the run, as it is now, under `name` (by default its own)."""
    if _speaks():
        _recording().log_artifact(Path(path), name)


@_public
def log_figure(figure: Any, name: str) -> None:
    """Keep a figure with the run: matplotlib's, plotly's, altair's, Pillow's, SVG text, or bytes of a picture."""
    if _speaks():
        _recording().log_figure(figure, name)


@_public
def log_model(
    model: Any, example: Any = None, *, path: str | os.PathLike[str] | None = None, pickle: bool = False
) -> Signature:
    """Save a fitted scikit-learn classifier or regressor in a safe format, and note it as the run's model.

    `example` is the X that fit() was given (all of it: kinds and what may be missing are read from every row).
    It is written to `path`, by default `model.path` of mlo.yaml, which a stage should name among its outs. With
    `pickle` any scikit-learn estimator is saved, and loads only where its sha256 is registered. Returns the
    signature. Raises ModelUnsupported, ModelUntrusted.
    """
    if not _speaks():
        from mlops_cli.core.models.signature import infer

        return infer(model, example).signature
    return _recording().log_model(model, example, None if path is None else Path(path), pickle=pickle)


class ActiveRun:
    """The run that is being logged to: `id` and `name`. As a context manager it ends the run it opened."""

    def __init__(self, recording: Recording, *, owned: bool) -> None:
        self._recording = recording
        self._owned = owned

    @property
    def id(self) -> str:
        return self._recording.run_id

    @property
    def name(self) -> str:
        return self._recording.name

    def end(self, *, failed: bool = False) -> None:
        """End the run; inside `mlo run` nothing happens, as mlo ends it."""
        if self._owned:
            _session.end(self._recording, failed=failed)

    def __enter__(self) -> ActiveRun:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        is_clean_exit = isinstance(error, SystemExit) and error.code in (None, 0)
        self.end(failed=kind is not None and not is_clean_exit)

    def __repr__(self) -> str:
        return f"<run {self.id[:8]} {self.name}>"


@_public
def start_run(name: str | None = None) -> ActiveRun:
    """Open a run of its own, best in a `with`: it ends as finished, or as failed if an exception leaves the block.

    Inside `mlo run` it returns the current run. Raises UsageError if a run that start_run opened is open already.
    """
    return _session.start(name)


@_public
def load_model(reference: str | os.PathLike[str]) -> LoadedModel:
    """A model by any reference (`flights@production`, `flights@3`, `runs:<id>`), or by its folder (`model`).

    `.predict(table)` takes an Arrow table or a DataFrame; `.estimator` is scikit-learn's own object. A pickle loads
    only if its sha256 is one that this project logged or registered.
    """
    text = os.fspath(reference)
    folder = Path(text)
    if "@" not in text and not text.startswith(("runs:", "models:")):
        return _load_folder(folder)
    from mlops_cli.core.workflows.resolve import load_resolved, resolve_model

    workspace = _workspace()
    return load_resolved(workspace, resolve_model(workspace, text))


def _load_folder(folder: Path) -> LoadedModel:
    from mlops_cli.core.models.load import load_model as load
    from mlops_cli.core.models.manifest import read_manifest

    manifest = read_manifest(folder)
    try:
        workspace = _workspace()
    except ProjectError:
        return load(folder)
    trusted = workspace.project.model.trusted if workspace.project.model else ()
    if manifest.flavor != "sklearn-pickle":
        return load(folder, trusted=trusted)
    return load(folder, trusted=trusted, registered=workspace.runs.model_files(manifest.files[manifest.file]))


# -- the run of this process ---------------------------------------------------------------------------------


class _Session:
    """Which run this process logs to. It is found out when something is first logged."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._inside: Recording | None = None
        self._own: Recording | None = None
        self._is_implicit = False
        self._pid = 0

    def recording(self) -> Recording:
        """The current run, opening one if there is none."""
        if self._own is not None:
            return self._own
        with self._lock:
            if self._own is None and not self._find_inside():
                self._open(None, implicit=True)
            current = self._inside or self._own
            if current is None:
                raise UsageError("there is no run to log to", hint="call mlops_cli.start_run() first")
            return current

    def start(self, name: str | None) -> ActiveRun:
        with self._lock:
            if self._find_inside() and self._inside is not None:
                return ActiveRun(self._inside, owned=False)
            if self._own is not None:
                if not self._is_implicit:
                    raise UsageError(
                        f"run {self._own.run_id[:8]} is still open",
                        hint="end it first: use start_run() in a with block",
                    )
                self.end(self._own, failed=False)
            return ActiveRun(self._open(name, implicit=False), owned=True)

    def end(self, recording: Recording, *, failed: bool) -> None:
        with self._lock:
            # A forked child shares the run but does not end it.
            if self._own is recording and self._pid == os.getpid():
                self._own = None
                recording.end(failed=failed)

    def _find_inside(self) -> bool:
        """Whether `mlo run` started this process; then `_inside` is its run."""
        run_id, spool = os.environ.get("MLO_RUN_ID"), os.environ.get("MLO_SPOOL")
        if not run_id or not spool:
            self._inside = None
            return False
        if self._inside is None or self._inside.run_id != run_id:
            root = Path(os.environ.get("MLO_ROOT") or ".").absolute()
            self._inside = Recording(
                Spool(root / spool),
                clock_from(os.environ),
                run_id=run_id,
                name=os.environ.get("MLO_STAGE", ""),
                root=root,
                declared=msgspec.json.decode(os.environ.get("MLO_PARAMS") or "{}"),
                model_path=os.environ.get("MLO_MODEL_PATH") or "model",
                trusted=_trusted,
            )
        return True

    def _open(self, name: str | None, *, implicit: bool) -> Recording:
        workspace = _workspace()
        model = workspace.project.model
        run, patch = describe_script_run(workspace, name)
        spool = Spool(workspace.paths.spool / run.id / "script")
        diff = spool.keep_bytes(patch, "diff.patch") if patch else ""
        spool.append(Begin(run, diff))
        self._own = Recording(
            spool,
            workspace.clock,
            run_id=run.id,
            name=run.name,
            root=workspace.root,
            declared=workspace.project.params,
            model_path=model.path if model else "model",
            trusted=_trusted,
            keeps_models=True,
        )
        self._pid = os.getpid()
        self._is_implicit = implicit
        atexit.register(self.end_at_exit, self._own)
        return self._own

    def end_at_exit(self, recording: Recording) -> None:
        """A run that is still open when Python ends: failed if an exception ended it."""
        self.end(recording, failed=getattr(sys, "last_value", None) is not None)


def describe_script_run(workspace: Workspace, name: str | None) -> tuple[Any, bytes]:
    """The record of a run that a script opens, and the patch of its work tree against the commit."""
    from mlops_cli.core.base.git import head
    from mlops_cli.core.tracking.environment import describe_environment
    from mlops_cli.core.tracking.names import run_name
    from mlops_cli.core.tracking.processes import born
    from mlops_cli.core.tracking.records import Run

    commit = head(workspace.root)
    run_id = uuid.uuid4().hex
    run = Run(
        id=run_id,
        name=name or run_name(run_id),
        start=format_time(workspace.clock.now()),
        command=shlex.join(sys.orig_argv or sys.argv),
        actor=workspace.actor,
        commit=commit.sha if commit else None,
        branch=commit.branch if commit else None,
        dirty=commit.dirty if commit else False,
        environment=describe_environment(),
        pid=os.getpid(),
        host=socket.gethostname(),
        born=born(os.getpid()),
    )
    return run, commit.diff if commit else b""


def _trusted() -> tuple[str, ...]:
    """The types that the project trusts beyond mlo's own list."""
    model = _workspace().project.model
    return tuple(model.trusted) if model else ()


def _workspace() -> Workspace:
    """The project around this process: the one `mlo run` works in, or that of the current folder."""
    start = Path(os.environ.get("MLO_ROOT") or Path.cwd())
    return Workspace.find(start, dict(os.environ), environment=os.environ.get("MLO_ENV"), command_line="python")


def _recording() -> Recording:
    return _session.recording()


_session = _Session()
