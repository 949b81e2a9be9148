"""Compare rows with a file where no model is asked about: no version, and no project need be there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mlops_cli.core.base.names import name_some
from mlops_cli.core.base.records import Column
from mlops_cli.core.drift.check import NO_CLOCK, NO_PREDICTIONS
from mlops_cli.core.drift.columns import kind_of
from mlops_cli.core.drift.profile import Profile
from mlops_cli.core.drift.profiling import make_profile
from mlops_cli.core.drift.sources.open import open_rows
from mlops_cli.core.drift.window import Window
from mlops_cli.core.errors import NotFound, ProjectError, TooLittleData, UsageError
from mlops_cli.core.workflows.anywhere import is_project
from mlops_cli.core.workflows.drift_asked import Asked, DriftRequest, length_of, rules_of, shown
from mlops_cli.core.workflows.drift_reference import Reference, no_rows_of, read_profile
from mlops_cli.core.workflows.resolve import resolve_model
from mlops_cli.core.workflows.workspace import Workspace

_CLOCKS = ("datetime", "integer")  # a number may be an epoch, or count steps
_CLOCKLESS = "the reference was profiled without a clock"


@dataclass(frozen=True, slots=True)
class Comparison:
    """What is compared, and with what. `reference` is chosen later where a model is asked about; `unordered` says why
    nothing puts its rows in order, if so it is."""

    asked: Asked
    reference: Reference | None = None
    notes: tuple[str, ...] = ()
    unordered: str = NO_CLOCK

    def all_notes(self, found: Sequence[str]) -> tuple[str, ...]:
        """The notes of a check in the words that fit: where no model is asked about, no prediction is missed."""
        told = [note.replace(NO_CLOCK, self.unordered) for note in found]
        return (*self.notes, *(note for note in told if self.reference is None or note != NO_PREDICTIONS))


def compared(workspace: Workspace, request: DriftRequest) -> Comparison:
    """The version that is asked about; or the reference file alone, where both sides are files and no version is named,
    no model configured, or none of it in production.

    Raises as `Asked.of`, NotFound and ProjectError for a file, UsageError for a --time that is none.
    """
    notes: tuple[str, ...] = ()
    if not request.holds_files and not is_project(workspace):
        raise ProjectError(
            f"no mlo.yaml in {workspace.root} or above it, so no model says what the rows are compared with",
            hint="compare them with other rows: --reference FILE; or go to a project's folder",
        )
    if request.holds_files:
        model = workspace.project.model
        if model is None:
            return _of_file(workspace, request, ())
        try:
            resolve_model(workspace, f"{model.name}@production")
        except NotFound:
            notes = (f"no version of {model.name} is in production: the files are compared by themselves",)
            return _of_file(workspace, request, notes)
    asked = Asked.of(workspace, request.ref, request.window)
    if request.time:
        raise UsageError(
            f"--time names the clock of files that are compared without a model, and {asked.title} is asked about",
            hint="leave it out: model.time in mlo.yaml is the clock of a version, from when it is registered",
        )
    return Comparison(asked, unordered=_CLOCKLESS if asked.time else NO_CLOCK)


def _of_file(workspace: Workspace, request: DriftRequest, notes: tuple[str, ...]) -> Comparison:
    path = workspace.root / str(request.reference)
    name = shown(workspace, path)
    profile = read_profile(path)
    unordered = _CLOCKLESS if profile is not None else "no --time says when"
    if profile is not None:
        refuse_other_clock(profile, request.time, name)
        reference = Reference(profile, name, lambda: no_rows_of(name))
    else:
        window = open_file(path, name)
        profile = profile_alone(window, name, clock_of(workspace, request.time, window, name))
        reference = Reference(profile, name, lambda: window)
    asked = Asked(
        workspace,
        None,
        profile,
        rules_of(workspace),
        length_of(workspace, request.window),
        named=False,
        time=profile.time or profile.time_missing,
    )
    return Comparison(asked, reference, notes, unordered)


# -- profiles of files, without a model ----------------------------------------------------------------------


def open_file(path: Path, name: str, texts: Sequence[str] = ()) -> Window:
    """The rows of a file. Raises NotFound, ProjectError, and TooLittleData for a file without rows."""
    window = open_rows(path, texts=texts, name=name)
    if window.rows == 0:
        raise TooLittleData(f"{name} holds no rows", hint="give a file with rows")
    return window


def profile_alone(window: Window, name: str, time: str | None) -> Profile:
    """A profile of rows of which no model says what they are: every column counts, its kind is that of its type."""
    inputs = [Column(field.name, kind_of(field.type), True) for field in window.schema if field.name != time]  # type: ignore[arg-type]
    if not inputs:
        raise ProjectError(
            f"{name} has no column" + (f" besides {time}" if time else ""), hint="give a file with columns to compare"
        )
    return make_profile(window, inputs=inputs, time=time)


def clock_of(workspace: Workspace, asked: str | None, window: Window, name: str) -> str | None:
    """The column that orders the rows: --time, else model.time where the file has it. Raises UsageError."""
    if asked is not None:
        if asked not in window:
            raise UsageError(
                f"{name} has no column {asked}; it has {name_some(window.schema.names)}",
                hint="name a column of times with --time, or leave it out",
            )
        kind = kind_of(window.schema.field(asked).type)
        if kind not in _CLOCKS:
            raise UsageError(
                f"{asked} of {name} holds {kind}s, which are no times",
                hint="name a column of times, dates or whole numbers with --time, or leave it out",
            )
        return asked
    configured = workspace.project.model.time if workspace.project.model else None
    return configured if configured is not None and configured in window else None


def refuse_other_clock(profile: Profile, asked: str | None, name: str) -> None:
    """Raise UsageError if --time names another clock than that of a profile that is there already."""
    known = profile.time or profile.time_missing
    if asked is not None and asked != known:
        raise UsageError(
            f"{name} is a profile whose rows were put in order by {known or 'nothing'}, not by {asked}",
            hint="leave out --time, or make the profile again with it",
        )
