"""Profiles of files: made of rows without a model, counted on another's frame, merged."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import msgspec

from mlops_cli.core.base.digest import digest_bytes
from mlops_cli.core.base.files import write_atomic
from mlops_cli.core.base.names import repeated
from mlops_cli.core.drift.contents import ColumnContents, contents_of
from mlops_cli.core.drift.merging import frame_digest, merge, profile_like
from mlops_cli.core.drift.profile import Profile
from mlops_cli.core.drift.sources.open import open_rows
from mlops_cli.core.errors import NotFound, ProjectError, UsageError, WouldOverwrite
from mlops_cli.core.workflows.anywhere import is_project
from mlops_cli.core.workflows.drift_asked import Asked, shown
from mlops_cli.core.workflows.drift_files import clock_of, open_file, profile_alone, refuse_other_clock
from mlops_cli.core.workflows.drift_reference import begins_as_profile, read_profile
from mlops_cli.core.workflows.workspace import Workspace


class ProfileRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What a person asks of `mlo drift profile`.

    files: rows, or profiles. out: where to write the profile; an existing file is refused, unless `force`; None writes
    nothing. like: a profile's file or a version, on whose frame rows are counted. time: the rows' own clock; model.time
    by default, where the rows have it.
    """

    files: tuple[Path, ...]
    out: Path | None = None
    like: str | None = None
    time: str | None = None
    force: bool = False
    folder: Path = Path()


class Part(msgspec.Struct, frozen=True):
    """One file of a profile: its rows were profiled (`made`), counted on a frame (`counted`), or it was a `profile`."""

    name: str
    rows: int
    how: Literal["made", "counted", "profile"]


class Profiled(msgspec.Struct, frozen=True, kw_only=True):
    """A profile of files. `path` is where it was written, if it was; `frame` names what other profiles must have been
    counted on to be added, `digest` its bytes; `like` is whose frame that is, if another's."""

    path: str | None
    rows: int
    columns: tuple[ColumnContents, ...]
    parts: tuple[Part, ...]
    time: str | None
    span: tuple[str, str] | None
    framed: bool
    frame: str
    like: str | None
    digest: str
    bytes: int
    notes: tuple[str, ...]


def profile_request(typed: Mapping[str, Any], folder: Path) -> ProfileRequest:
    """From the options of `mlo drift profile` by their names; paths are relative to `folder`."""
    known: dict[str, Any] = {name: typed[name] for name in ("like", "time", "force") if typed.get(name)}
    files = tuple(folder / file for file in typed["files"])
    out = folder / typed["out"] if typed.get("out") else None
    return ProfileRequest(files=files, out=out, folder=folder, **known)


def profile_files(workspace: Workspace, request: ProfileRequest) -> Profiled:
    """One profile of all rows of the files, written to `out` if that is named.

    The frame is that of `like`, else the first file's own; other rows are counted on it and added, and profiles that
    were are added as they are. Profiles alone are merged as `merge` does. Raises UsageError for profiles that do not
    add or were made by another clock, WouldOverwrite before anything is read, NotFound, ProjectError for rows that do
    not fit, IntegrityError for a damaged profile, TooLittleData for a first file without rows.
    """
    _refuse_overwriting(workspace, request)
    _refuse_twice(workspace, request.files)
    frame, like = _like(workspace, request)
    made: list[Profile] = []
    parts: list[Part] = []
    for path in request.files:
        name = shown(workspace, path)
        profile, how = _of_file(workspace, request, path, name, frame, like)
        made.append(profile)
        parts.append(Part(name, profile.rows, how))
        frame = frame or profile
    return _written(workspace, request, merge(made), tuple(parts), like)


def _of_file(
    workspace: Workspace, request: ProfileRequest, path: Path, name: str, frame: Profile | None, like: str | None
) -> tuple[Profile, Literal["made", "counted", "profile"]]:
    known = read_profile(path)
    if known is not None:
        refuse_other_clock(known, request.time, name)
        if like is not None and frame is not None and frame_digest(known) != frame_digest(frame):
            raise UsageError(
                f"{name} is a profile that was not counted on the frame of {like}",
                hint=f"count its rows again: mlo drift profile ROWS --like {like}",
            )
        return known, "profile"
    if frame is None:
        window = open_file(path, name)
        return profile_alone(window, name, clock_of(workspace, request.time, window, name)), "made"
    texts = [column.name for column in (*frame.columns, *frame.answers) if column.kind == "string"]
    window = open_rows(path, texts=texts, name=name)
    try:
        return profile_like(frame, window), "counted"
    except ProjectError as error:
        raise ProjectError(f"{name}: {error.message}", hint=error.hint) from None


def _like(workspace: Workspace, request: ProfileRequest) -> tuple[Profile | None, str | None]:
    """The frame that was asked for, and what it is called. Raises NotFound, UsageError."""
    if request.like is None:
        return None, None
    path = request.folder / request.like
    if path.exists():
        name = shown(workspace, path)
        found = read_profile(path)
        if found is None:
            raise UsageError(f"{name} is no profile", hint=f"make one of its rows: mlo drift profile {name} -o OUT")
    elif is_project(workspace) and ("@" in request.like or ":" in request.like):
        asked = Asked.of(workspace, request.like, None)
        name, found = asked.title, asked.profile
    else:
        raise NotFound(
            f"there is no profile {request.like}",
            hint="name the file of a profile with --like, or in a project a version: flights@3",
        )
    refuse_other_clock(found, request.time, name)
    return found, name


def _refuse_overwriting(workspace: Workspace, request: ProfileRequest) -> None:
    if request.out is None or not request.out.exists():
        return
    name = shown(workspace, request.out)
    if not request.force:
        raise WouldOverwrite(f"{name} exists", hint="name another file with -o, or replace it with --force")
    if not begins_as_profile(request.out):
        raise WouldOverwrite(f"{name} is no profile, which alone -o --force replaces", hint="name another file with -o")


def _refuse_twice(workspace: Workspace, files: Sequence[Path]) -> None:
    twice = repeated([str(path.resolve()) for path in files])
    if twice:
        raise UsageError(f"{shown(workspace, Path(twice[0]))} is given twice", hint="its rows would count twice")


def _written(
    workspace: Workspace, request: ProfileRequest, profile: Profile, parts: tuple[Part, ...], like: str | None
) -> Profiled:
    data = profile.to_bytes()
    if request.out is not None:
        write_atomic(request.out, data)
    return Profiled(
        path=shown(workspace, request.out) if request.out is not None else None,
        rows=profile.rows,
        columns=tuple(contents_of(column) for column in (*profile.answers, *profile.columns)),
        parts=parts,
        time=profile.time,
        span=profile.span,
        framed=profile.framed,
        frame=frame_digest(profile),
        like=like,
        digest=str(digest_bytes(data, "xxh128")),
        bytes=len(data),
        notes=tuple(_notes(profile, parts, like)),
    )


def _notes(profile: Profile, parts: Sequence[Part], like: str | None) -> list[str]:
    notes = []
    counted = sum(part.how == "counted" for part in parts)
    if like is not None:
        notes.append(f"counted on the frame of {like}: its edges, listed values and autocorrelation times")
    elif counted:
        files = "another file was" if counted == 1 else f"{counted} other files were"
        notes.append(
            f"{parts[0].name} gives the frame (edges, listed values, autocorrelation times); {files} counted on it and "
            "added; a folder of files is read in one pass instead"
        )
    if profile.time_missing is not None and profile.time is None:
        notes.append(f"{profile.time_missing} orders no rows: they are taken as independent")
    elif profile.time is None:
        notes.append("nothing puts the rows in order, so they are taken as independent: name their clock with --time")
    return notes
