"""DVC's foreach and matrix as mlo's, where mlo's words give the very same stages; else they are written out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from mlops_cli.core.data.dvc_template import expressions, unmarked
from mlops_cli.core.errors import ProjectError
from mlops_cli.core.project.expand import expand
from mlops_cli.core.project.stages import Stage


class Group(msgspec.Struct, frozen=True):
    """One stage of mlo.yaml for several of DVC's: `members` are their names, `left` what it does not say."""

    name: str
    document: dict[str, Any]
    members: list[str]
    notes: list[str] = []
    left: list[tuple[str, str, str]] = []


def group_of(
    name: str, members: list[str], items: Mapping[str, Any], raw: Mapping[str, Any], document: Mapping[str, Any]
) -> Group:
    """`document` is the block of a stage whose item is marked; `raw` the definition in dvc.yaml."""
    (kind,) = items
    asked = sorted(expressions(raw[kind]))
    left = []
    if asked:
        said = ", ".join(f"${{{it}}}" for it in asked)
        reason = "the values of today stand there, and changes in params.yaml miss it"
        todo = f"put the list under params: in mlo.yaml, and write {kind}: ${{params.name}}"
        left.append((f"stage {name}: {said} in {kind}", reason, todo))
    return Group(name, unmarked({**items, **document}), members, left=left)


def kept_groups(groups: Sequence[Group], documents: Mapping[str, Mapping[str, Any]]) -> list[Group]:
    """Those that stand for exactly their members. `documents` are the blocks of all stages, written out, by name."""
    kept: list[Group] = []
    for group in groups:
        taken = {*documents, *(other.name for other in kept)}
        if group.name not in taken and _says_the_same(group, documents):
            kept.append(group)
    return kept


def _says_the_same(group: Group, documents: Mapping[str, Mapping[str, Any]]) -> bool:
    try:
        made = expand({group.name: msgspec.convert(group.document, Stage)}, {})
        wanted = {name: msgspec.convert(documents[name], Stage) for name in group.members}
    except (ProjectError, msgspec.ValidationError, KeyError):
        return False
    return list(made.items()) == list(wanted.items())
