"""Sending and bringing: data alone, or data with the runs and models that belong to it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

import msgspec

from mlops_cli.core.base.digest import Digest
from mlops_cli.core.base.names import name_some
from mlops_cli.core.base.records import Entry
from mlops_cli.core.data import names
from mlops_cli.core.errors import IntegrityError, NotFound
from mlops_cli.core.registry.records import Version
from mlops_cli.core.remotes.remote import Remote
from mlops_cli.core.store.exchange import THREADS, Transfer, may_pass, refuse_forgeable
from mlops_cli.core.store.holdings import facts_folder
from mlops_cli.core.store.protocol import ObjectCorrupt, ObjectMissing
from mlops_cli.core.store.transfer import pull_objects, push_objects, single_objects
from mlops_cli.core.store.tree import closure
from mlops_cli.core.tracking.records import Run
from mlops_cli.core.workflows.data_checkout import CheckoutResult, checkout_paths
from mlops_cli.core.workflows.data_status import lock_at
from mlops_cli.core.workflows.publish import mark_pushed, publish_roots, require_no_cleaning
from mlops_cli.core.workflows.recorded import Asked, asked_entries, places_of
from mlops_cli.core.workflows.remote import opened
from mlops_cli.core.workflows.results import pull_results, push_results
from mlops_cli.core.workflows.workspace import Workspace

RUNS = "runs/"
_RUN_KEY = re.compile(r"runs/[0-9a-f]{32}\.json")


class Sent(msgspec.Struct, frozen=True):
    """What a push sent to `remote`, or would send if `dry`. `runs` are those it did not have, `models` the versions it
    now has all of.

    `registry_stays` says that the registry lies on this machine only: no other one sees its versions and aliases.
    """

    remote: str
    url: str
    transfer: Transfer
    runs: int = 0
    models: int = 0
    registry_stays: bool = False
    dry: bool = False

    def raise_if_incomplete(self) -> None:
        """Raises ObjectCorrupt or ObjectMissing that names what could not be sent."""
        if self.transfer.corrupt:
            raise ObjectCorrupt(
                f"not sent, because their cached objects are damaged: {name_some(self.transfer.corrupt)}",
                hint="run `mlo data fsck --repair`; else `mlo data add` or `mlo run` where the files stand",
            )
        if self.transfer.missing:
            raise ObjectMissing(
                f"neither the cache nor remote {self.remote} has {name_some(self.transfer.missing)}",
                hint="run `mlo data add` (data) or `mlo run` (outputs) where the files stand, or push from a machine "
                "that has them",
            )


class Brought(msgspec.Struct, frozen=True):
    """What a pull brought from `remote`, and what it changed in the work tree; a fetch changes nothing there.

    Counts as in Sent.
    """

    remote: str
    url: str
    transfer: Transfer
    checkout: CheckoutResult
    runs: int = 0
    models: int = 0
    registry_stays: bool = False
    dry: bool = False

    def raise_if_incomplete(self) -> None:
        """Raises ObjectCorrupt or ObjectMissing that names what did not come; the rest is restored."""
        if self.transfer.corrupt:
            raise ObjectCorrupt(
                f"remote {self.remote} ({self.url}) holds damaged bytes for {name_some(self.transfer.corrupt)}; "
                "nothing of them was kept, everything else is here",
                hint=f"delete {name_some(self.transfer.damaged_keys) or 'them'} there, then run `mlo push` where the "
                "data is whole",
            )
        if self.transfer.missing:
            raise ObjectMissing(
                f"neither the cache nor remote {self.remote} ({self.url}) has {name_some(self.transfer.missing)}; "
                "everything else is here",
                hint="run `mlo push` on a machine that has it",
            )
        self.checkout.raise_if_incomplete()


def push_data(
    workspace: Workspace,
    paths: Sequence[Path] = (),
    *,
    remote: str | None = None,
    asked: Asked | None = None,
    jobs: int | None = None,
    dry_run: bool = False,
) -> Sent:
    """Send the objects of the entries, or of those `asked` for, which goes before `paths`.

    Raises RemoteError, NotFound, ProjectError.
    """
    there = opened(workspace, remote)
    entries = asked_entries(workspace, asked or Asked(paths))
    transfer = _push(workspace, there, entries, jobs=jobs, dry_run=dry_run)
    return Sent(there.name, there.url, transfer, dry=dry_run)


def fetch_data(
    workspace: Workspace,
    paths: Sequence[Path] = (),
    *,
    remote: str | None = None,
    asked: Asked | None = None,
    jobs: int | None = None,
    dry_run: bool = False,
) -> Brought:
    """Bring the objects of the entries, or of those `asked` for, into the cache; the work tree stays as it is.

    Raises RemoteError, NotFound, ProjectError.
    """
    there = opened(workspace, remote)
    with workspace.store.writing():
        bring = None if dry_run else partial(_bring_tree, workspace, there)
        entries = asked_entries(workspace, asked or Asked(paths), tracking=True, bring=bring)
        transfer = _pull(workspace, there, entries, jobs=jobs, dry_run=dry_run)
    return Brought(there.name, there.url, transfer, CheckoutResult([]), dry=dry_run)


def pull_data(
    workspace: Workspace,
    paths: Sequence[Path] = (),
    *,
    remote: str | None = None,
    force: bool = False,
    revision: str | None = None,
    jobs: int | None = None,
    dry_run: bool = False,
) -> Brought:
    """Bring the objects of the entries, or of those asked for, and check them out; at a revision if one is given.

    Raises RemoteError, NotFound, ProjectError, WouldOverwrite.
    """
    asked = Asked(paths, (revision,) if revision is not None else ())
    with workspace.store.writing():
        brought = fetch_data(workspace, remote=remote, asked=asked, jobs=jobs, dry_run=dry_run)
        if dry_run:
            return brought
        return msgspec.structs.replace(brought, checkout=_check_out(workspace, paths, force, revision))


def push_project(workspace: Workspace, *, remote: str | None = None, jobs: int | None = None) -> Sent:
    """Send data, finished runs and registered models. A run's manifest goes after the objects that it names."""
    there = opened(workspace, remote)
    known = set(there.list(RUNS))
    runs = [run for run in workspace.runs.list() if run.is_over and run_key(run.id) not in known]
    versions = _versions(workspace)
    entries, singles = _belongings(there, runs, versions)
    # What older runs made may be gone from this cache by now; a run without its bytes is still worth having.
    present = _present(workspace, entries | _outs_of(there, runs))
    here = singles - workspace.store.missing(singles)
    together = present | single_objects(here) | asked_entries(workspace, Asked())
    transfer = _push(workspace, there, together, jobs=jobs)
    for run in runs:
        there.put(run_key(run.id), workspace.runs.manifest(run.id))
    push_results(workspace, there, runs)
    there.settle()
    whole = sum(_version_entries(version).keys() <= present.keys() for version in versions)
    stays = workspace.registry_remote is None
    return Sent(there.name, there.url, transfer, len(runs), whole, stays)


def pull_project(
    workspace: Workspace, *, remote: str | None = None, force: bool = False, jobs: int | None = None
) -> Brought:
    """Bring data, runs and registered models, and check the data out."""
    brought = pull_data(workspace, remote=remote, force=force, jobs=jobs)
    there = opened(workspace, remote)
    runs = _pull_runs(workspace, there)
    pull_results(workspace, there)
    versions = _versions(workspace)
    entries, singles = _belongings(there, runs, versions)
    models = _pull(workspace, there, entries | single_objects(singles), jobs=jobs)
    # A run may name bytes its machine never kept; only damaged ones are an error.
    transfer = brought.transfer + msgspec.structs.replace(models, missing=[])
    present = _present(workspace, entries)
    whole = sum(_version_entries(version).keys() <= present.keys() for version in versions)
    stays = workspace.registry_remote is None
    return msgspec.structs.replace(brought, transfer=transfer, runs=len(runs), models=whole, registry_stays=stays)


def _push(
    workspace: Workspace,
    there: Remote,
    entries: Mapping[str, Entry],
    *,
    jobs: int | None = None,
    dry_run: bool = False,
) -> Transfer:
    refuse_forgeable(there, entries)  # before anything is written there
    if not dry_run:
        publish_roots(workspace, there)
        require_no_cleaning(workspace, there)
        there.sweep()
    transfer = push_objects(
        workspace.store,
        there,
        entries,
        progress=workspace.progress,
        facts=facts_folder(workspace.paths.private, there),
        threads=jobs or THREADS,
        dry_run=dry_run,
    )
    if not dry_run and not transfer.missing and not transfer.corrupt:
        mark_pushed(workspace, there, [entry.digest for entry in entries.values()])
    return transfer


def _pull(
    workspace: Workspace,
    there: Remote,
    entries: Mapping[str, Entry],
    *,
    jobs: int | None = None,
    dry_run: bool = False,
) -> Transfer:
    return pull_objects(
        workspace.store,
        there,
        entries,
        progress=workspace.progress,
        facts=facts_folder(workspace.paths.private, there),
        threads=jobs or THREADS,
        dry_run=dry_run,
    )


def bring_entries(workspace: Workspace, there: Remote, entries: Mapping[str, Entry]) -> None:
    """Fetch into the cache what of the entries a remote has, and may give. Raises RemoteError, ObjectCorrupt."""
    passing = {name: entry for name, entry in entries.items() if may_pass(there, entry.digest)}
    with workspace.store.writing():
        came = msgspec.structs.replace(_pull(workspace, there, passing), missing=[])
    Brought(there.name, there.url, came, CheckoutResult([])).raise_if_incomplete()


def _bring_tree(workspace: Workspace, there: Remote, digest: str) -> None:
    _pull(workspace, there, single_objects([digest]))


def run_key(run_id: str) -> str:
    return f"{RUNS}{run_id}.json"


def _pull_runs(workspace: Workspace, remote: Remote) -> list[Run]:
    known = {run_key(run.id) for run in workspace.runs.list()}
    found = []
    for key in remote.list(RUNS):
        if key in known or not _RUN_KEY.fullmatch(key):
            continue
        try:
            found.append(workspace.runs.add_manifest(remote.get(key)))
        except IntegrityError as error:
            raise IntegrityError(
                f"{key} on remote {remote.name} ({remote.url}) is damaged: {error.message}",
                hint="delete it there, then push it again from the machine that made the run",
            ) from None
    return found


def _belongings(remote: Remote, runs: Sequence[Run], versions: Sequence[Version]) -> tuple[dict[str, Entry], set[str]]:
    """What runs and versions own: entries by a name for people, and the digests of single objects.

    They cannot be hashed anew, so what was recorded under a digest that may not pass is left out, not refused.
    """
    entries = {name: entry for run in runs for name, entry in _run_entries(run).items()}
    singles = {run.diff for run in runs if run.diff}
    for version in versions:
        entries |= _version_entries(version)
        singles |= {digest for digest in (version.profile, version.manifest, version.diff) if digest}
    passing = {name: entry for name, entry in entries.items() if may_pass(remote, entry.digest)}
    return passing, {digest for digest in singles if may_pass(remote, digest)}


def _check_out(workspace: Workspace, paths: Sequence[Path], force: bool, revision: str | None) -> CheckoutResult:
    """What came is checked out; an entry of which not even the tree came is left as it is."""
    lock = workspace.read_lock() if revision is None else lock_at(workspace, revision)
    chosen = names.chosen([names.lock_name(workspace.root, path) for path in paths], lock)
    ready = [path for name, path in places_of(workspace, chosen) if _is_readable(workspace, lock.entries[name])]
    return checkout_paths(workspace, ready, force=force, revision=revision) if ready else CheckoutResult([], revision)


def _is_readable(workspace: Workspace, entry: Entry) -> bool:
    return entry.kind == "file" or workspace.store.has(Digest.parse(entry.digest))


def _versions(workspace: Workspace) -> list[Version]:
    registry = workspace.registry
    return [version for name in registry.names() for version in registry.versions(name)]


def _run_entries(run: Run) -> dict[str, Entry]:
    found = {f"{run.short}:{name}": entry for name, entry in (run.code | run.artifacts).items()}
    if run.model is not None and run.model.entry is not None:
        found[f"{run.short}:{run.model.path}"] = run.model.entry
    return found


def _outs_of(remote: Remote, runs: Sequence[Run]) -> dict[str, Entry]:
    """What the stages of runs wrote: who brings a result from there (`mlo run --pull`) needs its bytes."""
    return {
        f"{run.short}:{stage.name}:{path}": entry
        for run in runs
        for stage in run.stages
        if stage.status != "failed"
        for path, entry in stage.outs.items()
        if may_pass(remote, entry.digest)
    }


def _version_entries(version: Version) -> dict[str, Entry]:
    found = {f"{version.title}:model": version.model}
    if version.reference is not None:
        found[f"{version.title}:reference"] = version.reference
    if version.evaluate is not None:
        found[f"{version.title}:evaluate"] = version.evaluate.data
    return found


def _present(workspace: Workspace, entries: dict[str, Entry]) -> dict[str, Entry]:
    found = {}
    for name, entry in entries.items():
        try:
            if not workspace.store.missing(str(digest) for digest in closure(workspace.store, entry)):
                found[name] = entry
        except (NotFound, IntegrityError):
            continue
    return found
