"""A signature as types for msgspec, which checks and converts values while it parses them.

What decodes through them is right and needs no second look. What does not may be right all the same (`5.0` for an
integer), or may be wrong in a way that a client wants to hear more of: then the way of `Decoder` is gone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any

import msgspec
from msgspec.structs import astuple

from mlops_cli.core.base.one_row import OneRow
from mlops_cli.core.base.records import Column, Signature
from mlops_cli.core.serving.values import INT64_MAX, INT64_MIN, check

_TYPES: dict[str, Any] = {
    "float": float,
    "integer": Annotated[int, msgspec.Meta(ge=INT64_MIN, le=INT64_MAX)],
    "boolean": bool,
    "string": str,
    "datetime": str,  # parsed afterwards: datetime.fromisoformat reads more forms than msgspec
}


class RowType:
    """`Fields` is a row as an object, `Positions` one as a list in the signature's order."""

    def __init__(self, signature: Signature, time_column: str | None) -> None:
        kinds = [_type(column) for column in signature.inputs]
        places = [f"f{place}" for place in range(len(kinds))]
        self._names = [column.name for column in signature.inputs]
        self._places = {name: place for place, name in enumerate(self._names)}
        self._dates = [column for column in signature.inputs if column.kind == "datetime"]
        self._time = (
            Column(time_column, "datetime", nullable=True)
            if time_column is not None and time_column not in self._names
            else None
        )
        fields: list[Any] = list(zip(places, kinds, strict=True))
        names = dict(zip(places, self._names, strict=True))
        if self._time is not None:
            fields.append(("time", str | None, None))
            names["time"] = self._time.name
        self.Fields = msgspec.defstruct("Fields", fields, rename=names, forbid_unknown_fields=True, gc=False)
        self.Positions: Any = tuple[tuple(kinds)]  # type: ignore[misc]

    @classmethod
    def of(cls, signature: Signature, time_column: str | None) -> RowType | None:
        """None for names that msgspec cannot spell."""
        try:
            return cls(signature, time_column) if signature.inputs else None
        except ValueError:
            return None

    def columns(self, rows: Sequence[Any]) -> tuple[Mapping[str, Any], list[datetime | None] | None]:
        """The rows' columns, and their times if any has one. Raises BadInput for a time that is none."""
        named = bool(rows) and type(rows[0]) is not tuple
        values = list(map(astuple, rows)) if named else rows
        if len(values) == 1 and not self._dates:
            one = OneRow(self._places, values[0] if self._time is None else values[0][: len(self._names)])
            return one, self._times(values) if named else None
        if values:
            apart = zip(*values, strict=True)
            columns: dict[str, Any] = {name: list(column) for name, column in zip(self._names, apart, strict=False)}
        else:
            columns = {name: [] for name in self._names}
        for column in self._dates:
            columns[column.name] = check(column, columns[column.name])
        return columns, self._times(values) if named else None

    def _times(self, values: Sequence[tuple[Any, ...]]) -> list[datetime | None] | None:
        if self._time is None:
            return None
        times = [row[-1] for row in values]
        return check(self._time, times) if any(time is not None for time in times) else None


def _type(column: Column) -> Any:
    kind = _TYPES[column.kind]
    return kind | None if column.nullable else kind
