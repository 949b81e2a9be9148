"""`mlo run --pull`: missing inputs, results of the run cache and their bytes, from the remote."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property

from mlops_cli.core.base.records import Entry
from mlops_cli.core.errors import NotFound
from mlops_cli.core.pipeline.params import lay_over
from mlops_cli.core.pipeline.results import Result, ResultCache, decode_result
from mlops_cli.core.remotes.remote import Remote
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
        if result is not None:
            ResultCache(self._workspace.paths.cache).put(result)
        return result

    def bring(self, entries: Mapping[str, Entry]) -> None:
        bring_entries(self._workspace, self._remote, entries)


def bring_inputs(workspace: Workspace, request: RunRequest) -> None:
    """Check out added data that the stages read and that is not here. Raises RemoteError, ObjectMissing."""
    lock = workspace.read_lock()
    params, _ = lay_over(workspace.project.params, request.overrides)
    nodes = selected(graph_of(workspace, params, lock), request)
    read = [path for node in nodes for path in node.files]
    missing = [
        name
        for name in lock.data
        if not (workspace.root / name).exists()
        and any(path == name or path.startswith(f"{name}/") or name.startswith(f"{path}/") for path in read)
    ]
    if missing:
        pull_data(workspace, [workspace.root / name for name in missing])
