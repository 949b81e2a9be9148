"""A finished run as bytes that travel: canonical JSON with the whole history of its metrics. See FORMAT.md."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from mlops_cli.core.base.digest import canonical_json
from mlops_cli.core.base.records import RUN_ID, Metric
from mlops_cli.core.errors import ProjectError
from mlops_cli.core.tracking.errors import RunDamaged
from mlops_cli.core.tracking.records import Run

VERSION = 1
KIND = "run"

# JSON has no word for these; a metric's value is a number or one of these texts.
_WORDS = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}
# Anywhere else a text may be just that text, so such a number is a mapping with this one key.
_FLOAT = "$float"


class _File(msgspec.Struct, frozen=True):
    kind: str
    version: int
    run: Any
    history: dict[str, list[tuple[int, int, float | str]]]


def to_bytes(run: Run, history: Mapping[str, Sequence[Metric]]) -> bytes:
    """Equal runs give equal bytes. What belongs to this machine alone (pid, born) is left out."""
    document = msgspec.to_builtins(msgspec.structs.replace(run, pid=0, born="", metrics={}))
    points = {key: [[point.step, point.time_ms, _word(point.value)] for point in history[key]] for key in history}
    return canonical_json({"kind": KIND, "version": VERSION, "run": _pack(document), "history": points})


def from_bytes(data: bytes) -> tuple[Run, dict[str, list[Metric]]]:
    """Raises RunDamaged, or ProjectError if a newer mlo wrote it."""
    try:
        file = msgspec.json.decode(data, type=_File)
        if file.kind != KIND:
            raise msgspec.ValidationError(f"its kind is {file.kind!r}")
        if file.version > VERSION:
            raise ProjectError(
                f"a run's manifest has version {file.version}; this mlo reads up to {VERSION}",
                hint="upgrade mlo: pip install --upgrade mlops-cli",
            )
        run = msgspec.convert(_unpack(file.run), Run)
        history = {
            key: [Metric(key, _number(value), step, time_ms) for step, time_ms, value in points]
            for key, points in file.history.items()
        }
    except (msgspec.MsgspecError, UnicodeDecodeError, KeyError) as error:
        raise RunDamaged(f"a run's manifest does not read: {error}", hint="pull it again from a remote") from None
    if not RUN_ID.fullmatch(run.id) or len(run.id) != 32 or not run.is_over:
        raise RunDamaged(f"a run's manifest names {run.id!r}, {run.status}", hint="pull it again from a remote")
    return run, history


def _word(value: float) -> float | str:
    if math.isfinite(value):
        return value
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"


def _number(value: float | str) -> float:
    return _WORDS[value] if isinstance(value, str) else value


def _pack(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return {_FLOAT: _word(value)}
    if isinstance(value, dict):
        packed = {key: _pack(item) for key, item in value.items()}
        # A mapping that happens to look like a packed number is wrapped once more.
        return {_FLOAT: packed} if set(packed) == {_FLOAT} else packed
    if isinstance(value, list | tuple):
        return [_pack(item) for item in value]
    return value


def _unpack(value: Any) -> Any:
    if isinstance(value, dict):
        if set(value) == {_FLOAT}:
            inner = value[_FLOAT]
            if isinstance(inner, str):
                return _WORDS[inner]
            return {key: _unpack(item) for key, item in inner.items()}
        return {key: _unpack(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_unpack(item) for item in value]
    return value
