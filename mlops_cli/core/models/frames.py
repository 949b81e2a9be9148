"""From rows to what the estimator was fitted with: a DataFrame with the same dtypes, or one array."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from mlops_cli.core.base.records import Column
from mlops_cli.core.models.errors import WrongInputs
from mlops_cli.core.models.manifest import ColumnType, ModelManifest

if TYPE_CHECKING:
    import pyarrow as pa


def to_table(rows: Any) -> pa.Table:
    """Rows as an Arrow table. `rows` is one already, a record batch, a DataFrame or a mapping of columns."""
    import pandas as pd
    import pyarrow as pa

    if isinstance(rows, pa.Table):
        return rows
    if isinstance(rows, pa.RecordBatch):
        return pa.Table.from_batches([rows])
    try:
        if isinstance(rows, pd.DataFrame):
            return pa.Table.from_pandas(rows, preserve_index=False)
        if isinstance(rows, dict):
            return pa.table(rows)
    except (pa.ArrowException, ValueError, TypeError) as error:
        raise WrongInputs(f"the rows are no table: {error}", hint="give columns of one length and kind") from None
    raise WrongInputs(
        f"rows of type {type(rows).__name__} are no table",
        hint="give an Arrow table, a DataFrame or a mapping of columns",
    )


def build(manifest: ModelManifest, table: pa.Table) -> Any:
    """`table` as the estimator takes it: columns by name, in the order of fit(); others are left out.

    A missing number becomes NaN, a missing text what it was in the example. Raises WrongInputs for an absent
    column or values of another kind; whether a value may be missing is the estimator's to say.
    """
    import numpy as np
    import pandas as pd

    wanted = manifest.signature.inputs
    absent = [column.name for column in wanted if column.name not in table.column_names]
    if absent:
        raise WrongInputs(
            f"the rows have no column {', '.join(absent)}; they have {', '.join(table.column_names) or 'none at all'}",
            hint=f"the model takes {', '.join(column.name for column in wanted)}",
        )
    built = {
        column.name: _column(table.column(column.name), column, held)
        for column, held in zip(wanted, manifest.columns, strict=True)
    }
    if manifest.container == "frame":
        return pd.DataFrame(built, copy=False)
    return np.column_stack(list(built.values()))


def _column(values: pa.ChunkedArray, column: Column, held: ColumnType) -> Any:
    import pyarrow as pa

    if pa.types.is_dictionary(values.type):
        values = values.cast(values.type.value_type)
    if held.dtype == "category":
        return _categorical(_cast(values, column), column, held)
    values = _cast(values, column)
    if column.kind == "string":
        return _text(values, held)
    if column.kind == "datetime":
        return _times(values, held)
    return _numbers(values, column, held)


def _cast(values: pa.ChunkedArray, column: Column) -> pa.ChunkedArray:
    """`values` as the Arrow type of the column's kind. Raises WrongInputs with one value that does not fit."""
    import pyarrow as pa
    import pyarrow.compute as pc

    source = values.type
    types = pa.types
    is_number = types.is_integer(source) or types.is_floating(source) or types.is_decimal(source)
    fits = {
        "float": is_number or types.is_boolean(source),
        "integer": is_number or types.is_boolean(source),
        "boolean": is_number or types.is_boolean(source),
        "string": types.is_string(source) or types.is_large_string(source) or types.is_string_view(source),
        "datetime": types.is_temporal(source) or types.is_string(source) or types.is_large_string(source),
    }[column.kind]
    if types.is_null(source) or (not fits and values.null_count == len(values)):
        return pa.chunked_array([pa.nulls(len(values), _arrow_type(column))])
    try:
        if not fits:
            raise pa.ArrowInvalid(f"{source}")
        if column.kind in {"integer", "boolean"} and types.is_floating(source):
            values = pc.if_else(pc.is_nan(values), pa.scalar(None, source), values).cast(pa.int64())
        if column.kind == "boolean" and not types.is_boolean(source):
            values = values.cast(pa.int64())
            if not pc.all(pc.is_in(values, pa.array([0, 1, None], pa.int64()))).as_py():
                raise pa.ArrowInvalid("neither 0 nor 1")
        if column.kind == "datetime" and types.is_timestamp(source):
            return values
        return values.cast(_arrow_type(column))
    except pa.ArrowException:
        raise _misfit(values, column) from None


def _arrow_type(column: Column) -> pa.DataType:
    import pyarrow as pa

    kinds = {
        "float": pa.float64(),
        "integer": pa.int64(),
        "boolean": pa.bool_(),
        "string": pa.large_string(),
        "datetime": pa.timestamp("us", tz="UTC"),
    }
    return kinds[column.kind]


def _misfit(values: pa.ChunkedArray, column: Column) -> WrongInputs:
    article = "an integer" if column.kind == "integer" else f"a {column.kind}"
    for value in values.to_pylist():
        if value is not None and not _is_of(value, column.kind):
            return WrongInputs(
                f"column {column.name} holds {value!r}, which is not {article}", hint=f"its kind is {column.kind}"
            )
    return WrongInputs(f"column {column.name} holds {values.type} values, not {column.kind}", hint="mend the column")


def _is_of(value: Any, kind: str) -> bool:
    if kind in {"float", "integer", "boolean"}:
        if isinstance(value, str | bytes) or not hasattr(value, "__float__"):
            return False
        number = float(value)
        return kind == "float" or math.isnan(number) or (number.is_integer() if kind == "integer" else number in (0, 1))
    return isinstance(value, str) if kind == "string" else False


def _numbers(values: pa.ChunkedArray, column: Column, held: ColumnType) -> Any:
    """An array of the dtype of fit(); floats where a value is missing, as only they can say so."""
    import numpy as np
    import pyarrow as pa

    missing = values.null_count > 0
    plain = held.dtype.lower().removesuffix("[pyarrow]")  # Int64 and int64[pyarrow] are twins of int64
    if column.kind == "float" or missing or held.dtype != plain:
        dtype = plain if plain in {"float32", "float16"} else "float64"
        return np.asarray(values.cast(pa.float64()).to_numpy(), dtype=dtype)
    dtype = {"boolean": "bool", "integer": plain}.get(column.kind, plain)
    return np.asarray(values.to_numpy(), dtype=dtype if dtype != "object" else None)


def _text(values: pa.ChunkedArray, held: ColumnType) -> Any:
    """Text as pandas held it: its own string dtype if the example had one, else objects."""
    import numpy as np
    import pandas as pd

    objects = np.array(values.to_pylist(), dtype=object)
    if held.dtype in {"str", "string"}:
        dtype = pd.api.types.pandas_dtype(held.dtype)
        if isinstance(dtype, pd.StringDtype):  # to pandas 2 `str` is NumPy's, which spells a missing value "None"
            return pd.array(objects, dtype=dtype)
    if held.missing == "nan":
        objects[pd.isna(objects)] = np.nan
    # A series says that it holds objects; from a bare array pandas 3 would make its string dtype.
    return pd.Series(objects, dtype=object)


def _times(values: pa.ChunkedArray, held: ColumnType) -> Any:
    import pandas as pd

    times = pd.Series(values.to_pandas())
    zoned = "," in held.dtype
    if zoned and times.dt.tz is None:
        times = times.dt.tz_localize("UTC")
    elif not zoned and times.dt.tz is not None:
        times = times.dt.tz_convert("UTC").dt.tz_localize(None)
    dtype: Any = held.dtype if held.dtype.startswith("datetime64") else object
    return times.astype(dtype)


def _categorical(values: pa.ChunkedArray, column: Column, held: ColumnType) -> Any:
    """A categorical with the categories of fit() first, and whatever else the rows hold after them."""
    import pandas as pd

    objects = values.to_pylist()
    known = list(held.categories)
    seen = dict.fromkeys(known)
    new = [value for value in dict.fromkeys(objects) if value is not None and value not in seen]
    kinds = {"float": float, "integer": int, "boolean": bool}
    convert: Any = kinds.get(column.kind, lambda value: value)
    index = pd.Index([convert(value) for value in known] + new)
    return pd.Categorical(objects, categories=index, ordered=held.ordered and not new)
