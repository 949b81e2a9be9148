"""`mlo run --pull`: missing inputs, results of the run cache and their bytes, from the remote."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property

from mlops_cli.core.base.digest import Digest
from mlops_cli.core.base.records import Entry
from mlops_cli.core.errors import NotFound
from mlops_cli.core.pipeline.graph import Paths
from mlops_cli.core.pipeline.params import lay_over
from mlops_cli.core.pipeline.results import Result, ResultCache, decode_result
from mlops_cli.core.project.lock import Lock
from mlops_cli.core.remotes.remote import Remote
from mlops_cli.core.store.exchange import may_pass
from mlops_cli.core.store.protocol import UnsupportedFile
from mlops_cli.core.store.snapshot import observe
from mlops_cli.core.workflows.plan import RunRequest, graph_of, selected
from mlops_cli.core.workflows.remote import opened
from mlops_cli.core.workflows.results import PREFIX
from mlops_cli.core.workflows.transfer import bring_entries, pull_data
from mlops_cli.core.workflows.workspace import Workspace


class RemoteResults:
    """The run cache of a remote, as a Planner's Elsewhere. What is there is listed once."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace

    @cached_property
    def _remote(self) -> Remote:
        return opened(self._workspace)

    @cached_property
    def _keys(self) -> frozenset[str]:
        return frozenset(self._remote.list(PREFIX))

    def result(self, key: str) -> Result | None:
        """The result of a key, from now on in the run cache here, too. Raises RemoteError."""
        if PREFIX + key not in self._keys:
            return None
        try:
            result = decode_result(self._remote.get(PREFIX + key), key)
        except NotFound:  # it was cleaned away since it was listed
            return None
        if result is None:
            self._workspace.progress.note(f"{PREFIX}{key} on {self._remote.name} does not read; it is passed over")
            return None
        entries = _entries(result)
        if not all(may_pass(self._remote, entry.digest) for entry in entries.values()):
            self._workspace.progress.note(
                f"the result of {result.stage} on {self._remote.name} is passed over: that remote is `trust: shared`, "
                "and the digests are not blake3"
            )
            return None
        aside = {name: entry for name, entry in entries.items() if name not in result.outs}
        self.bring({name: it for name, it in aside.items() if not self._workspace.store.has(Digest.parse(it.digest))})
        ResultCache(self._workspace.paths.cache).put(result)
        return result

    def bring(self, entries: Mapping[str, Entry]) -> None:
        if entries:
            bring_entries(self._workspace, self._remote, entries)


def _entries(result: Result) -> dict[str, Entry]:
    """All that a result names: outputs, artifacts, its model."""
    logged = result.logged
    model = logged.model
    entries = {f"{result.stage}:{name}": entry for name, entry in logged.artifacts.items()}
    if model is not None and model.entry is not None and model.path not in result.outs:
        entries[f"{result.stage}:{model.path}"] = model.entry
    return entries | result.outs


def bring_inputs(workspace: Workspace, request: RunRequest) -> None:
    """Check out what the stages read of added data, and of stages that are not asked for, and is not here or is old.

    Old is what was recorded once and is not what mlo.lock says by now, as after `git pull`; what nobody recorded is an
    edit, and stays. Raises RemoteError, ObjectMissing, ObjectCorrupt.
    """
    lock = workspace.read_lock()
    params, _ = lay_over(workspace.project.params, request.overrides)
    nodes = selected(graph_of(workspace, params, lock), request)
    read = Paths(path for node in nodes for path in node.files)
    asked = {node.name for node in nodes}
    made = [out for name, stage in lock.stages.items() if name not in asked for out in stage.outs]
    wanted = [name for name in (*lock.data, *made) if read.meet(name)]
    absent = [name for name in wanted if not (workspace.root / name).exists()]
    old = [name for name in wanted if name in lock.data and name not in absent and is_old(workspace, lock, name)]
    if absent or old:
        pull_data(workspace, [workspace.root / name for name in (*absent, *old)]).raise_if_incomplete()


def is_old(workspace: Workspace, lock: Lock, name: str) -> bool:
    """Whether added data stands as it was recorded before, and not as mlo.lock says."""
    entry = lock.data[name]
    try:
        found = observe(workspace.index, workspace.root / name, Digest.parse(entry.digest).algorithm)
    except UnsupportedFile:
        return False
    return found is not None and found != entry and workspace.store.has(found.name)
