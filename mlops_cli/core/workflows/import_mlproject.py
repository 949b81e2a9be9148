"""`mlo import mlproject`: an MLflow project becomes an mlo project, in place, and stays what it was as well."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from mlops_cli.core.base.files import machine_errors, write_atomic
from mlops_cli.core.data.dvc_stages import Left
from mlops_cli.core.data.ignore import edit_ignored, ignores_private
from mlops_cli.core.data.mlproject import find_mlproject, read_mlproject
from mlops_cli.core.data.mlproject_stages import Made, carry_over, render
from mlops_cli.core.errors import WouldOverwrite
from mlops_cli.core.pipeline.environment import USUAL, USUAL_PREFIXES
from mlops_cli.core.pipeline.graph import build_graph
from mlops_cli.core.project.load import FILE_NAME, Source
from mlops_cli.core.project.settings import load
from mlops_cli.core.workflows.init import name_of

_CARRIED_OVER = ("model", "serve", "drift", "retrain", "cache", "registry", "remotes", "hash")


class MlprojectImported(msgspec.Struct, frozen=True, kw_only=True):
    """What `mlo import mlproject` did, or with `dry_run` would do. `left` is all that could not be carried over.

    `written` are files of the project; `copies` are the user's own files of those names, kept under another name.
    """

    root: str
    name: str
    dry_run: bool = False
    config: str = ""
    written: list[str] = []
    copies: list[str] = []
    stages: list[Made] = []
    params: dict[str, Any] = {}
    env: dict[str, str] | None = None
    left: list[Left] = []


def import_mlproject(
    start: Path, environ: Mapping[str, str], *, dry_run: bool = False, force: bool = False
) -> MlprojectImported:
    """Import the MLproject that `start` is, or that lies in it.

    Raises NotFound if there is none, ProjectError for one that MLflow would not run, WouldOverwrite if mlo.yaml is
    there and not `force`; nothing is written then.
    """
    file = find_mlproject(start)
    root = file.parent
    carried = carry_over(read_mlproject(file), is_usual=_is_usual)
    before = _document(root / FILE_NAME) if force or dry_run else {}
    name = str(before.get("name") or carried.name or name_of(root))
    text = render(name, carried, {key: before[key] for key in _CARRIED_OVER if key in before})
    _prove(root, text, environ)
    stands = root / FILE_NAME
    same = stands.is_file() and stands.read_bytes() == text.encode()
    if os.path.lexists(stands) and not (force or dry_run or same):
        raise WouldOverwrite(
            f"{stands} exists already",
            hint="--dry-run shows what would come; --force writes it, and keeps a copy of yours",
        )
    answer = MlprojectImported(
        root=str(root), name=name, stages=carried.stages, params=carried.params, env=carried.env, left=carried.left
    )
    if dry_run:
        return msgspec.structs.replace(answer, dry_run=True, config=text)
    return msgspec.structs.replace(answer, **_write(root, text, same=same))


def _write(root: Path, text: str, *, same: bool) -> dict[str, list[str]]:
    """mlo.yaml last: without it the folder is no project of mlo's yet."""
    written, copies = [], []
    if not ignores_private(root) and edit_ignored(root, add=[".mlo"]):
        written.append(".gitignore")
    stands = root / FILE_NAME
    if not same:
        if os.path.lexists(stands):
            copies.append(_keep_copy(stands))
        with machine_errors(f"cannot write {stands}"):
            write_atomic(stands, text.encode())
        written.append(FILE_NAME)
    return {"written": written, "copies": copies}


def _keep_copy(path: Path) -> str:
    """The user's file under another name; nothing is ever replaced by a copy."""
    number = 1
    while os.path.lexists(copy := path.with_name(f"{path.name}.{number}.bak")):
        number += 1
    with machine_errors(f"cannot write {copy}"):
        write_atomic(copy, path.read_bytes())
    return copy.name


def _document(path: Path) -> dict[str, Any]:
    """The mlo.yaml that --force carries on from."""
    if not os.path.lexists(path):
        return {}
    if not path.is_file():
        raise WouldOverwrite(f"{path} is no file", hint="move it away")
    return Source(path).document


def _prove(root: Path, text: str, environ: Mapping[str, str]) -> None:
    """Read what would be written as any command will read it."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / FILE_NAME).write_text(text, encoding="utf-8")
        project = load(Path(folder), environ).project
    build_graph(project.stages, root=root)


def _is_usual(name: str) -> bool:
    return name.upper() in USUAL or name.startswith(USUAL_PREFIXES)
