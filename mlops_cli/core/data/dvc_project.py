"""A DVC project read as a whole: every .dvc file, every dvc.yaml with its lock and values, the configuration.

Nothing is written, and no object is looked at.
"""

from __future__ import annotations

import os
import posixpath
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

from mlops_cli.core.base.files import machine_errors
from mlops_cli.core.data.dvc_config import DvcConfig, read_config
from mlops_cli.core.data.dvc_files import (
    DvcData,
    DvcLocked,
    DvcStage,
    from_root,
    parse_dvc_file,
    parse_lock,
    parse_stage,
)
from mlops_cli.core.data.dvc_params import read_mapping, read_values
from mlops_cli.core.data.dvc_template import Template, expand, expressions, generic, is_templated, with_vars
from mlops_cli.core.errors import IntegrityError, NotFound, ProjectError

IGNORE_FILE = ".dvcignore"
_PRIVATE = frozenset({".git", ".hg", ".dvc", ".mlo"})
_TOP = ("metrics", "plots", "params", "artifacts", "datasets")


class TopLevel(msgspec.Struct, frozen=True):
    """What one dvc.yaml says outside its stages, values put in; `folder` is where its paths are meant from."""

    file: str
    folder: str
    metrics: list[Any] = []
    plots: list[Any] = []
    artifacts: dict[str, Any] = {}
    datasets: list[Any] = []


class DvcGroup(msgspec.Struct, frozen=True):
    """A foreach or matrix: `stage` is what it stands for with its items marked, `members` the names of its stages."""

    file: str
    name: str
    items: dict[str, Any]
    stage: DvcStage
    raw: dict[str, Any]
    members: list[str]


class DvcProject(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that is there. `ignores` are the .dvcignore files, `nested` other DVC projects below this one."""

    root: Path
    config: DvcConfig
    data: list[DvcData] = []
    stages: list[DvcStage] = []
    groups: list[DvcGroup] = []
    top: list[TopLevel] = []
    ignores: list[str] = []
    nested: list[str] = []


def find_dvc_root(start: Path) -> Path:
    """The nearest folder at or above `start` that `dvc init` was run in. Raises NotFound."""
    for folder in (start.absolute(), *start.absolute().parents):
        if (folder / ".dvc").is_dir() and (
            (folder / ".dvc" / "config").exists() or (folder / ".dvc" / "cache").exists()
        ):
            return folder
    raise NotFound(f"there is no DVC project in {start} or above it", hint="name its folder: mlo import dvc DIR")


def read_project(root: Path) -> DvcProject:
    """Read all of it. Raises ProjectError for what DVC would refuse too, IntegrityError for what does harm."""
    config = read_config(root)
    found = DvcProject(root=root, config=config)
    with machine_errors(f"cannot read {root}"):
        for folder, names in _folders(root, found.nested):
            if IGNORE_FILE in names:
                found.ignores.append(posixpath.join(folder, IGNORE_FILE))
            for name in sorted(names):
                if name.endswith(".dvc") and name != ".dvc":
                    file = posixpath.join(folder, name)
                    parsed = parse_dvc_file(read_mapping(root / file, file), file)
                    (found.data if isinstance(parsed, DvcData) else found.stages).append(parsed)  # type: ignore[arg-type]
            if "dvc.yaml" in names:
                _read_pipeline(root, folder, config, found)
    return found


def _folders(root: Path, nested: list[str]) -> Iterator[tuple[str, set[str]]]:
    """Every folder of the project with its files; neither what DVC keeps as data nor other projects are entered."""
    stack = [""]
    while stack:
        folder = stack.pop()
        files: set[str] = set()
        inner: list[str] = []
        with os.scandir(root / folder) as listed:
            for item in listed:
                if item.is_dir(follow_symlinks=False):
                    inner.append(item.name)
                elif item.is_file():
                    files.add(item.name)
        if folder and ".dvc" in inner and (root / folder / ".dvc" / "config").is_file():
            nested.append(folder)
            continue
        yield folder, files
        data = {name.removesuffix(".dvc") for name in files if name.endswith(".dvc")}
        stack += sorted(
            (posixpath.join(folder, name) for name in inner if name not in _PRIVATE and name not in data), reverse=True
        )


def _read_pipeline(root: Path, folder: str, config: DvcConfig, found: DvcProject) -> None:
    file = posixpath.join(folder, "dvc.yaml")
    lock_file = posixpath.join(folder, "dvc.lock")
    document = read_mapping(root / file, file)
    lock = parse_lock(read_mapping(root / lock_file, lock_file), lock_file) if (root / lock_file).is_file() else {}

    def load(item: str, wdir: str) -> Mapping[str, Any]:
        return _load(root, posixpath.join(folder, wdir), item, file)

    values = load("params.yaml", ".") if (root / folder / "params.yaml").is_file() else {}
    template = Template(values, source=file, parsing=config.parsing)
    template = with_vars(template, _section(document, "vars", list, file), load)
    stages = _section(document, "stages", dict, file)
    made = list(_stages(stages, template, load, file, lock))
    found.stages.extend(made)
    found.groups.extend(_groups(stages, [stage.name for stage in made], template, load, file))
    top = {key: template.fill(_section(document, key, dict if key == "artifacts" else list, file)) for key in _TOP}
    top.pop("params")  # only shown by `dvc params`, no stage reads them
    if any(top.values()):
        found.top.append(TopLevel(file=file, folder=folder, **top))


def _stages(
    stages: Mapping[str, Any], template: Template, load: Any, file: str, lock: Mapping[str, DvcLocked]
) -> Iterator[DvcStage]:
    for name, group, body in expand(stages, template, load):
        raw = stages[group]
        raw = raw.get("do", raw) if "foreach" in raw else raw
        stage = parse_stage(name, body, raw, file, lock)
        hand = raw.get("cmd")
        yield msgspec.structs.replace(
            stage,
            template=stage.template if is_templated(hand) else None,
            templated=sorted(expressions(hand)),
            unknown=[*stage.unknown, *(["meta"] if raw.get("meta") else [])],
        )


def _groups(
    stages: Mapping[str, Any], names: list[str], template: Template, load: Any, file: str
) -> Iterator[DvcGroup]:
    for name, body in stages.items():
        if "foreach" not in body and "matrix" not in body:
            continue
        try:
            items, definition = generic(body, template, load)
            raw = body.get("do", body)
            stage = parse_stage(str(name), definition, raw, file, {})
        except (ProjectError, IntegrityError, LookupError, TypeError, AttributeError):
            continue  # it is written out
        others = sorted(it for it in expressions(raw.get("cmd")) if not re.match(r"(item|key)\b", it))
        stage = msgspec.structs.replace(stage, template=stage.template if others else None, templated=others)
        members = [it for it in names if it.startswith(f"{name}@")]
        yield DvcGroup(file, str(name), items, stage, dict(body), members)


def _section(document: Mapping[str, Any], key: str, kind: type, file: str) -> Any:
    value = document.get(key)
    if value is None:
        return kind()
    if not isinstance(value, kind):
        raise ProjectError(f"{file}: {key} is a {type(value).__name__}", hint="dvc status says the same")
    return value


def _load(root: Path, folder: str, item: str, source: str) -> Mapping[str, Any]:
    written, _, keys = item.partition(":")
    path = from_root(folder, written)
    if path is None or not (root / path).is_file():
        raise ProjectError(f"{source}: vars name {written}, which is no file of the project", hint="dvc status")
    values = read_values(root / path, path)
    if not keys:
        return values
    wanted = [key for key in keys.split(",") if key]
    absent = [key for key in wanted if key not in values]
    if absent:
        raise ProjectError(f"{source}: vars name {absent[0]}, which {path} does not hold", hint="dvc status")
    return {key: values[key] for key in wanted}
