"""Which results of DVC's stages hold for mlo: those that DVC itself would call up to date, as entries of mlo.lock."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from mlops_cli.core.base.digest import key_of
from mlops_cli.core.base.records import Entry
from mlops_cli.core.data.dvc_files import DvcDep, DvcLocked, ObjectName
from mlops_cli.core.data.dvc_params import read_values, select
from mlops_cli.core.data.dvc_stages import Carried
from mlops_cli.core.errors import ProjectError
from mlops_cli.core.pipeline.environment import passed
from mlops_cli.core.pipeline.graph import Node
from mlops_cli.core.pipeline.param_files import ParamFiles
from mlops_cli.core.pipeline.params import declared
from mlops_cli.core.pipeline.results import stage_key
from mlops_cli.core.project.lock import StageLock
from mlops_cli.core.store.snapshot import observe
from mlops_cli.core.workflows.workspace import Workspace

StandingDigest = Callable[[str, ObjectName], str | None]


class NotHonest(Exception):
    """A result that mlo.lock cannot name, and why."""


def stage_lock(
    workspace: Workspace,
    carried: Carried,
    node: Node,
    entries: Mapping[str, tuple[ObjectName | None, Entry]],
    standing: StandingDigest,
) -> StageLock:
    """The stage's entry of mlo.lock. `entries` are the outputs that were taken in, with their names in DVC.

    Raises NotHonest unless its command, deps and parameters are those of its last run, and its outputs are here.
    """
    stage, locked = carried.stage, carried.stage.locked
    if locked is None:
        raise NotHonest("DVC never ran it")
    if stage.always_changed:
        raise NotHonest("it is always_changed")
    if locked.cmd != stage.cmd:
        raise NotHonest("its command changed since DVC ran it")
    deps = _deps(carried, locked, entries, standing)
    _compare_params(workspace, carried, locked)
    outs: dict[str, Entry] = {}
    for path in node.outs:
        if path not in entries or entries[path][0] is None:
            raise NotHonest(f"its output {path} is nowhere")
        outs[path] = entries[path][1]
    for path in node.deps:
        if path not in deps:
            found = observe(workspace.index, workspace.root / path, workspace.store.algorithm)
            if found is None:
                raise NotHonest(f"its dep {path} is not here")
            deps[path] = found.digest
    params = declared({}, node.stage.params, node.name, ParamFiles(workspace.root))
    facts: dict[str, Any] = {}
    if node.stage.cwd is not None:
        facts["cwd"] = node.stage.cwd
    if node.persist:
        facts["persist"] = sorted(node.persist)
    key = stage_key(
        node.command,
        deps=deps,
        params=params,
        outs=node.outs,
        pass_env=passed(workspace.environ, node.stage.pass_env),
        facts=facts,
    )
    return StageLock(key, node.command_text, dict(sorted(deps.items())), params, outs, facts)


def frozen_lock(
    carried: Carried, node: Node, entries: Mapping[str, tuple[ObjectName | None, Entry]]
) -> StageLock | None:
    """What mlo.lock says of a frozen stage whose inputs are others by now: its outputs, and a key that no inputs have,
    so that it runs once it is frozen no more. None for other stages, and where an output is nowhere."""
    if not carried.frozen or not entries.keys() >= set(node.outs):
        return None
    outs = {path: entries[path][1] for path in node.outs}
    key = key_of({"frozen": node.name, "outs": {path: entry.digest for path, entry in outs.items()}})
    return StageLock(key, node.command_text, {}, {}, outs)


def _deps(
    carried: Carried,
    locked: DvcLocked,
    entries: Mapping[str, tuple[ObjectName | None, Entry]],
    standing: StandingDigest,
) -> dict[str, str]:
    """The digest of each dep, where what stands there now is what the last run read."""
    recorded: dict[str, DvcDep] = {dep.path: dep for dep in locked.deps if dep.path is not None}
    declared = {dep.path for dep in carried.stage.deps if dep.path is not None}
    changed = sorted(declared ^ recorded.keys())
    if changed:
        raise NotHonest(f"its deps changed since DVC ran it: {', '.join(changed)}")
    digests: dict[str, str] = {}
    for path, dep in recorded.items():
        if path == ".":
            continue
        if dep.name is None:
            raise NotHonest(f"DVC knows its dep {path} by no md5")
        name, entry = entries.get(path, (None, None))
        if entry is not None and name is not None and name.md5 == dep.name.md5:
            digests[path] = entry.digest
            continue
        digest = standing(path, dep.name)
        if digest is None:
            raise NotHonest(f"{path} changed since DVC ran it")
        digests[path] = digest
    return digests


def _compare_params(workspace: Workspace, carried: Carried, locked: DvcLocked) -> None:
    for file, keys in carried.stage.params.items():
        known = locked.params.get(file, {})
        absent = [key for key in keys if key not in known]
        if absent or (not keys and not known):
            raise NotHonest(f"its params changed since DVC ran it: {', '.join(absent) or file}")
    for file, values in locked.params.items():
        try:
            current = read_values(workspace.root / file, file)
        except (FileNotFoundError, ProjectError):
            raise NotHonest(f"{file} does not read") from None
        for key, value in values.items():
            if not _same(current, key, value):
                raise NotHonest(f"{key} of {file} changed since DVC ran it")
        whole = file in carried.stage.params and not carried.stage.params[file]
        if whole and set(current) - set(values):
            raise NotHonest(f"{file} changed since DVC ran it")


def _same(current: Mapping[str, Any], key: str, value: Any) -> bool:
    try:
        found = current[key] if key in current else select(current, key)
    except KeyError:
        return False
    return bool(found == value) and isinstance(found, bool) == isinstance(value, bool)
