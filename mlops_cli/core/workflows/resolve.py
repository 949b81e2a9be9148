"""From a reference to a model that can be used: which version, its files verified, its objects brought here."""

from __future__ import annotations

import secrets
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from mlops_cli.core.base.digest import Digest, digest_file, sha256_file
from mlops_cli.core.base.durable import fsync_folder
from mlops_cli.core.base.files import machine_errors, safe_join
from mlops_cli.core.base.records import Entry, ModelRef, ResolvedModel
from mlops_cli.core.errors import IntegrityError, NotFound, RemoteError
from mlops_cli.core.registry.records import Version
from mlops_cli.core.store.exchange import Forgeable
from mlops_cli.core.store.holdings import facts_folder
from mlops_cli.core.store.protocol import ObjectMissing
from mlops_cli.core.store.transfer import pull_digests, pull_objects
from mlops_cli.core.store.tree import closure, decode, is_tree, totals, walk
from mlops_cli.core.workflows.remote import opened
from mlops_cli.core.workflows.workspace import Workspace

if TYPE_CHECKING:
    from mlops_cli.core.models.load import LoadedModel
    from mlops_cli.core.remotes.remote import Remote
    from mlops_cli.core.tracking.records import Run


def resolve_model(workspace: Workspace, text: str) -> ResolvedModel:
    """What `name@3`, `name@production`, `name@latest`, `runs:<id>` or MLflow's `models:/...` means now.

    Raises UsageError for anything else, NotFound with what there is, RemoteError if the registry is out of reach.
    """
    ref = ModelRef.parse(text)
    if ref.run is not None:
        return _of_run(workspace, ref.run)
    return resolved_version(workspace.registry.resolve(ref))


def resolved_version(version: Version) -> ResolvedModel:
    return ResolvedModel(
        name=version.name,
        version=version.version,
        run=version.run,
        model=version.model,
        files=version.files,
        profile=version.profile,
        lineage={
            "run": version.run,
            "commit": version.commit,
            "inputs": version.inputs,
            "registered": version.time,
            "actor": version.actor,
        },
    )


def _of_run(workspace: Workspace, prefix: str) -> ResolvedModel:
    run = workspace.runs.get(prefix)
    entry = model_of_run(workspace, run)
    registered = _registered(workspace, run.id, entry)
    lineage = {"run": run.id, "commit": run.commit, "inputs": dict(run.inputs)}
    name = registered.name if registered else workspace.project.model.name if workspace.project.model else ""
    return ResolvedModel(
        name=name,
        version=None,
        run=run.id,
        model=entry,
        files=registered.files if registered else {},
        profile=registered.profile if registered else None,
        lineage=lineage,
    )


def model_of_run(workspace: Workspace, run: Run) -> Entry:
    """The model folder that a run logged, or wrote at `model.path`. Raises NotFound."""
    if run.model is not None:
        entry = run.model.entry or run.outputs.get(run.model.path)
        if entry is not None:
            return entry
        raise NotFound(
            f"run {run.short} logged a model at {run.model.path}, but its files were not kept",
            hint=f"name {run.model.path} among the outs of its stage, and run again",
        )
    model = workspace.project.model
    if model is not None and model.path in run.outputs:
        entry = run.outputs[model.path]
        if entry.kind == "dir":
            return entry
        raise NotFound(
            f"run {run.short} wrote {model.path} as one file; a model is a folder that mlo.log_model wrote",
            hint="call mlo.log_model(model, example=X) in the training script",
        )
    where = f" and wrote nothing at {model.path}" if model is not None else ""
    raise NotFound(
        f"run {run.short} logged no model{where}", hint="call mlo.log_model(model, example=X) in the training script"
    )


def _registered(workspace: Workspace, run: str, entry: Entry) -> Version | None:
    """The version this very model was registered as. A run's model can be used while the registry is out of reach."""
    try:
        versions = workspace.registry.of_run(run)
    except RemoteError:
        return None
    return next((version for version in versions if version.model.digest == entry.digest), None)


# -- objects -------------------------------------------------------------------------------------------------


def places(workspace: Workspace) -> list[Remote]:
    """The remotes that may hold an object: the registry's first, then origin, then the others by name."""
    registry = workspace.project.registry
    names = sorted(workspace.project.remotes, key=lambda name: (name != registry, name != "origin", name))
    elsewhere = workspace.registry_remote if registry not in names else None
    return [*([elsewhere] if elsewhere is not None else []), *(opened(workspace, name) for name in names)]


def bring(workspace: Workspace, entry: Entry, *, what: str) -> None:
    """Have every object of `entry` in the cache, from a remote if need be. `what` names it in the error.

    Raises ObjectMissing if no place has it all, RemoteError if one that might could not be reached.
    """
    if _complete(workspace, entry):
        return

    def pull(remote: Remote) -> None:
        facts = facts_folder(workspace.paths.private, remote)
        pull_objects(workspace.store, remote, {what: entry}, progress=workspace.progress, facts=facts)

    _from_remotes(workspace, pull, lambda: _complete(workspace, entry), entry.name, what)


def bring_digest(workspace: Workspace, digest: str, *, what: str) -> bytes:
    """The bytes of one object (a profile, a manifest), from a remote if need be. Raises as `bring`."""
    name = Digest.parse(digest)
    if not workspace.store.has(name):

        def pull(remote: Remote) -> None:
            facts = facts_folder(workspace.paths.private, remote)
            pull_digests(workspace.store, remote, [digest], progress=workspace.progress, facts=facts)

        _from_remotes(workspace, pull, lambda: workspace.store.has(name), name, what)
    return workspace.store.read(name)


def entry_of(workspace: Workspace, digest: str) -> Entry | None:
    """The entry of a digest whose kind was not written down: a folder if its object is a tree. None if not here."""
    name = Digest.parse(digest)
    size = workspace.store.size(digest)
    if size is None:
        return None
    with workspace.store.open(name) as file:
        if not is_tree(file.read(16)):
            return Entry(digest, "file", size)
    total, files = totals(decode(workspace.store.read(name)))
    return Entry(digest, "dir", total, files)


def _complete(workspace: Workspace, entry: Entry) -> bool:
    try:
        return all(workspace.store.has(digest) for digest in closure(workspace.store, entry))
    except NotFound:
        return False


def _from_remotes(
    workspace: Workspace, pull: Callable[[Remote], None], present: Callable[[], bool], digest: Digest, what: str
) -> None:
    """Try each place in turn. One that lacks the object is passed over; one out of reach counts only if none has it,
    and so does one whose bytes are not to be trusted."""
    unreachable: RemoteError | Forgeable | None = None
    asked = []
    for remote in places(workspace):
        asked.append(remote.name)
        try:
            pull(remote)
        except NotFound:
            continue
        except (RemoteError, Forgeable) as error:
            unreachable = unreachable or error
            continue
        if present():
            return
    if unreachable is not None:
        raise unreachable
    neither = (
        f"neither the cache nor {' nor '.join(asked)} has it" if asked else "the cache lacks it, and there is no remote"
    )
    raise ObjectMissing(
        f"{what} is {digest.short}, but {neither}", hint="run `mlo push` on the machine that made it, then try again"
    )


def model_folder(workspace: Workspace, resolved: ResolvedModel) -> Path:
    """A read-only copy of the model's folder, each file checked against its registered sha256.

    It lies at `.mlo/models/<hex of the folder's digest>` and is made again if anything in it was changed. Objects
    that the cache lacks come from a remote. Raises ObjectMissing, IntegrityError, RemoteError, MachineError.
    """
    digest = resolved.model.name
    folder = workspace.paths.private / "models" / digest.hex
    if folder.is_dir():
        if not _mismatch(folder, resolved.files, workspace, resolved.model):
            return folder
        shutil.rmtree(folder)
    bring(workspace, resolved.model, what=f"the model of {resolved.title}")
    with machine_errors(f"cannot write {folder}"):
        _materialise(workspace, resolved.model, folder)
    if wrong := _mismatch(folder, resolved.files, workspace, resolved.model):
        shutil.rmtree(folder, ignore_errors=True)
        raise IntegrityError(
            f"the model of {resolved.title} is not what was registered: {wrong}",
            hint="its objects were replaced in the cache or on a remote: `mlo data fsck --repair`",
        )
    return folder


def _materialise(workspace: Workspace, entry: Entry, folder: Path) -> None:
    """Write the folder beside its place, then rename it there: another process sees all of it or nothing."""
    temporary = folder.parent / f".{folder.name}.{secrets.token_hex(4)}.tmp"
    temporary.mkdir(parents=True)
    try:
        for path, found in walk(workspace.store, entry):
            target = safe_join(temporary, path)
            if found.kind == "dir":
                target.mkdir()
            elif found.kind == "link":
                raise IntegrityError(
                    f"{path} in the model is a link", hint="save models with mlo.log_model, as plain files"
                )
            else:
                workspace.store.copy_to(Digest.parse(found.digest), target, link=("reflink", "copy"))
                target.chmod(0o444)
        fsync_folder(str(temporary))
        try:
            temporary.rename(folder)
        except OSError:
            if not folder.is_dir():  # else another process was first, with the same bytes
                raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _mismatch(folder: Path, files: Mapping[str, str], workspace: Workspace, entry: Entry) -> str | None:
    """What differs between the folder and its registered sha256s (or, of an unregistered model, its digests)."""
    present = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.is_dir()}
    if not files:
        return _mismatched_digest(folder, present, workspace, entry)
    if present != set(files):
        odd = sorted(present ^ set(files))[0]
        return f"{odd} is {'not one of its files' if odd in present else 'missing'}"
    for name, expected in files.items():
        if (found := sha256_file(folder / name)) != expected:
            return f"{name} has the sha256 {found[:12]}…, registered was {expected[:12]}…"
    return None


def _mismatched_digest(folder: Path, present: set[str], workspace: Workspace, entry: Entry) -> str | None:
    try:
        expected = {path: found.digest for path, found in walk(workspace.store, entry) if not found.is_dir}
    except NotFound:
        return "its tree is not in the cache"
    if present != set(expected):
        return "its files are others"
    for name, digest in expected.items():
        if str(digest_file(folder / name, digest.partition(":")[0])) != digest:
            return f"{name} was changed"
    return None


def load_resolved(workspace: Workspace, resolved: ResolvedModel) -> LoadedModel:
    """The model, ready to predict. Raises as `model_folder`, and what loading an unsafe or damaged model raises."""
    from mlops_cli.core.models.load import load_model

    folder = model_folder(workspace, resolved)
    trusted = workspace.project.model.trusted if workspace.project.model else ()
    return load_model(folder, trusted=trusted, registered=resolved.files or None)
