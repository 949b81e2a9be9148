"""Labels of logged predictions: what turned out to be true, however late it is known. FORMAT.md describes the files.

A label belongs to a row of a request. Segments of labels are only ever added; of several labels of one row the one
recorded last counts, and the others stay.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from mlops_cli.core.base.files import write_atomic
from mlops_cli.core.errors import IntegrityError, NotFound, UsageError
from mlops_cli.core.predictions.label_files import LABEL, RECORDED, encode, segment_name, tables_of
from mlops_cli.core.predictions.log_files import LABELS as FOLDER
from mlops_cli.core.predictions.log_files import counting, is_own, removed
from mlops_cli.core.predictions.outbox import PREFIX

if TYPE_CHECKING:
    import pyarrow as pa

    from mlops_cli.core.remotes.remote import Remote

MOST_ROW = 2**31 - 1

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Label(msgspec.Struct, frozen=True):
    """What was true of row `row` of a request, as the text that the prediction log writes for such a prediction."""

    request: str
    row: int
    label: str

    @property
    def place(self) -> tuple[str, int]:
        return self.request, self.row


class Recorded(msgspec.Struct, frozen=True):
    """What became of labels: `added` rows had none, `changed` had another one, `unchanged` had this one already.

    `segment` is the name of the segment that was written, None where there was nothing to write.
    """

    added: int
    changed: int
    unchanged: int
    segment: str | None = None


class Known(msgspec.Struct):
    """The labels that count, by request and row, each with the time it was recorded; `torn` as the log's reader.

    A server may keep one and give it to `record_labels`, which updates it, so that no call reads all segments anew.
    """

    labels: dict[tuple[str, int], tuple[datetime, str]]
    superseded: int = 0
    torn: dict[str, str] = {}

    def take(self, place: tuple[str, int], time: datetime, label: str) -> None:
        """The latest wins; of two recorded at one time, the greater text, so that no order of reading matters."""
        before = self.labels.get(place)
        if before is not None and before[1] != label:
            self.superseded += 1
        if before is None or (time, label) > before:
            self.labels[place] = time, label


def record_labels(
    log: Path | Remote, labels: Iterable[Label], now: datetime, *, known: Known | None = None
) -> Recorded:
    """Keep labels beside the prediction log. A row that has this very label already is left alone.

    They appear all at once, durably, in one segment, or not at all. A later label of a row is recorded at a later time
    than the one it replaces, even if the clock went back. Raises UsageError, before anything is written, for two labels
    of one row, an empty request id or a row below 0; MachineError or RemoteError if the segment cannot be written.
    """
    wanted = distinct(labels)
    known = read_labels(log) if known is None else known
    now = now.astimezone(UTC)
    fresh: list[tuple[datetime, Label]] = []
    added = changed = 0
    for label in wanted:
        before = known.labels.get(label.place)
        if before is not None and before[1] == label.label:
            continue
        added, changed = added + (before is None), changed + (before is not None)
        fresh.append((now if before is None else max(now, before[0] + timedelta(microseconds=1)), label))
    unchanged = len(wanted) - len(fresh)
    if not fresh:
        return Recorded(0, 0, unchanged)
    name = segment_name(now)
    data = encode([(at, label.request, label.row, label.label) for at, label in fresh])
    if isinstance(log, Path):
        write_atomic(log / FOLDER / name, data)
    else:
        log.put(f"{PREFIX}{FOLDER}/{name}", data)
        log.settle()
    for time, label in fresh:
        known.take(label.place, time, label.label)
    return Recorded(added, changed, unchanged, name)


def has_labels(log: Path | Remote) -> bool:
    """Whether any label was ever recorded. One look at a folder, or one listing."""
    if isinstance(log, Path):
        return any(is_own(path.name) for path in (log / FOLDER).glob("????-??-??/*"))
    return next(iter(log.list(f"{PREFIX}{FOLDER}/")), None) is not None


def read_labels(log: Path | Remote, *, since: datetime | None = None) -> Known:
    """The labels that count. Those recorded over a day before `since` are left out: no label is older than its row.

    A torn segment is skipped and named. Raises RemoteError if the remote is away.
    """
    early = since is None or since <= _EPOCH  # before it is no label, and of year 1 no day before
    first = "" if since is None or early else f"{since.astimezone(UTC) - timedelta(days=1):%Y-%m-%d}"
    known = Known({})
    for table in _files(log, first, known):
        # Times as numbers: a timestamp's to_pylist() imports pandas, which costs more than all the rest.
        stamps = table.column(RECORDED).cast("int64").to_pylist()
        columns = (table.column(column).to_pylist() for column in ("_request", "_row", LABEL))
        for stamp, request, row, label in zip(stamps, *columns, strict=True):
            known.take((request, row), _EPOCH + timedelta(microseconds=stamp), label)
    return known


def distinct(labels: Iterable[Label]) -> list[Label]:
    """One label a row, in order. Raises UsageError."""
    seen: dict[tuple[str, int], Label] = {}
    for label in labels:
        if not label.request:
            raise UsageError("a label has an empty request id", hint="give the id that the server answered with")
        if not 0 <= label.row <= MOST_ROW:
            raise UsageError(f"{label.row} is no row of request {label.request}", hint="rows are counted from 0")
        before = seen.setdefault(label.place, label)
        if before.label != label.label:
            raise UsageError(
                f"row {label.row} of request {label.request} has two labels: {before.label} and {label.label}",
                hint="of a request with several rows, say which row: a column _row, from 0",
            )
    return list(seen.values())


def _files(log: Path | Remote, first: str, known: Known) -> Iterator[pa.Table]:
    """The tables of all files of labels whose day is `first` or later; torn ones are named in `known`."""
    if isinstance(log, Path):
        days = (folder for folder in sorted((log / FOLDER).glob("????-??-??")) if folder.name >= first)
        for path in (path for day in days for path in counting(day.glob("*"))):
            yield from _tables(path, known)
        return
    prefix = f"{PREFIX}{FOLDER}/"
    with tempfile.TemporaryDirectory(prefix="mlo-labels-") as scratch:
        fetched = []
        for key in log.list(prefix):
            day, slash, name = key.removeprefix(prefix).partition("/")
            if slash and "/" not in name and is_own(name) and day >= first:
                try:
                    log.get_file(key, Path(scratch, name))
                except NotFound:
                    continue
                fetched.append(Path(scratch, name))
        for path in counting(fetched):
            yield from _tables(path, known)


def _tables(path: Path, known: Known) -> Iterator[pa.Table]:
    try:
        yield from tables_of(path)
    except IntegrityError as error:
        known.torn[path.name] = error.message
    except FileNotFoundError:
        if path.parent.is_dir():  # else its day was removed whole
            raise removed(path) from None
