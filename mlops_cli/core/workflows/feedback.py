"""`mlo feedback`: keep what turned out to be true of logged predictions."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from mlops_cli.core.base.records import Signature
from mlops_cli.core.errors import NotFound, ProjectError, UsageError
from mlops_cli.core.predictions.label_taker import LabelTaker
from mlops_cli.core.predictions.labels import Label, record_labels
from mlops_cli.core.workflows.drift_asked import shown
from mlops_cli.core.workflows.drift_log import Log
from mlops_cli.core.workflows.workspace import Workspace

if TYPE_CHECKING:
    import pyarrow as pa

REQUESTS, ROWS, LABELS = ("_request", "request_id", "request"), ("_row", "row"), ("label", "_label")
LOOKED_BACK_DAYS = 92
MOST_NESTED = 500
_QUOTED = re.compile(rb'"(?:[^"\\]|\\.)*"')


class Feedback(msgspec.Struct, frozen=True, kw_only=True):
    """Where labels come from: one `request` with its `row` and `label`, or a `file`, whose columns may be named."""

    request: str | None = None
    label: str | None = None
    row: int = 0
    file: Path | None = None
    request_column: str | None = None
    row_column: str | None = None
    label_column: str | None = None


class FeedbackAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """What became of the labels. `added` rows had none before, `changed` another one, `unchanged` this one already.

    `unlabelled` rows of the file have no label. `unknown` are labels of which the last `looked_back_days` days of the
    log hold no prediction; they are kept all the same. `segment` names what was written below `log`.
    """

    added: int
    changed: int
    unchanged: int
    unlabelled: int
    unknown: int
    looked_back_days: int
    source: str
    log: str
    segment: str | None


def record_feedback(workspace: Workspace, asked: Feedback) -> FeedbackAnswer:
    """Check labels against the model's task and classes, and keep them beside the prediction log.

    Raises UsageError for a label that the model cannot have answered, before anything is written; NotFound and
    ProjectError for a file that does not read; ProjectError without a log; RemoteError, MachineError.
    """
    log = Log.of(workspace)
    takes = label_taker(workspace)
    if asked.file is None:
        if not asked.request or asked.label is None:
            raise UsageError(
                "there is nothing to record", hint="mlo feedback REQUEST_ID LABEL, or mlo feedback --file labels.csv"
            )
        if asked.request_column or asked.row_column or asked.label_column:
            raise UsageError("columns are named, and no file that has them", hint="give it with --file")
        labels, unlabelled, source = [Label(asked.request, asked.row, takes.text(asked.label))], 0, asked.request
    else:
        if asked.request is not None:
            raise UsageError("a request and a file are given", hint="give one of them")
        if asked.row:
            raise UsageError(
                "--row is the row of one request, and a file is given", hint="name its column: --row-column"
            )
        source = shown(workspace, asked.file)
        table = read_table(asked.file, source)
        labels, unlabelled = labels_of(table, takes, asked, source)
    recorded = record_labels(log.source, labels, workspace.clock.now())
    return FeedbackAnswer(
        added=recorded.added,
        changed=recorded.changed,
        unchanged=recorded.unchanged,
        unlabelled=unlabelled,
        unknown=_unknown(workspace, log, labels),
        looked_back_days=LOOKED_BACK_DAYS,
        source=source,
        log=log.place,
        segment=recorded.segment,
    )


def label_taker(workspace: Workspace) -> LabelTaker:
    """What a label of the project's model may be. Raises ProjectError without a model section."""
    model = workspace.project.model
    if model is None:
        raise ProjectError("mlo.yaml has no model section, so labels belong to no model", hint="add model: {name: ...}")
    target = model.evaluate.target if model.evaluate is not None else None
    if model.name not in workspace.registry.names():
        return LabelTaker(model.name, None, (), target)
    versions = workspace.registry.versions(model.name)
    signatures: Sequence[Signature] = [version.signature for version in versions]
    classes = dict.fromkeys(label for signature in signatures for label in signature.classes)
    named = next((version.evaluate.target for version in reversed(versions) if version.evaluate), target)
    return LabelTaker(model.name, signatures[-1].task, tuple(classes), target or named)


# -- files ---------------------------------------------------------------------------------------------------


def read_table(path: Path, name: str) -> pa.Table:
    """The rows of a Parquet, CSV or JSON lines file, request ids as text. Raises NotFound, ProjectError."""
    import pyarrow as pa
    from pyarrow import csv, json, parquet

    if not path.is_file():
        raise NotFound(f"there is no file {name}", hint="give a Parquet, CSV or JSON lines file of labels")
    texts = {column: pa.string() for column in (*REQUESTS, "_prediction")}
    suffix = path.suffix.lower()
    try:
        if suffix == ".csv":
            return csv.read_csv(path, convert_options=csv.ConvertOptions(column_types=texts, strings_can_be_null=True))
        if suffix in (".jsonl", ".ndjson", ".json"):
            _refuse_nesting(path, name)
            return json.read_json(path)
        return parquet.read_table(path)
    except (pa.ArrowException, OSError) as error:
        raise ProjectError(
            f"{name} does not read as rows: {error}", hint="give a Parquet, CSV or JSON lines file"
        ) from None


def _refuse_nesting(path: Path, name: str) -> None:
    """Arrow's reader ends the whole process on values in many others. Raises ProjectError."""
    depth = 0
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            bare = _QUOTED.sub(b"", line)
            opened = bare.count(b"[") + bare.count(b"{")
            if depth + opened > MOST_NESTED:
                raise ProjectError(f"{name}:{number} nests too deeply", hint="give one flat JSON object a line")
            depth = max(0, depth + opened - bare.count(b"]") - bare.count(b"}"))


def labels_of(table: pa.Table, takes: LabelTaker, asked: Feedback, source: str) -> tuple[list[Label], int]:
    """The labels of a file, and how many rows have none. Raises UsageError, naming the row, from 1."""
    import pyarrow as pa

    requests = _column(table, asked.request_column, REQUESTS, "--request-column", source)
    wanted = (*LABELS, takes.target) if takes.target else LABELS
    values = _column(table, asked.label_column, wanted, "--label-column", source)
    has_rows = asked.row_column is not None or any(name in table.column_names for name in ROWS)
    rows = _column(table, asked.row_column, ROWS, "--row-column", source) if has_rows else None
    try:
        ids = requests.cast(pa.string()).to_pylist()
    except pa.ArrowException:
        raise UsageError(f"{source} holds {requests.type} for request ids", hint="request ids are texts") from None
    labels, unlabelled = [], 0
    for place, (request, row, value) in enumerate(
        zip(ids, _rows(rows, len(ids), source), values.to_pylist(), strict=True)
    ):
        if value is None or value != value:  # noqa: PLR0124 - NaN is no label
            unlabelled += 1
            continue
        if not request:
            raise UsageError(f"row {place + 1} of {source} has no request id", hint="every label needs its request")
        try:
            labels.append(Label(request, row, takes.text(value)))
        except UsageError as error:
            raise UsageError(f"row {place + 1} of {source}: {error.message}", hint=error.hint) from None
    return labels, unlabelled


def _column(table: pa.Table, named: str | None, usual: Sequence[str], option: str, source: str) -> pa.ChunkedArray:
    for name in (named,) if named else usual:
        if table.column_names.count(name) > 1:
            raise UsageError(f"{source} has two columns named {name}", hint="name each column once")
        if name in table.column_names:
            return table.column(name)
    looked = named or " or ".join(usual)
    raise UsageError(
        f"{source} has no column {looked}; it has {', '.join(table.column_names)}", hint=f"name it with {option}"
    )


def _rows(column: pa.ChunkedArray | None, count: int, source: str) -> Iterator[int]:
    if column is None:
        yield from (0 for _ in range(count))
        return
    for place, value in enumerate(column.to_pylist()):
        if value is None:
            yield 0
        elif (isinstance(value, int) and not isinstance(value, bool)) or (
            isinstance(value, float) and value.is_integer()
        ):
            yield int(value)
        else:
            raise UsageError(
                f"row {place + 1} of {source} has {value!r} for the row of its request",
                hint="rows are whole numbers, from 0",
            )


def _unknown(workspace: Workspace, log: Log, labels: Sequence[Label]) -> int:
    """How many of the labels are of no logged row. The newest days are looked at first, and no more than needed."""
    import pyarrow as pa
    import pyarrow.compute as pc

    from mlops_cli.core.predictions.reader import read_log

    missing = {label.place for label in labels}
    ids = pa.array(sorted({request for request, _ in missing}), pa.string())
    end = workspace.clock.now() + timedelta(days=1)
    step = 1
    for _ in range(LOOKED_BACK_DAYS):
        if not missing or step > LOOKED_BACK_DAYS:
            break
        start = end - timedelta(days=step)
        for table in read_log(log.source, since=start, until=end):
            found = table.filter(pc.is_in(table["_request"], value_set=ids))
            missing -= set(zip(found["_request"].to_pylist(), found["_row"].to_pylist(), strict=True))
        end, step = start, step * 2
    return len(missing)


def feedback_from(typed: Mapping[str, Any], folder: Path) -> Feedback:
    """From the arguments and options of `mlo feedback` by their names; the file is relative to `folder`."""
    known: dict[str, Any] = {name: typed[name] for name in Feedback.__struct_fields__ if typed.get(name)}
    if "file" in known:
        known["file"] = folder / known["file"]
    return Feedback(**known)
