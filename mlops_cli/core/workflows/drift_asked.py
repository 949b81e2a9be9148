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
    time: the rows' own clock, where they are compared with a file and no model says; model.time by default.
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
    time: str | None = None
    segments: str | None = None
    multivariate: bool = False
    html: Path | None = None
    windows: int | None = None
    force: bool = False
    record: bool = True

    @property
    def holds_files(self) -> bool:
        """Whether both sides are given as rows, so that neither a model nor a project need be there."""
        return self.holds_rows and Named.parse(self.reference or "training").choice == "file"

    @property
    def holds_rows(self) -> bool:
        """Whether the window is given as rows, and no version is named that it should be like."""
        return self.ref is None and (self.current is not None or self.sql is not None)


def request_from(typed: Mapping[str, Any], folder: Path) -> DriftRequest:
    """From the options of `mlo drift` by their names; paths are relative to `folder`."""
    known: dict[str, Any] = {name: typed[name] for name in DriftRequest.__struct_fields__ if typed.get(name)}
    known |= {"sql": typed["sql"]} if typed.get("sql") is not None else {}  # an empty query is no window of the log
    known |= {"windows": typed["windows"]} if typed.get("windows") is not None else {}  # 0 is an answer, too
    known |= {name: folder / known[name] for name in ("current", "db", "html") if name in known}
    if Named.parse(known.get("reference", "training")).choice == "file":
        known["reference"] = str(folder / known["reference"])
    return DriftRequest(**known, folder=folder)


class Asked(msgspec.Struct, frozen=True):
    """What a check is about: the version, its profile, and the settings in force.

    `model` is None where rows are compared with a file alone; `profile` is then the file's. `time` is the rows' own
    clock; `named` says whether the version was asked for by name.
    """

    workspace: Workspace
    model: ResolvedModel | None
    profile: Profile
    rules: Rules
    length_s: float
    named: bool
    time: str | None = None

    @property
    def version(self) -> ResolvedModel:
        """The model, where one is asked about. Raises ValueError."""
        if self.model is None:
            raise ValueError("files are compared without a model")
        return self.model

    @property
    def title(self) -> str:
        """What the model is called; empty without one."""
        return self.model.title if self.model is not None else ""

    @property
    def digest(self) -> str:
        """The digest of the version's profile; empty without one."""
        return (self.model.profile or "") if self.model is not None else ""

    @classmethod
    def of(cls, workspace: Workspace, ref: str | None, window: str | None) -> Asked:
        """The version that `ref` names, or that is in production. Raises UsageError without a model section, NotFound,
        and ProjectError for one without a profile."""
        project = workspace.project
        if ref is None and project.model is None:
            raise UsageError(
                "mlo.yaml has no model section, so there is no model to check",
                hint="say which: mlo drift check NAME@3; or compare files: --current FILE --reference FILE",
            )
        resolved = resolve_model(workspace, ref or f"{project.model.name}@production")  # type: ignore[union-attr]
        if resolved.profile is None:
            raise ProjectError(
                f"{resolved.title} has no drift profile: model.reference was not set when it was registered",
                hint="set model: {reference: <training rows>} in mlo.yaml, then mlo run and mlo register",
            )
        data = bring_digest(workspace, resolved.profile, what=f"the drift profile of {resolved.title}")
        return cls(
            workspace,
            resolved,
            Profile.from_bytes(data),
            rules_of(workspace),
            length_of(workspace, window),
            named=ref is not None,
            time=project.model.time if project.model else None,
        )


def rules_of(workspace: Workspace) -> Rules:
    """What counts as drift here, by mlo.yaml or by default."""
    settings = workspace.project.drift
    return Rules(alpha=settings.alpha, floor=settings.floor, detect=settings.detect)


def length_of(workspace: Workspace, window: str | None) -> float:
    """How long a window is, in seconds; drift.window by default."""
    return parse_duration(window or workspace.project.drift.window)


def shown(workspace: Workspace, path: Path) -> str:
    """A path for people: relative to the project where it lies inside."""
    return path.relative_to(workspace.root).as_posix() if path.is_relative_to(workspace.root) else str(path)
