"""The newest labelled rows, on which champion and challenger meet: read, checked against the training rows, judged."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlops_cli.core.base.digest import digest_file
from mlops_cli.core.base.names import repeated
from mlops_cli.core.errors import NotFound, ProjectError
from mlops_cli.core.project.schema import Model
from mlops_cli.core.registry.records import Version
from mlops_cli.core.retraining.comparison import Judged
from mlops_cli.core.workflows.resolve import load_resolved, resolved_version
from mlops_cli.core.workflows.rows import read_rows
from mlops_cli.core.workflows.workspace import Workspace

if TYPE_CHECKING:
    import pyarrow as pa

    from mlops_cli.core.models.load import LoadedModel


class HoldoutOverlaps(ProjectError):
    """Rows to judge by are rows that a model was trained on."""

    code = "holdout_overlaps"


@dataclass(frozen=True, slots=True)
class Holdout:
    """Prepared rows with the target. `shown` is the path as people know it; `rows` are those with a known target."""

    shown: str
    digest: str
    target: str
    time: str | None
    rows: pa.Table

    def after_training(self, name: str, training: pa.Table | None) -> Holdout:
        """Only the rows later than every row of `training`, what `name` was trained on.

        Without a time column, all of them. Raises HoldoutOverlaps if a row to be judged by is a training row.
        """
        import pyarrow as pa
        import pyarrow.compute as pc

        if training is None:
            return self
        shared = _shared_rows(self.rows, training)
        if shared:
            raise HoldoutOverlaps(
                f"{shared:,} of {self.rows.num_rows:,} rows of {self.shown} are rows that {name} was trained on",
                hint="give rows that were made after them; a model looks too good on rows it has seen",
            )
        if self.time is None or self.time not in training.column_names:
            return self
        if self.time not in self.rows.column_names:
            raise ProjectError(
                f"{self.shown} has no column {self.time}, which model.time names",
                hint="keep the rows' own time in the prepared file; it is never a feature",
            )
        last = pc.max(training[self.time])
        try:
            times = self.rows[self.time].cast(last.type)
        except pa.ArrowException as error:
            raise ProjectError(
                f"{self.time} of {self.shown} does not read as {last.type}, as that of the training rows: {error}",
                hint="prepare the rows as the training rows were",
            ) from None
        later = self.rows.filter(pc.fill_null(pc.greater(times, last), False))
        return Holdout(self.shown, self.digest, self.target, self.time, later)


def shown_path(workspace: Workspace, path: Path) -> str:
    """A path for people: relative to the project where it lies inside."""
    return path.relative_to(workspace.root).as_posix() if path.is_relative_to(workspace.root) else str(path)


def read_holdout(workspace: Workspace, path: Path, model: Model) -> Holdout:
    """Read a Parquet or CSV file of prepared rows. Raises NotFound, ProjectError."""
    import pyarrow.compute as pc

    shown = shown_path(workspace, path)
    if model.evaluate is None:
        raise ProjectError(
            "mlo.yaml names no target, so labelled rows cannot be told from others",
            hint="add to model: evaluate: {data: data/test.parquet, target: NAME}",
        )
    target = model.evaluate.target
    table = _read_file(path, shown)
    if target not in table.column_names:
        raise ProjectError(
            f"{shown} has no column {target}; it has {', '.join(table.column_names)}",
            hint="prepare the rows as the training rows were, with the target",
        )
    labels = table[target]
    rows = table.filter(pc.and_(pc.is_valid(labels), pc.invert(pc.is_null(labels, nan_is_null=True))))
    return Holdout(shown, str(digest_file(path, workspace.project.hash)), target, model.time, rows)


def training_rows(workspace: Workspace, version: Version) -> pa.Table | None:
    """The rows that a version's drift profile was made from, which are those it was trained on; None if unknown."""
    if version.reference is None:
        return None
    return read_rows(workspace, version.reference, _reference_path(workspace))


def judge(workspace: Workspace, version: Version, rows: pa.Table, target: str, time: str | None) -> Judged:
    """What a version answers to labelled rows, beside the truth."""
    return judged(load_resolved(workspace, resolved_version(version)), rows, target, time)


def judge_registered(workspace: Workspace, version: Version, time: str | None) -> Judged | None:
    """What a version answers to the rows it was registered with; None if it was registered without any."""
    if version.evaluate is None:
        return None
    path = version.evaluate.path or "evaluate.parquet"
    return judge(workspace, version, read_rows(workspace, version.evaluate.data, path), version.evaluate.target, time)


def judged(loaded: LoadedModel, rows: pa.Table, target: str, time: str | None) -> Judged:
    from mlops_cli.core.models.score import labelled

    truth, known = labelled(loaded, rows, target)
    times: Any = known[time].to_numpy() if time is not None and time in known.column_names else None
    return Judged(truth, loaded.predict(known), loaded.signature.classes, times)


def _reference_path(workspace: Workspace) -> str:
    model = workspace.project.model
    return model.reference if model is not None and model.reference is not None else "reference.parquet"


def _read_file(path: Path, shown: str) -> pa.Table:
    import pyarrow as pa
    from pyarrow import csv, parquet

    if path.is_dir():
        raise ProjectError(f"{shown} is a folder", hint="give a Parquet or a CSV file")
    try:
        table = csv.read_csv(path) if path.suffix.lower() == ".csv" else parquet.read_table(path)
    except FileNotFoundError:
        raise NotFound(f"there is no holdout file {shown}", hint="prepare one: new rows with their target") from None
    except pa.ArrowException as error:
        raise ProjectError(f"{shown} does not read as rows: {error}", hint="give a Parquet or a CSV file") from None
    if twice := repeated(table.column_names):
        raise ProjectError(f"{shown} has two columns named {', '.join(twice[:8])}", hint="name each column once")
    return table


def _shared_rows(rows: pa.Table, training: pa.Table) -> int:
    """How many of `rows` are among the training rows, in all the columns that both have; null equals null."""
    import pyarrow as pa
    import pyarrow.compute as pc

    names, ours, theirs = [], [], []
    for name in training.column_names:
        if name in rows.column_names:
            try:
                ours.append(rows[name].cast(training[name].type))
            except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
                return 0  # of another type: then no row of the one is a row of the other
            names.append(name)
            theirs.append(training[name])
    if not names:
        return 0
    keys = [f"k{place}" for place in range(len(names))]
    both = [
        pa.chunked_array([*first.chunks, *second.chunks], second.type)
        for first, second in zip(ours, theirs, strict=True)
    ]
    mine = pa.array([1] * rows.num_rows + [0] * training.num_rows, pa.int64())
    groups = pa.table([*both, mine], names=[*keys, "mine"]).group_by(keys).aggregate([("mine", "min"), ("mine", "sum")])
    in_training = groups.filter(pc.equal(groups["mine_min"], 0))
    return int(pc.sum(in_training["mine_sum"]).as_py() or 0)
