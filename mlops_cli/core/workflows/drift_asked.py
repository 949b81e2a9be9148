"""What a drift check is about: the version, its profile, and the settings in force."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec

from mlops_cli.core.base.clock import parse_duration
from mlops_cli.core.base.records import ResolvedModel
from mlops_cli.core.drift.profile import Profile
from mlops_cli.core.drift.records import Rules
from mlops_cli.core.drift.references import Named
from mlops_cli.core.errors import ProjectError, UsageError
from mlops_cli.core.workflows.resolve import bring_digest, resolve_model
from mlops_cli.core.workflows.workspace import Workspace


class DriftRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What a person or a cron job asks of `mlo drift`.

    ref: which version, `<model.name>@production` by default. The rows are those of the file or folder `current`, else
    of the query `sql` (of the DuckDB database `db`, or of files that it names from `folder`), else a window of the
    prediction log, `window` long (`drift.window` by default), which ends at its last multiple before now and
    reaches further back until it holds `drift.min_rows`; `since` and `until` set its ends instead, as times or as
    durations before now; of a file they choose rows by `model.time`. A check of the log is recorded as a `drift` event
    if `record`. reference: what the rows are compared with, as `Named.parse` reads it; drift.reference by default.
    segments: a column within whose values to check as well; multivariate: whether a classifier compares all columns
    together. html: where to write a report as well; an existing file is refused, unless `force`; `windows` is how many
    windows beside the checked one it shows, each a check of its own.
    """

    ref: str | None = None
    window: str | None = None
    since: str | datetime | None = None
    until: str | datetime | None = None
    current: Path | None = None
    sql: str | None = None
    db: Path | None = None
    folder: Path = Path()
    reference: str | None = None
    segments: str | None = None
    multivariate: bool = False
    html: Path | None = None
    windows: int | None = None
    force: bool = False
    record: bool = True


def request_from(typed: Mapping[str, Any], folder: Path) -> DriftRequest:
    """From the options of `mlo drift` by their names; paths are relative to `folder`."""
    known: dict[str, Any] = {name: typed[name] for name in DriftRequest.__struct_fields__ if typed.get(name)}
    known |= {"windows": typed["windows"]} if typed.get("windows") is not None else {}  # 0 is an answer, too
    known |= {name: folder / known[name] for name in ("current", "db", "html") if name in known}
    if Named.parse(known.get("reference", "training")).choice == "file":
        known["reference"] = str(folder / known["reference"])
    return DriftRequest(**known, folder=folder)


class Asked(msgspec.Struct, frozen=True):
    """What a check is about: the version, its profile, and the settings in force."""

    workspace: Workspace
    model: ResolvedModel
    profile: Profile
    rules: Rules
    length_s: float
    named: bool  # whether the version was asked for by name

    @classmethod
    def of(cls, workspace: Workspace, ref: str | None, window: str | None) -> Asked:
        project, settings = workspace.project, workspace.project.drift
        if ref is None and project.model is None:
            raise UsageError(
                "mlo.yaml has no model section, so there is no model to check", hint="say which: mlo drift check NAME@3"
            )
        resolved = resolve_model(workspace, ref or f"{project.model.name}@production")  # type: ignore[union-attr]
        if resolved.profile is None:
            raise ProjectError(
                f"{resolved.title} has no drift profile: model.reference was not set when it was registered",
                hint="set model: {reference: <training rows>} in mlo.yaml, then mlo run and mlo register",
            )
        data = bring_digest(workspace, resolved.profile, what=f"the drift profile of {resolved.title}")
        rules = Rules(alpha=settings.alpha, floor=settings.floor, detect=settings.detect)
        length_s = parse_duration(window or settings.window)
        return cls(workspace, resolved, Profile.from_bytes(data), rules, length_s, ref is not None)


def shown(workspace: Workspace, path: Path) -> str:
    """A path for people: relative to the project where it lies inside."""
    return path.relative_to(workspace.root).as_posix() if path.is_relative_to(workspace.root) else str(path)
