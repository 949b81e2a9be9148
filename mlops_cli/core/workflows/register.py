"""Make a run's model a version: gather its facts, store all that they name, and append one event."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import msgspec

from mlops_cli.core.base.records import MODEL_NAME, Entry, ResolvedModel
from mlops_cli.core.errors import IntegrityError, NotFound, ProjectError, UsageError
from mlops_cli.core.events.protocol import sayable
from mlops_cli.core.registry.records import Evaluation, Version
from mlops_cli.core.store.holdings import facts_folder
from mlops_cli.core.store.snapshot import record
from mlops_cli.core.store.transfer import push_digests, push_objects
from mlops_cli.core.store.tree import walk
from mlops_cli.core.workflows.choose import choose_run, describe_origin
from mlops_cli.core.workflows.resolve import bring, entry_of, load_resolved, model_folder, model_of_run
from mlops_cli.core.workflows.rows import read_rows, score_each
from mlops_cli.core.workflows.workspace import Workspace

if TYPE_CHECKING:
    from mlops_cli.core.models.load import LoadedModel
    from mlops_cli.core.tracking.records import Run


class Registration(msgspec.Struct, frozen=True):
    """A version, and whether this call made it. `notes` say what its facts lack; `overrides` are the run's (-P)."""

    version: Version
    created: bool
    notes: list[str] = []
    overrides: dict[str, Any] = {}


def register_model(workspace: Workspace, run: str | None = None, *, name: str | None = None) -> Version:
    """As `register`; the version alone."""
    return register(workspace, run, name=name).version


def register(workspace: Workspace, run: str | None = None, *, name: str | None = None) -> Registration:
    """Register the model of a run under `name` or model.name.

    run: an id or a prefix; None for the run that made the model which mlo.lock records, see `choose_run`.

    Every object that the version names is in the cache, and on the registry's remote if it has one, before the event
    is appended; a call that is cut short leaves no half version. The same model of the same run is registered once.
    Raises NotFound (no run, no model), ProjectError, IntegrityError, RemoteError.
    """
    notes: list[str] = []
    chosen = _choose(workspace, run, notes)
    called = _name(workspace, name)
    if not chosen.model and not (workspace.project.model and workspace.project.model.path in chosen.outputs):
        raise _no_model(workspace, chosen)
    entry = model_of_run(workspace, chosen)
    known = next((it for it in workspace.registry.of_run(chosen.id) if (it.name, it.model) == (called, entry)), None)
    if known is not None:
        return Registration(known, created=False, notes=notes, overrides=chosen.overrides)
    describe_origin(workspace, chosen, notes)
    facts = _facts(workspace, chosen, called, entry, notes)
    _share(workspace, facts)
    version, created = workspace.registry.add_version(facts)
    return Registration(version, created, notes, chosen.overrides)


def known_version(workspace: Workspace, prefix: str) -> Version | None:
    """The newest version of model.name that holds what this run made: the same model, from the same inputs, to be
    scored and watched on the same rows. None if registering the run would tell anything new."""
    model = workspace.project.model
    run = workspace.runs.get(prefix)
    try:
        entry = model_of_run(workspace, run)
    except NotFound:
        return None
    made = [
        version
        for version in workspace.registry.versions(_name(workspace, None))
        if (version.model, version.inputs) == (entry, run.inputs)
    ]
    if not made or model is None:
        return None
    evaluate = reference = None
    if model.evaluate is not None:
        path = model.evaluate.data
        data = find_entry(workspace, run, path, key="model.evaluate")
        evaluate = Evaluation(data, model.evaluate.target, path)
    if model.reference is not None:
        reference = find_entry(workspace, run, model.reference, key="model.reference")
    return next((it for it in reversed(made) if (it.evaluate, it.reference) == (evaluate, reference)), None)


def _choose(workspace: Workspace, prefix: str | None, notes: list[str]) -> Run:
    if prefix is None:
        return choose_run(workspace, notes)
    run = workspace.runs.get(prefix.removeprefix("runs:"))
    if run.status != "finished":
        raise ProjectError(
            f"run {run.short} is {run.status}; only a finished run's model can be registered",
            hint="mlo runs list, or mlo run",
        )
    return run


def _name(workspace: Workspace, name: str | None) -> str:
    if name is None:
        if workspace.project.model is None:
            raise ProjectError(
                "mlo.yaml has no model section, so the model has no name",
                hint="add model: {name: ...}, or say --name NAME",
            )
        return workspace.project.model.name
    if not MODEL_NAME.fullmatch(name):
        raise UsageError(
            f"{name!r} is not a name for a model", hint="use letters, digits, dots, dashes and underscores"
        )
    return name


def _no_model(workspace: Workspace, run: Run) -> NotFound:
    other = next((it for it in workspace.runs.list(limit=50) if it.model is not None and it.status == "finished"), None)
    hint = "call mlo.log_model(model, example=X) in the training script, then mlo run"
    if other is not None:
        hint = f"the last run that logged one is {other.short}: mlo register {other.short}"
    return NotFound(f"run {run.short} logged no model", hint=hint)


# -- facts ---------------------------------------------------------------------------------------------------


def _facts(workspace: Workspace, run: Run, name: str, entry: Entry, notes: list[str]) -> Version:
    draft = ResolvedModel(name=name, version=None, run=run.id, model=entry, files=_files(workspace, run, entry))
    loaded = load_resolved(workspace, draft)
    evaluate, scores = _evaluation(workspace, run, loaded, notes)
    reference, profile = _profile(workspace, run, loaded, evaluate, notes)
    manifest = workspace.store.put_bytes(workspace.runs.manifest(run.id))
    return Version(
        name=name,
        version=0,
        run=run.id,
        model=entry,
        files=draft.files,
        signature=loaded.signature,
        flavor=loaded.manifest.flavor,
        metrics=_finite(run.metrics),
        scores=scores,
        params=sayable(run.params),
        profile=profile,
        manifest=str(manifest),
        evaluate=evaluate,
        reference=reference,
        inputs=dict(run.inputs),
        stages=tuple(msgspec.structs.replace(stage, params=sayable(stage.params)) for stage in run.stages),
        command=run.command,
        commit=run.commit,
        branch=run.branch,
        dirty=run.dirty,
        diff=run.diff,
    )


def _files(workspace: Workspace, run: Run, entry: Entry) -> dict[str, str]:
    """The sha256 of each file of the model folder; they must be those the script recorded when it logged the model."""
    from mlops_cli.core.models.manifest import hash_files

    unnamed = ResolvedModel(name="", version=None, run=run.id, model=entry)
    files = hash_files(model_folder(workspace, unnamed))
    if run.model is not None:
        for path, expected in run.model.files.items():
            if files.get(path) != expected:
                found = files.get(path, "missing")
                raise IntegrityError(
                    f"{run.model.path}/{path} is not what run {run.short} logged: {found[:12]}, not {expected[:12]}",
                    hint="the stage changed the folder after mlo.log_model; log the model last, and run again",
                )
    return files


def _evaluation(
    workspace: Workspace, run: Run, loaded: LoadedModel, notes: list[str]
) -> tuple[Evaluation | None, dict[str, float | None]]:
    from mlops_cli.core.models.score import default_scores

    model = workspace.project.model
    if model is None or model.evaluate is None:
        notes.append("no model.evaluate in mlo.yaml: gates can use the run's metrics only, and no champion")
        return None, {}
    path, target = model.evaluate.data, model.evaluate.target
    evaluate = Evaluation(find_entry(workspace, run, path, key="model.evaluate"), target, path)
    rows = read_rows(workspace, evaluate.data, path)
    scores, reasons = score_each(loaded, rows, target, default_scores(loaded))
    notes += dict.fromkeys(reasons.values())
    return evaluate, scores


def _profile(
    workspace: Workspace, run: Run, loaded: LoadedModel, evaluate: Evaluation | None, notes: list[str]
) -> tuple[Entry | None, str | None]:
    model = workspace.project.model
    if model is None or model.reference is None:
        notes.append("no model.reference in mlo.yaml: there is no profile to check for drift against")
        return None, None
    from mlops_cli.core.workflows.drift_profile import build_profile

    entry = find_entry(workspace, run, model.reference, key="model.reference")
    reference = read_rows(workspace, entry, model.reference)
    labelled = read_rows(workspace, evaluate.data, evaluate.path) if evaluate else None
    data = build_profile(workspace, loaded, reference, labelled, evaluate.target if evaluate else None)
    return entry, str(workspace.store.put_bytes(data))


def find_entry(workspace: Workspace, run: Run, path: str, *, key: str) -> Entry:
    """What `path` held for a run: its output, its input, what mlo.lock says, or, for other files, what stands there.

    A file inside an added or written folder is found too. Raises ProjectError, naming the key of mlo.yaml.
    """
    held = {**_known_inputs(workspace, run), **run.outputs}
    for place in (held, workspace.read_lock().entries):
        found = _inside(workspace, place, path)
        if found is not None:
            bring(workspace, found, what=path)
            return found
    if (workspace.root / path).exists():
        return record(workspace.store, workspace.index, workspace.root / path, progress=workspace.progress)
    raise ProjectError(
        f"{key} names {path}, which run {run.short} neither read nor wrote, and which is not in mlo.lock or there",
        hint="name an output of a stage, or added data",
    )


def _known_inputs(workspace: Workspace, run: Run) -> dict[str, Entry]:
    """The run's inputs as entries: mlo.lock knows their size and kind, or else the objects say."""
    lock = workspace.read_lock()
    known = {}
    for path, digest in run.inputs.items():
        entry = lock.entry(path)
        if entry is not None and entry.digest == digest:
            known[path] = entry
        elif (found := entry_of(workspace, digest)) is not None:
            known[path] = found
    return known


def _inside(workspace: Workspace, entries: Mapping[str, Entry], path: str) -> Entry | None:
    if path in entries:
        return entries[path]
    for folder, entry in entries.items():
        if entry.kind == "dir" and path.startswith(f"{folder}/"):
            bring(workspace, entry, what=folder)
            inner = path.removeprefix(f"{folder}/")
            return next((found.entry for name, found in walk(workspace.store, entry) if name == inner), None)
    return None


def _share(workspace: Workspace, facts: Version) -> None:
    """A shared registry holds what its versions need to be loaded, scored and watched elsewhere."""
    remote = workspace.registry_remote
    if remote is None:
        return
    entries = {f"the model of {facts.name}": facts.model}
    if facts.evaluate is not None:
        entries[facts.evaluate.path] = facts.evaluate.data
    loose = [text for text in (facts.profile, facts.manifest, facts.diff) if text]
    copies = facts_folder(workspace.paths.private, remote)
    for sent in (
        push_objects(workspace.store, remote, entries, progress=workspace.progress, facts=copies),
        push_digests(workspace.store, remote, loose, progress=workspace.progress, facts=copies),
    ):
        if sent.missing or sent.corrupt:
            raise IntegrityError(
                f"{', '.join([*sent.missing, *sent.corrupt])} could not be sent to {remote.name}",
                hint="nothing was registered; `mlo data fsck` says what is damaged or missing here",
            )


def _finite(values: Mapping[str, float]) -> dict[str, float | None]:
    """JSON has no word for NaN and infinities; an event says null."""
    return {key: float(value) if math.isfinite(value) else None for key, value in values.items()}
