"""mlo.yaml as the import writes it: in the order people read it, with comments for what has no key."""

from __future__ import annotations

import posixpath
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mlops_cli.core.data.dvc_config import DvcConfig, DvcRemote
from mlops_cli.core.data.dvc_groups import Group
from mlops_cli.core.data.dvc_project import DvcProject
from mlops_cli.core.data.dvc_stages import Carried, Left
from mlops_cli.core.project import yaml12

_HEADER = "# Made from a DVC project by `mlo import dvc`. It is yours now: edit it.\n"


def render(name: str, stages: Sequence[Carried], settings: dict[str, Any], groups: Sequence[Group] = ()) -> str:
    """The text of mlo.yaml; `settings` are its other sections. A group stands where the first of its members would."""
    parts = [f"{_HEADER}{yaml12.dump({'name': name})}"]
    if stages:
        parts.append("stages:\n")
        first = {group.members[0]: group for group in groups}
        covered = {member for group in groups for member in group.members}
        for stage in stages:
            if stage.name in first:
                group = first[stage.name]
                parts.append(_block(group.name, group.document, group.notes))
            elif stage.name not in covered:
                parts.append(_block(stage.name, stage.document, stage.notes))
    parts += [yaml12.dump({key: value}, ordered=False) for key, value in settings.items() if value]
    return "".join(parts)


def remote_sections(config: DvcConfig) -> tuple[dict[str, Any], list[Left]]:
    """`remotes` of mlo.yaml: the default remote is origin, the others keep their names."""
    left: list[Left] = []
    remotes: dict[str, Any] = {}
    usable = [remote for remote in config.remotes if not remote.refused]
    taken = {remote.name for remote in usable}
    for remote in config.remotes:
        item = f"remote {remote.name}"
        if remote.refused:
            left.append(Left(item, remote.refused, "mlo remote add origin URL"))
            continue
        default = remote.name == config.default or len(usable) == 1
        name = "origin" if default and (remote.name == "origin" or "origin" not in taken) else remote.name
        remotes[name] = {"url": remote.url, "options": remote.options} if remote.options else remote.url
        left += _losses(remote, item)
    return remotes, left


def config_losses(project: DvcProject) -> list[Left]:
    """Settings of DVC's that mlo has no word for, and what lies beside the configuration."""
    config, root = project.config, project.root
    left = [Left(f"config {key}", "mlo has no such setting", "nothing, if you do not miss it") for key in config.other]
    if config.hydra:
        left.append(
            Left(
                "config hydra",
                "mlo composes no params.yaml",
                "compose it in the stage's script, or in a stage before it",
            )
        )
    if (root / ".dvc" / "plots").is_dir() and any((root / ".dvc" / "plots").iterdir()):
        left.append(Left(".dvc/plots", "mlo draws plots without templates", "keep them for other tools"))
    if _has_experiments(root):
        left.append(
            Left(
                "experiments (refs/exps)", "mlo keeps runs of its own", "dvc exp branch the ones you need, then mlo run"
            )
        )
    return left


def ignore_text(project: DvcProject, file: str) -> tuple[str, bytes]:
    """A .dvcignore file as a .mloignore file: the same rules in the same folder."""
    target = posixpath.join(posixpath.dirname(file), ".mloignore")
    return target, (project.root / file).read_bytes()


def _block(name: str, document: dict[str, Any], notes: Sequence[str]) -> str:
    block = yaml12.dump({name: document}, ordered=False)
    return "".join(f"  # {line}\n" for line in notes) + "".join(f"  {line}\n" for line in block.splitlines())


def _losses(remote: DvcRemote, item: str) -> list[Left]:
    left = []
    if remote.secrets:
        left.append(
            Left(
                f"{item}: {', '.join(remote.secrets)}",
                "secrets are not copied",
                "give them in the environment (AWS_PROFILE, AZURE_STORAGE_ACCOUNT_KEY, ssh-agent), mlo remote check",
            )
        )
    if remote.dropped:
        left.append(Left(f"{item}: {', '.join(remote.dropped)}", "mlo has no such options", "mlo remote check"))
    if remote.versioned:
        left.append(Left(item, "it keeps files by the cloud's versions; mlo keeps objects by digest", "mlo push"))
    return left


def _has_experiments(root: Path) -> bool:
    git = root / ".git"
    packed = git / "packed-refs"
    try:
        return (git / "refs" / "exps").is_dir() or (packed.is_file() and b" refs/exps/" in packed.read_bytes())
    except OSError:
        return False
