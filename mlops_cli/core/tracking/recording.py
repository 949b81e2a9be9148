"""One run as a script sees it: what it may read, and everything it logs, into a spool."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from mlops_cli.core.base.clock import Clock, format_time
from mlops_cli.core.base.files import machine_errors
from mlops_cli.core.base.records import LoggedModel, Signature
from mlops_cli.core.errors import NotFound, ProjectError, UsageError
from mlops_cli.core.tracking import values
from mlops_cli.core.tracking.errors import ParamChanged
from mlops_cli.core.tracking.figures import figure_bytes
from mlops_cli.core.tracking.spool import Spool
from mlops_cli.core.tracking.spooled import Artifact, End, Model, Param, Point, Tag


class Recording:
    """Logs to one spool. Safe to use from threads; a forked process goes on in a file of its own.

    `declared` are the parameters mlo.yaml gives, which a log_param may repeat but not contradict. `trusted` tells
    which types the project trusts in a model. `keeps_models` says that nobody else keeps a logged model's files, as
    a pipeline does with its outputs. Raises UsageError for what cannot be logged, MachineError if the disk refuses.
    """

    def __init__(
        self,
        spool: Spool,
        clock: Clock,
        *,
        run_id: str,
        name: str,
        root: Path,
        declared: Mapping[str, Any],
        model_path: str = "model",
        trusted: Callable[[], tuple[str, ...]] = tuple,
        keeps_models: bool = False,
    ) -> None:
        self.run_id = run_id
        self.name = name
        self._spool = spool
        self._clock = clock
        self._root = root
        self._declared = declared
        self._model_path = model_path
        self._trusted = trusted
        self._keeps_models = keeps_models
        self._lock = threading.Lock()
        self._params: dict[str, Any] = {}
        self._next_step: dict[str, int] = {}

    def log_params(self, params: Mapping[str, Any]) -> None:
        plain = {values.key(key, "parameter"): values.plain(value, str(key)) for key, value in params.items()}
        with self._lock:
            for key, value in plain.items():
                for before, where in ((self._params.get(key), "was logged"), (self._given(key), "stands in mlo.yaml")):
                    if before is not None and repr(before) != repr(value) and before != value:
                        raise ParamChanged(
                            f"parameter {key} {where} as {before!r} and is now {value!r}",
                            hint="a parameter has one value a run; log what changes as a metric",
                        )
            self._params.update(plain)
        if plain:
            self._spool.append(*(Param(key, value) for key, value in plain.items()))

    def _given(self, key: str) -> Any:
        """A declared parameter by its dotted name; None if there is none, or it is a mapping."""
        value: Any = self._declared
        for part in key.split("."):
            if not isinstance(value, Mapping) or part not in value:
                return None
            value = value[part]
        return None if isinstance(value, Mapping) else values.plain(value, key)

    def log_metrics(self, metrics: Mapping[str, Any], step: Any = None) -> None:
        given = None if step is None else values.step(step)
        time_ms = int(self._clock.now().timestamp() * 1000)
        numbers = {values.key(key, "metric"): values.number(value, str(key)) for key, value in metrics.items()}
        points = []
        with self._lock:
            for key, number in numbers.items():
                at = self._next_step.get(key, 0) if given is None else given
                self._next_step[key] = max(at + 1, self._next_step.get(key, 0))
                points.append(Point(key, number, at, time_ms))
        if points:
            self._spool.append(*points)

    def set_tags(self, tags: Mapping[str, Any]) -> None:
        records = [Tag(values.key(key, "tag"), values.text(value, str(key))) for key, value in tags.items()]
        if records:
            self._spool.append(*records)

    def log_artifact(self, path: Path, name: str | None) -> None:
        with machine_errors(f"cannot read {path}"):
            if not path.exists():
                raise NotFound(f"there is no file {path} to log", hint="write it before log_artifact")
        named = values.artifact_name(name if name is not None else path.resolve().name)
        self._spool.append(Artifact(named, self._spool.keep(path, named.rpartition("/")[2])))

    def log_figure(self, figure: Any, name: str) -> None:
        named, data = figure_bytes(figure, values.artifact_name(name))
        self._spool.append(Artifact(named, self._spool.keep_bytes(data, "figure")))

    def log_model(self, model: Any, example: Any, path: str | Path | None, *, pickle: bool) -> Signature:
        """Save a model below the project's root and note it, with the sha256 of each of its files."""
        from mlops_cli.core.models.save import save_model

        folder = self._root / (path if path is not None else self._model_path)
        try:
            relative = folder.resolve().relative_to(self._root.resolve()).as_posix()
        except ValueError:
            raise UsageError(f"{folder} lies outside the project {self._root}", hint="give a path inside it") from None
        if relative == ".":
            raise ProjectError("a model needs a folder of its own", hint="give log_model a path such as model")
        saved = save_model(model, folder, example=example, pickle=pickle, trusted=self._trusted())
        copy = self._spool.keep(folder, "model") if self._keeps_models else ""
        self._spool.append(Model(LoggedModel(relative, saved.flavor, saved.files, saved.signature), copy))
        return saved.signature

    def end(self, *, failed: bool) -> None:
        """The last record of a run that a script opened."""
        self._spool.append(End("failed" if failed else "finished", format_time(self._clock.now())))
        self._spool.close()
