"""What `mlo run -P` leaves in the work tree: a note of whose outputs stand there instead of those of mlo.lock."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from mlops_cli.core.base.files import write_atomic
from mlops_cli.core.base.records import StageRecord
from mlops_cli.core.project.lock import StageLock

VERSION = 1


class Marker(msgspec.Struct, frozen=True):
    """The outputs of `stages` in the work tree are those of `run`, made with `overrides`, not those of mlo.lock."""

    run: str
    overrides: dict[str, Any]
    stages: tuple[str, ...]
    version: int = VERSION

    @property
    def text(self) -> str:
        values = ", ".join(f"{name}={value}" for name, value in self.overrides.items())
        return f"run {self.run[:8]} ({values})" if values else f"run {self.run[:8]}"

    def without(self, stages: Collection[str]) -> Marker:
        return msgspec.structs.replace(self, stages=tuple(name for name in self.stages if name not in stages))


def read_marker(path: Path) -> Marker | None:
    try:
        marker = msgspec.json.decode(path.read_bytes(), type=Marker)
    except (FileNotFoundError, msgspec.DecodeError):
        return None
    return marker if marker.version == VERSION else None


def write_marker(path: Path, marker: Marker | None) -> None:
    """Without a marker, or with one that names no stage, there is no file."""
    if marker is None or not marker.stages:
        path.unlink(missing_ok=True)
    else:
        write_atomic(path, msgspec.json.encode(marker), durable=False)


def marker_after(
    before: Marker | None,
    run: str,
    overrides: Mapping[str, Any],
    records: Sequence[StageRecord],
    locked: Mapping[str, StageLock],
    done: Collection[str],
) -> Marker | None:
    """The note once a run ended: the stages whose outputs, by its `records` of status `done`, are not those of the
    lock, and those of `before` that it did not touch."""
    touched = {record.name for record in records if record.status in done}
    others = [name for name in before.stages if name not in touched] if before is not None else []
    deviating = [
        record.name
        for record in records
        if record.name in touched and (record.name not in locked or locked[record.name].outs != record.outs)
    ]
    if overrides and deviating:
        return Marker(run, dict(overrides), (*deviating, *others))
    return msgspec.structs.replace(before, stages=tuple(others)) if before is not None else None
