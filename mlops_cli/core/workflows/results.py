"""What the stages in mlo.lock logged, sent and brought, so that a clone need not run them to have their metrics."""

from __future__ import annotations

from mlops_cli.core.pipeline.results import ResultCache, decode_result, encode_result
from mlops_cli.core.remotes.remote import Remote
from mlops_cli.core.workflows.workspace import Workspace

PREFIX = "results/"


def push_results(workspace: Workspace, remote: Remote) -> int:
    """Send the results that mlo.lock names and the remote lacks; returns how many. Raises RemoteError.

    Those of an unknown run stay: a better one may come from the machine where it ran.
    """
    cache = ResultCache(workspace.paths.cache)
    known = set(remote.list(PREFIX))
    sent = 0
    for stage in workspace.read_lock().stages.values():
        result = cache.get(stage.key) if PREFIX + stage.key not in known else None
        if result is not None and result.run and result.outs == stage.outs:
            remote.put(PREFIX + stage.key, encode_result(result))
            sent += 1
    return sent


def pull_results(workspace: Workspace, remote: Remote) -> int:
    """Bring the results that mlo.lock names and this cache lacks; one that does not agree with it is left there."""
    cache = ResultCache(workspace.paths.cache)
    there = set(remote.list(PREFIX))
    brought = 0
    for stage in workspace.read_lock().stages.values():
        here = cache.get(stage.key)
        if PREFIX + stage.key not in there or (here is not None and here.run):
            continue
        result = decode_result(remote.get(PREFIX + stage.key), stage.key)
        if result is not None and result.outs == stage.outs:
            cache.put(result)
            brought += 1
    return brought
