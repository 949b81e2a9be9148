"""The reading end of the prediction log: the rows that arrived in a window, whoever served them."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc

from mlops_cli.core.errors import IntegrityError, NotFound
from mlops_cli.core.predictions.log_files import DAY, DayFile, counting, groups_between, is_own, open_day, removed
from mlops_cli.core.predictions.outbox import PREFIX
from mlops_cli.core.predictions.segment import ARRIVED, FORMAT, VERSION, decode, sample_of

if TYPE_CHECKING:
    from mlops_cli.core.remotes.remote import Remote

TABLE_ROWS = 65_536
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LISTED_DAYS = 40  # a longer window lists the whole log once instead of each day


@dataclass(slots=True)
class LogReport:
    """What a reading met: `torn` maps the name of each unreadable file to the reason.

    `samples` are the shares of the requests that the log took while the files were written.
    """

    segments: int = 0
    rows: int = 0
    torn: dict[str, str] = field(default_factory=dict)
    samples: set[float] = field(default_factory=set)


def read_log(
    source: Path | Remote, *, since: datetime, until: datetime, report: LogReport | None = None
) -> Iterator[pa.Table]:
    """The rows with since <= arrival < until, in tables of about 65,536 rows that all have one schema.

    Days outside the window are not opened. Segments are read in the order of their first arrivals. Where versions
    of a model differ in their columns, a column has the wider type, or text if there is none, and null where a
    version did not have it. A torn segment is skipped and named in `report`. Nothing logged: no table at all.
    Raises RemoteError if the remote is away.
    """
    report = report if report is not None else LogReport()
    since, until = since.astimezone(UTC), until.astimezone(UTC)
    with ExitStack() as stack:

        def scratch() -> Path:
            return Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="mlo-log-")))

        paths = segment_files(source, since, until, scratch)
        # Two passes: a segment's schema is a few hundred bytes at its end, and only all of them say the common one.
        schemas: list[pa.Schema] = []
        whole: list[Path | DayFile] = []
        for path in paths:
            try:
                file = open_day(path, FORMAT, VERSION) if path.name.endswith(DAY) else path
                schema = (
                    file.schema if isinstance(file, DayFile) else decode(pa.memory_map(str(path)), path.name).schema
                )
            except IntegrityError as error:
                report.torn[path.name] = error.message
            except FileNotFoundError:
                _require_removed(path)
            else:
                schemas.append(schema)
                whole.append(file)
                report.samples.add(sample_of(schema))
        if whole:
            yield from _tables(whole, unify(schemas), since, until, report)


def read_table(
    source: Path | Remote, *, since: datetime, until: datetime, report: LogReport | None = None
) -> pa.Table | None:
    """All rows of the window as one table; None if there are none."""
    tables = list(read_log(source, since=since, until=until, report=report))
    return pa.concat_tables(tables) if tables else None


def unify(schemas: Sequence[pa.Schema]) -> pa.Schema:
    """One schema for all: the columns in order of appearance, each in the widest type it had, else as text."""
    types: dict[str, pa.DataType] = {}
    for schema in schemas:
        for column in schema:
            known = types.setdefault(column.name, column.type)
            if known != column.type:
                types[column.name] = _wider(known, column.type)
    return pa.schema(types.items())


def _wider(left: pa.DataType, right: pa.DataType) -> pa.DataType:
    try:
        both = pa.unify_schemas([pa.schema([("x", left)]), pa.schema([("x", right)])], promote_options="permissive")
    except (pa.ArrowTypeError, pa.ArrowInvalid):
        # Probabilities of other numbers of classes.
        return pa.list_(pa.float64()) if {left.num_fields, right.num_fields} == {1} else pa.string()
    return both.field("x").type


def _tables(
    files: Iterable[Path | DayFile], schema: pa.Schema, since: datetime, until: datetime, report: LogReport
) -> Iterator[pa.Table]:
    pending: list[pa.Table] = []
    rows = 0
    for file in files:
        report.segments += 1
        for piece in _pieces(file, since, until, report):
            table = _between(piece, since, until)
            report.rows += table.num_rows
            if table.num_rows == 0:
                continue
            pending.append(_fit(table, schema))
            rows += table.num_rows
            if rows >= TABLE_ROWS:
                yield pa.concat_tables(pending).combine_chunks()
                pending, rows = [], 0
    if pending:
        yield pa.concat_tables(pending).combine_chunks()


def _pieces(file: Path | DayFile, since: datetime, until: datetime, report: LogReport) -> Iterator[pa.Table]:
    """A segment whole, or a day's row groups that may lie in the window, one at a time."""
    path = file.path if isinstance(file, DayFile) else file
    try:
        if isinstance(file, DayFile):
            low, high = microseconds(since), microseconds(until)
            for group in groups_between(file, ARRIVED, low, high):
                yield file.group(group)
        else:
            yield decode(pa.memory_map(str(path)), path.name)
    except IntegrityError as error:
        report.torn[path.name] = error.message
    except FileNotFoundError:
        report.segments -= 1
        _require_removed(path)


def _require_removed(path: Path) -> None:
    """A file went between the listing and now: with its whole day, as retention does, or somebody has to read again."""
    if path.parent.is_dir():
        raise removed(path) from None


def microseconds(time: datetime) -> int:
    """Since 1970."""
    return (time.astimezone(UTC) - _EPOCH) // timedelta(microseconds=1)


def _between(table: pa.Table, since: datetime, until: datetime) -> pa.Table:
    arrived = table[ARRIVED]
    low, high = (pa.scalar(time, arrived.type) for time in (since, until))
    return table.filter(pc.and_(pc.greater_equal(arrived, low), pc.less(arrived, high)))


def _fit(table: pa.Table, schema: pa.Schema) -> pa.Table:
    columns = [
        table[column.name].cast(column.type)
        if column.name in table.column_names
        else pa.nulls(table.num_rows, column.type)
        for column in schema
    ]
    return pa.table(columns, schema=schema)


def segment_files(source: Path | Remote, since: datetime, until: datetime, scratch: Callable[[], Path]) -> list[Path]:
    """The segments whose day overlaps the window, as files of this machine, in order of their first arrivals.

    since, until: UTC. Those of a remote are fetched into the folder that `scratch` gives, unless they are there.
    """
    if since >= until:
        return []
    first, last = since.strftime("%Y-%m-%d"), (until - timedelta(microseconds=1)).strftime("%Y-%m-%d")
    if isinstance(source, Path):
        days = (folder for folder in source.glob("????-??-??") if first <= folder.name <= last)
        return [path for folder in sorted(days) for path in counting(folder.glob("*"))]
    folder = scratch()
    fetched = []
    for key in _keys(source, first, last, (until - since).days):
        target = folder / key.rpartition("/")[2]
        try:
            if not target.exists():
                source.get_file(key, target)
        except NotFound:
            continue
        fetched.append(target)
    return counting(fetched)


def _keys(remote: Remote, first: str, last: str, days: int) -> Iterator[str]:
    if days > _LISTED_DAYS:
        keys = remote.list(PREFIX)
    else:
        start = datetime.strptime(first, "%Y-%m-%d").replace(tzinfo=UTC)
        names = ((start + timedelta(days=step)).strftime("%Y-%m-%d") for step in range(days + 2))
        keys = (key for name in names if name <= last for key in remote.list(f"{PREFIX}{name}/"))
    for key in keys:
        day, slash, name = key.removeprefix(PREFIX).partition("/")
        if slash and "/" not in name and is_own(name) and first <= day <= last:
            yield key
