"""Find the project, read mlo.yaml and its overlay, and turn every mistake in it into a line to mend."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from mlops_cli.core.base.clock import parse_duration
from mlops_cli.core.base.expression import ExpressionError, parse
from mlops_cli.core.errors import MloError, ProjectError, UsageError
from mlops_cli.core.project import yaml12
from mlops_cli.core.project.images import check_image
from mlops_cli.core.project.schema import Project, Stage
from mlops_cli.core.project.stages import Environment

FILE_NAME = "mlo.yaml"

_UNKNOWN = re.compile(r"Object contains unknown field `(.+?)`(?: - at `(.+)`)?$", re.DOTALL)
_LACKS = re.compile(r"^Object missing required field `(.+)`$")
_TYPES = re.compile(r"`([^`]+)`")
_MISTAKEN = re.compile(r"Expected `([^`]+)`, got `(?:bool|int|float|null)`")
_WORDS = {
    "str": "text",
    "array": "list",
    "int": "whole number",
    "float": "number",
    "bool": "true or false",
    "object": "mapping",
    "null": "nothing",
}
_AT = re.compile(r" - at `(.+)`$", re.DOTALL)
_STEP = re.compile(r"\.([^.\[\]]+)|\[(\d+)\]|\[\.\.\.\]")


def find_root(start: Path) -> Path:
    """The nearest folder at or above `start` that holds mlo.yaml. Raises ProjectError."""
    for folder in (start.absolute(), *start.absolute().parents):
        if (folder / FILE_NAME).is_file():
            return folder
    raise ProjectError(
        f"there is no {FILE_NAME} in {start} or above it",
        hint="run `mlo init` to start a project here, or change into one",
    )


class Source:
    """One YAML file: its document and where each key stands."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError as error:
            raise ProjectError(f"{path.name} is not UTF-8: {error}", hint="save it as UTF-8") from None
        document, self.positions = yaml12.read(text, path.name)
        if document is not None and not isinstance(document, dict):
            raise ProjectError(
                f"{path.name}: this is a {type(document).__name__}, not a mapping", hint="write key: value"
            )
        self.document: dict[str, Any] = document or {}

    def where(self, path: yaml12.KeyPath) -> str:
        """`mlo.yaml:7:3`, of the deepest part of `path` that stands in this file."""
        for length in range(len(path), -1, -1):
            if path[:length] in self.positions:
                line, column = self.positions[path[:length]]
                return f"{self.path.name}:{line}:{column}"
        return self.path.name


def convert(document: Mapping[str, Any], sources: list[Source]) -> Project:
    """The merged document as a Project. Raises ProjectError naming file, line, column and the nearest good key."""
    stages = document.get("stages")
    if stages is not None and not isinstance(stages, dict):
        raise ProjectError(
            f"{_where(('stages',), sources)}: stages is a mapping of names", hint="write stages: {name: {cmd: ...}}"
        )
    converted: dict[str, Stage] = {
        str(name): _convert(body, Stage, ("stages", str(name)), sources) for name, body in (stages or {}).items()
    }
    for name, stage in converted.items():
        _check_stage(name, stage, sources)
    rest = {key: value for key, value in document.items() if key != "stages"}
    if "name" not in rest:
        raise ProjectError(
            f"{sources[0].path.name if sources else FILE_NAME} has no name", hint="add a line such as name: flights"
        )
    project: Project = _convert(rest, Project, (), sources)
    _check_env(project.env, f"{_where(('env',), sources)}: the project")
    _check_gates(project, sources)
    _check_params(project, sources)
    _check_drift(project, sources)
    return msgspec.structs.replace(project, stages=converted)


def _check_stage(name: str, stage: Stage, sources: list[Source]) -> None:
    """Raises ProjectError for keys of a stage that do not go together."""
    where = f"{_where(('stages', name), sources)}: stages.{name}"
    if not stage.cmd and stage.notebook is None:
        raise ProjectError(f"{where}: the key cmd is missing", hint="mend it: cmd: python train.py")
    if stage.cmd and stage.notebook is not None:
        raise ProjectError(f"{where} has both cmd and notebook", hint="keep one of the two")
    if stage.notebook is not None and stage.launch is not None:
        raise ProjectError(f"{where}: launch goes with cmd, not with a notebook", hint="let torchrun run a script")
    both = sorted(set(stage.secrets) & set(stage.pass_env))
    if both:
        raise ProjectError(
            f"{where} names {both[0]} under pass_env and under secrets",
            hint="secrets alone: they reach the stage, and are masked in what it prints",
        )
    _check_env(stage.env, where)


def _check_env(env: Environment | None, where: str) -> None:
    """Raises ProjectError for an environment that is none, or several, or not fixed."""
    if env is None:
        return
    kinds = [kind for kind in ("lock", "conda", "docker") if getattr(env, kind)]
    if len(kinds) != 1:
        hint = "name one: lock: requirements.lock, conda: environment.yml or docker: image@sha256:..."
        raise ProjectError(
            f"{where}: env names {' and '.join(kinds) or 'no environment'}",
            hint=f"{hint}; an overlay takes one away with {kinds[0]}: null" if kinds else hint,
        )
    if env.python is not None and env.lock is None:
        raise ProjectError(f"{where}: python goes with lock; {kinds[0]} brings its own", hint="remove it there")
    if env.docker is not None:
        try:
            check_image(env.docker)
        except ProjectError as error:
            raise ProjectError(f"{where}: {error.message}", hint=error.hint) from None


def _check_gates(project: Project, sources: list[Source]) -> None:
    for alias, gates in (project.model.gates if project.model else {}).items():
        for index, gate in enumerate(gates):
            try:
                parse(gate)
            except ExpressionError as error:
                where = _where(("model", "gates", alias, index), sources)
                raise ProjectError(
                    f"{where}: a gate of {alias} does not parse: {error.message}", hint=error.hint
                ) from None


def _check_drift(project: Project, sources: list[Source]) -> None:
    """A window lasts some time, reaches back to something longer, and no more windows alarm than there are."""
    drift = project.drift
    lengths = {key: getattr(drift, key) for key in ("window", "max_window") if getattr(drift, key) is not None}
    seconds = dict[str, float]()
    for key, length in lengths.items():
        try:
            seconds[key] = parse_duration(length)
        except UsageError as error:
            where = _where(("drift", key), sources)
            raise ProjectError(f"{where}: drift.{key}: {error.message}", hint=error.hint) from None
    if seconds.get("max_window", seconds["window"]) < seconds["window"]:
        raise ProjectError(
            f"{_where(('drift', 'max_window'), sources)}: drift.max_window: {drift.max_window} is shorter than a "
            f"window, {drift.window}",
            hint="a window without enough rows reaches back up to max_window: write as much as drift.window, or more",
        )
    alarms, _, windows = drift.persistence.partition("/")
    if int(alarms) > int(windows):
        raise ProjectError(
            f"{_where(('drift', 'persistence'), sources)}: drift.persistence: {drift.persistence} asks for more "
            "alarms than windows",
            hint="write alarms/windows, as in 2/3",
        )


def _check_params(project: Project, sources: list[Source]) -> None:
    """Scripts get parameters as JSON, so each must have a form in it."""
    found = yaml12.not_json(project.params, ("params",))
    if found is not None:
        place, what = found
        raise ProjectError(
            f"{_where(place, sources)}: {'.'.join(map(str, place))} holds {what}",
            hint="parameters are JSON: numbers, texts, lists, mappings with text keys; write it in quotes",
        )


def convert_file(source: Source, kind: Any) -> Any:
    """A whole YAML file as the struct `kind`, with the same errors as mlo.yaml."""
    return _convert(source.document, kind, (), [source])


def _convert(value: Any, kind: Any, prefix: yaml12.KeyPath, sources: list[Source]) -> Any:
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        raise _explain(str(error), kind, prefix, sources) from None


def _explain(text: str, kind: Any, prefix: yaml12.KeyPath, sources: list[Source]) -> MloError:
    unknown = _UNKNOWN.match(text)
    if unknown is not None:
        key, at = unknown[1], unknown[2]
        inner = _steps(at)
        place = (*prefix, *inner, key)
        known = _fields(kind, inner)
        near = difflib.get_close_matches(key, known, n=1)
        hint = f"did you mean {near[0]}?" if near else f"the keys there are {', '.join(known)}"
        return ProjectError(f"{_where(place, sources)}: unknown key {key}", hint=hint)
    match = _AT.search(text)
    place = (*prefix, *_steps(match[1] if match else None))
    dotted = ".".join(map(str, place)) or "the file"
    said = _TYPES.sub(_in_words, _LACKS.sub(r"the key \1 is missing", _AT.sub("", text)))
    wanted = _MISTAKEN.match(text)
    quoted = wanted is not None and "str" in wanted[1].split(" | ")
    hint = "a text that looks like something else is put in quotes" if quoted else "mend the value there"
    if said.startswith("Expected mapping") and (keys := _fields(kind, _steps(match[1] if match else None))):
        hint = f"write it as {dotted}: {{{keys[0]}: ...}}; the keys there are {', '.join(keys)}"
    return ProjectError(f"{_where(place, sources)}: {dotted}: {said}", hint=hint)


def _in_words(match: re.Match[str]) -> str:
    """msgspec's `str | array` as "text or list"; other words in backticks, such as a field's name, as they stand."""
    kinds = match[1].split(" | ")
    return " or ".join(map(_WORDS.__getitem__, kinds)) if all(kind in _WORDS for kind in kinds) else match[0]


def _steps(at: str | None) -> tuple[str | int, ...]:
    """msgspec's `$.plots[0].x` as a path; a step it does not name (`[...]`, a mapping's value) ends it."""
    steps: list[str | int] = []
    for match in _STEP.finditer((at or "$").removeprefix("$")):
        if match[1] is not None:
            steps.append(match[1])
        elif match[2] is not None:
            steps.append(int(match[2]))
        else:
            break
    return tuple(steps)


def _fields(kind: Any, inner: tuple[str | int, ...]) -> list[str]:
    """The keys that may stand at `inner` below a struct."""
    info: Any = msgspec.inspect.type_info(kind)
    for step in inner:
        info = _struct_in(info)
        if isinstance(info, msgspec.inspect.StructType) and isinstance(step, str):
            info = next((field.type for field in info.fields if field.encode_name == step), None)
    info = _struct_in(info)
    return [field.encode_name for field in info.fields] if isinstance(info, msgspec.inspect.StructType) else []


def _struct_in(info: Any) -> Any:
    if isinstance(info, msgspec.inspect.UnionType):
        return next((kind for kind in info.types if isinstance(kind, msgspec.inspect.StructType)), info)
    if isinstance(info, msgspec.inspect.ListType):
        return _struct_in(info.item_type)
    if isinstance(info, msgspec.inspect.DictType):
        return _struct_in(info.value_type)
    return info


def _where(path: yaml12.KeyPath, sources: list[Source]) -> str:
    for source in reversed(sources):  # the last file that sets a key decides its value
        if path in source.positions:
            return source.where(path)
    best = max(sources, key=lambda source: _depth(path, source), default=None)
    return best.where(path) if best is not None else FILE_NAME


def _depth(path: yaml12.KeyPath, source: Source) -> int:
    return max(length for length in range(len(path) + 1) if length == 0 or path[:length] in source.positions)
