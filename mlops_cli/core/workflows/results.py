"""The run cache on a remote: what stages gave and logged, so that a clone restores it and need not run them again."""

from __future__ import annotations

from collections.abc import Iterable

from mlops_cli.core.pipeline.results import ResultCache, decode_result, encode_result
from mlops_cli.core.remotes.remote import Remote
from mlops_cli.core.tracking.records import Run
from mlops_cli.core.workflows.workspace import Workspace

PREFIX = "results/"


def push_results(workspace: Workspace, remote: Remote, runs: Iterable[Run] = ()) -> int:
    """Send the results that mlo.lock or one of these runs names and the remote lacks; returns how many.

    Those of an unknown run stay: a better one may come from the machine where it ran. Raises RemoteError.
    """
    cache = ResultCache(workspace.paths.cache)
    wanted = {stage.key: stage.outs for stage in workspace.read_lock().stages.values()}
    wanted |= {it.key: it.outs for run in runs for it in run.stages if it.status in ("ran", "restored", "cached")}
    known = set(remote.list(PREFIX))
    sent = 0
    for key, outs in wanted.items():
        result = cache.get(key) if PREFIX + key not in known else None
        if result is not None and result.run and result.outs == outs:
            remote.put(PREFIX + key, encode_result(result))
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
