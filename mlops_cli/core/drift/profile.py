"""The profile: everything a drift check needs to know of the rows a model was trained on, made once.

It holds counts and edges, no rows (except values that many rows share). Its bytes are canonical: the same
reference gives the same profile. FORMAT.md beside this file describes them; profiling.py makes one.
"""

from __future__ import annotations

from collections.abc import Sized

import msgspec

from mlops_cli.core.base.digest import raw_function
from mlops_cli.core.drift.performance.evaluation import Evaluated
from mlops_cli.core.drift.summaries.categories import Categorical
from mlops_cli.core.drift.summaries.numbers import Numeric
from mlops_cli.core.drift.summaries.text import Text
from mlops_cli.core.drift.summaries.times import Times
from mlops_cli.core.drift.summaries.vectors import Vector
from mlops_cli.core.errors import IntegrityError

MAGIC = b"mlo-drift-profile"
VERSION = 3
CHECKED_FROM, CHECKSUM_BYTES = 2, 16  # the first version that has a checksum, and its size
PREDICTION, SCORE = "_prediction", "_score"  # as the prediction log calls them


class ColumnProfile(msgspec.Struct, frozen=True, kw_only=True):
    """One column of the reference. One of `numeric`, `categorical`, `text`, `vector` and `times` (with `span`) is set,
    or none.

    `held` is the group of types that the reference itself held, which may differ from the model's kind;
    `missing_time` the autocorrelation time of being missing, in rows; `importance` the mean loss of score when the
    column is permuted, in units of the score.
    """

    name: str
    kind: str
    held: str
    rows: int
    missing: int = 0
    missing_time: float = 1.0
    importance: float | None = None
    numeric: Numeric | None = None
    categorical: Categorical | None = None
    span: tuple[str, str] | None = None
    times: Times | None = None
    text: Text | None = None
    vector: Vector | None = None

    @property
    def present(self) -> int:
        return self.rows - self.missing


class Profile(msgspec.Struct, frozen=True, kw_only=True):
    """`columns` are the model's inputs in its order; `answers` its predictions on `answers_from` rows.

    `time` is the column that ordered the rows, or None if nothing did: then no dependence is known. `others` maps the
    reference's columns that are no inputs to their types. `span` is the time the reference covers.
    """

    rows: int
    columns: tuple[ColumnProfile, ...]
    answers: tuple[ColumnProfile, ...] = ()
    answers_from: str = "reference"
    time: str | None = None
    time_missing: str | None = None  # the configured time column, if the reference lacks it or it orders nothing
    span: tuple[str, str] | None = None
    others: dict[str, str] = {}
    bounds: tuple[float, ...] = ()  # between the blocks in time, as `columns.times` gives them
    framed: bool = False  # counted on the frame of another profile, or merged of such
    evaluation: Evaluated | None = None  # what labelled rows said at registration

    def column(self, name: str) -> ColumnProfile:
        """Raises KeyError."""
        for column in (*self.columns, *self.answers):
            if column.name == name:
                return column
        raise KeyError(name)

    def refuse_damage(self) -> None:
        """Raise IntegrityError if parts of a column do not fit together, as in a file that no digest vouches for."""
        for column in (*self.columns, *self.answers):
            try:
                whole = _fits(column)
            except (ValueError, IndexError, OverflowError):
                whole = False
            if not whole:
                raise IntegrityError(
                    f"the drift profile is damaged: what it holds of {column.name} does not fit together",
                    hint="mlo data fsck --repair",
                )

    def to_bytes(self) -> bytes:
        """The canonical bytes: magic, version byte, checksum, MessagePack with sorted keys."""
        body = msgspec.msgpack.encode(self, order="deterministic")
        return MAGIC + bytes([VERSION]) + _checksum(body) + body

    @classmethod
    def from_bytes(cls, data: bytes) -> Profile:
        """Raises IntegrityError for anything that is not a profile this mlo reads."""
        if not data.startswith(MAGIC) or len(data) <= len(MAGIC):
            raise IntegrityError("these bytes are no drift profile", hint="register the model again: mlo register")
        if data[len(MAGIC)] > VERSION:
            raise IntegrityError(
                f"the drift profile has version {data[len(MAGIC)]}; this mlo reads up to {VERSION}",
                hint="upgrade mlo: pip install --upgrade mlops-cli",
            )
        body = data[len(MAGIC) + 1 :]
        if data[len(MAGIC)] >= CHECKED_FROM:
            checksum, body = body[:CHECKSUM_BYTES], body[CHECKSUM_BYTES:]
            if checksum != _checksum(body):
                raise IntegrityError(
                    "the drift profile is damaged: its bytes are not those of its checksum",
                    hint="mlo data fsck --repair",
                )
        try:
            return msgspec.msgpack.decode(body, type=cls)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise IntegrityError(f"the drift profile is damaged: {error}", hint="mlo data fsck --repair") from None


def _checksum(body: bytes) -> bytes:
    return raw_function("xxh128")(body)


def _fits(column: ColumnProfile) -> bool:
    """Whether the arrays of a column are of one length each, and count no more rows than there are. Raises ValueError,
    IndexError or OverflowError if they do not even read."""
    present, found = column.present, list[tuple[Sized, ...]]()
    if column.numeric is not None:
        found.append(column.numeric.arrays())
        present -= column.numeric.rows
    if column.categorical is not None:
        known = column.categorical
        found += [(known.values, known.counts), known.rest.arrays()]
        present -= sum(known.counts) + known.rest_rows
    if column.text is not None:
        found += [(column.text.values, column.text.counts), *(part.arrays() for part in column.text.parts.values())]
    if column.vector is not None:
        column.vector.moments()
        found += [part.arrays() for part in column.vector.components]
    return 0 <= column.missing <= column.rows and present >= 0 and all(len({len(x) for x in one}) == 1 for one in found)
