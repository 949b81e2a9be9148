"""What a window is compared with: the training rows' profile, a file, or other windows of the prediction log."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import msgspec

from mlops_cli.core.base.clock import format_brief
from mlops_cli.core.base.digest import Digest
from mlops_cli.core.base.names import name_some
from mlops_cli.core.base.records import Column, Entry
from mlops_cli.core.drift.columns import GROUPS
from mlops_cli.core.drift.periods import Period
from mlops_cli.core.drift.profile import MAGIC, VERSION, ColumnProfile, Profile
from mlops_cli.core.drift.profiling import make_profile, profile_column
from mlops_cli.core.drift.references import Named
from mlops_cli.core.drift.sources.open import open_rows
from mlops_cli.core.drift.window import Window
from mlops_cli.core.errors import IntegrityError, NotFound, ProjectError, TooLittleData, UsageError
from mlops_cli.core.registry.records import Version
from mlops_cli.core.workflows.drift_asked import Asked, DriftRequest, shown
from mlops_cli.core.workflows.drift_rows import Rows, rows_between
from mlops_cli.core.workflows.resolve import bring
from mlops_cli.core.workflows.rows import read_rows


@dataclass(frozen=True, slots=True)
class Reference:
    """`profile` is what the window is compared with, `label` how it is called. `raw` opens the reference's own rows, or
    raises an MloError that says why they cannot be had and what to do."""

    profile: Profile
    label: str
    raw: Callable[[], Window]


def choose_reference(asked: Asked, request: DriftRequest, rows: Rows) -> Reference:
    """What `rows` are compared with: --reference, else drift.reference, else the training rows.

    Raises TooLittleData if the log holds fewer than drift.min_rows there, UsageError for a reference that overlaps
    with the window, NotFound and ProjectError for a file, IntegrityError for a damaged profile.
    """
    named = named_reference(asked, request)
    if named.choice == "training":
        return Reference(asked.profile, "training", lambda: training_rows(asked))
    if named.choice == "file":
        return _of_file(asked, asked.workspace.root / named.text)
    return _of_log(asked, named, rows)


def named_reference(asked: Asked, request: DriftRequest) -> Named:
    """The reference that is meant, not yet read."""
    return Named.parse(request.reference or asked.workspace.project.drift.reference)


# -- the training rows ---------------------------------------------------------------------------------------


def training_rows(asked: Asked) -> Window:
    """The rows a version's profile was made from, as recorded when it was registered; from a remote if need be.

    Raises NotFound if no version recorded any, ObjectMissing or RemoteError if no place has them.
    """
    workspace, title = asked.workspace, asked.title
    version = _version(asked)
    if version is None or version.reference is None:
        raise NotFound(
            f"{title} has a profile of its training rows, but they themselves were not recorded",
            hint="give them with --reference FILE, or set model.reference and register the model again",
        )
    name = f"the training rows of {title}"
    bring(workspace, version.reference, what=name)
    return Window.of_table(read_rows(workspace, version.reference, name + _suffix(asked, version.reference)))


def _version(asked: Asked) -> Version | None:
    registry, model = asked.workspace.registry, asked.version
    if model.version is None:
        return next((it for it in registry.of_run(model.run) if it.model == model.model), None)
    return next((it for it in registry.versions(model.name) if it.version == model.version), None)


def _suffix(asked: Asked, entry: Entry) -> str:
    """A version records the digest of its training rows, not their name: a Parquet file is known by its bytes."""
    if entry.kind == "dir":
        return ""
    with asked.workspace.store.open(Digest.parse(entry.digest)) as file:
        return ".parquet" if file.read(4) == b"PAR1" else ".csv"


# -- a file --------------------------------------------------------------------------------------------------


def _of_file(asked: Asked, path: Path) -> Reference:
    name = shown(asked.workspace, path)
    known = read_profile(path)
    if known is not None:
        return Reference(_as_taken(known, asked, name), name, lambda: no_rows_of(name))
    texts = tuple(column.name for column in asked.profile.columns if column.kind == "string")
    try:
        window = open_rows(path, texts=texts, name=name)
    except NotFound as error:
        raise NotFound(
            error.message,
            hint="a reference is training, weekday:4, season:1, 2013-04-01..2013-05-01, or a file of rows or a profile",
        ) from None
    if window.rows == 0:
        raise TooLittleData(f"the reference {name} holds no rows", hint="give a file with rows")
    absent = [column.name for column in asked.profile.columns if column.name not in window]
    if absent:
        raise ProjectError(
            f"{name} has no column {name_some(absent)}, of what {asked.title} takes",
            hint=f"add it to {name}, or give another file with --reference",
        )
    return Reference(profile_like_version(asked, window, window), name, lambda: window)


def no_rows_of(name: str) -> Window:
    """Raises UsageError: a profile was asked for its rows."""
    raise UsageError(
        f"{name} is a profile, which holds counts and no rows",
        hint="give the file of rows that it was made from with --reference",
    )


def begins_as_profile(path: Path) -> bool:
    """Whether a file says that it is a profile, damaged or not."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(len(MAGIC)) == MAGIC


def read_profile(path: Path) -> Profile | None:
    """The profile in a file; None for a file of anything else, or none. Raises IntegrityError for a damaged one."""
    if not begins_as_profile(path):
        return None
    data = path.read_bytes()
    try:
        profile = Profile.from_bytes(data)
        profile.refuse_damage()
    except IntegrityError as error:
        newer = data[len(MAGIC) : len(MAGIC) + 1] > bytes([VERSION])
        hint = error.hint if newer else "make it again from its rows: mlo drift profile ROWS -o FILE"
        raise IntegrityError(f"{path.name}: {error.message}", hint=hint) from None
    return profile


def _as_taken(profile: Profile, asked: Asked, name: str) -> Profile:
    """A profile's columns that the version takes, in its order; importances are the version's where the profile, made
    of rows alone, has none. Raises UsageError if it lacks one or holds it in another kind."""
    held = {column.name: column for column in profile.columns}
    weighted = any(column.importance is not None for column in profile.columns)
    taken = []
    for wanted in asked.profile.columns:
        column = held.pop(wanted.name, None)
        if column is None or GROUPS[column.kind] != GROUPS[wanted.kind]:
            has = f"holds {column.kind}s in" if column is not None else "has no column"
            raise UsageError(
                f"{name} {has} {wanted.name}, of which {asked.title} takes {wanted.kind}s",
                hint=f"make the profile of rows as it takes them: mlo drift profile ROWS --like {asked.title}",
            )
        importance = column.importance if weighted else wanted.importance
        taken.append(msgspec.structs.replace(column, kind=wanted.kind, importance=importance))
    others = profile.others | {column.name: column.kind for column in held.values()}
    return msgspec.structs.replace(profile, columns=tuple(taken), others=others)


# -- other windows of the log --------------------------------------------------------------------------------


def _of_log(asked: Asked, named: Named, rows: Rows) -> Reference:
    if rows.period is None:
        raise UsageError(
            f"the reference {named.text} is taken from the prediction log by time, and {rows.source} is checked whole",
            hint="choose its rows with --since and --until, or compare with --reference FILE",
        )
    periods = named.periods(rows.period, asked.workspace.clock.now())
    found = rows_between(asked, periods, rows.log)
    least = asked.workspace.project.drift.min_rows
    if found.inputs.rows < least:
        place = found.source
        raise TooLittleData(
            f"the reference {named.text} holds {found.inputs.rows:,} rows of {asked.version.name} in {place}, and "
            f"drift.min_rows asks for {least:,}: looked between {_shown(periods)}",
            hint="compare with --reference training, or with more weeks or years, or lower drift.min_rows",
        )
    profile = profile_like_version(asked, found.inputs, found.answers)
    return Reference(profile, named.text, lambda: found.inputs)


def _shown(periods: tuple[Period, ...]) -> str:
    spans = [f"{format_brief(period.start)} and {format_brief(period.end)}" for period in periods]
    return ", ".join(spans[:4]) + (f" and {len(spans) - 4} more" if len(spans) > 4 else "")


# -- profiles of rows, as a version takes them ----------------------------------------------------------------


def profile_like_version(asked: Asked, inputs: Window, answers: Window | None) -> Profile:
    """A profile of rows with the version's inputs, clock and importances; predictions are those the rows hold."""
    version = asked.profile
    time = version.time or version.time_missing
    profile = make_profile(
        inputs,
        inputs=[Column(column.name, column.kind, True) for column in version.columns],  # type: ignore[arg-type]
        time=time,
        importances={column.name: column.importance for column in version.columns if column.importance is not None},
    )
    replied = answers if answers is not None else inputs
    return msgspec.structs.replace(profile, answers=_answers(version, replied, time))


def _answers(version: Profile, window: Window, time: str | None) -> tuple[ColumnProfile, ...]:
    from mlops_cli.core.drift import columns as arrow

    if not window.rows:
        return ()
    order = arrow.time_order(window.read(time)) if time is not None and time in window else None
    return tuple(
        profile_column(window.read(known.name), Column(known.name, known.kind, True), order)  # type: ignore[arg-type]
        for known in version.answers
        if known.name in window
    )
