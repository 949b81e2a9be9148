"""Parameters: the values of mlo.yaml's `params`, what `-P` lays over them, and what a stage declares of them."""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from mlops_cli.core.errors import ProjectError, UsageError
from mlops_cli.core.pipeline.param_files import ParamFiles, split
from mlops_cli.core.project import yaml12

_KINDS = {bool: "true or false", int: "a whole number", float: "a number", list: "a list", dict: "a mapping"}


def assignments(texts: Iterable[str]) -> dict[str, str]:
    """`["alpha=0.5"]` as a mapping. Raises UsageError for a text without `=` and for a name given twice."""
    values: dict[str, str] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise UsageError(f"-P {text} is not name=value", hint="write it as -P learning_rate=0.1")
        if any("\ud800" <= character <= "\udfff" for character in text):
            raise UsageError(f"-P {text!r} is not UTF-8", hint="parameters are text; pass a path through a file")
        if name in values:
            raise UsageError(f"-P {name} is given twice: {values[name]} and {value}", hint="keep one of the two")
        values[name] = value
    return values


def lay_over(params: Mapping[str, Any], overrides: Mapping[str, str]) -> tuple[dict[str, Any], dict[str, Any]]:
    """`params` with the overrides in place, and the overrides as typed values.

    A value takes the type of the default it replaces. Raises UsageError for an unknown name or another type.
    """
    result = _copy(params)
    typed: dict[str, Any] = {}
    for name, text in overrides.items():
        place = _place(result, name)
        if place is None and split(name) is not None:
            raise UsageError(
                f"-P {name}: -P lays values over params of mlo.yaml, and a file is never rewritten",
                hint=f"move {name.partition(':')[2]} into params of mlo.yaml, and read it there",
            )
        if place is None:
            raise UsageError(f"-P {name}: mlo.yaml has no parameter {name}", hint=_suggest(name, params))
        inner, key = place
        typed[name] = inner[key] = _typed(name, text, inner[key])
    return result, typed


def lookup(params: Mapping[str, Any], name: str) -> Any:
    """The value of a dotted name; a mapping where the name stops short. Raises KeyError."""
    place = _place(params, name)
    if place is None:
        raise KeyError(name)
    return place[0][place[1]]


def declared(params: Mapping[str, Any], names: Sequence[str], stage: str, files: ParamFiles) -> dict[str, Any]:
    """The values a stage declares, by dotted name or `file:name`. Raises ProjectError for a name that is not there."""
    values: dict[str, Any] = {}
    for name in names:
        file, key = split(name) or ("", name)
        source = files.document(file, stage) if file else params
        try:
            values[name] = lookup(source, key) if key else dict(source)
        except KeyError:
            raise ProjectError(
                f"stage {stage} reads the parameter {key}, which {file or 'params in mlo.yaml'} does not have",
                hint=_suggest(key, source),
            ) from None
        if not _finite(values[name]):
            raise ProjectError(f"the parameter {name} holds NaN or an infinity", hint="give it a finite value")
    return values


def changed_files(values: Mapping[str, Any], stage: str, root: Path) -> list[str]:
    """The files that do not hold any more what was declared of them."""
    files, changed = ParamFiles(root), []
    for name, value in values.items():
        place = split(name)
        try:
            if place is not None and place[0] not in changed and declared({}, [name], stage, files)[name] != value:
                changed.append(place[0])
        except ProjectError:
            changed.append(name.partition(":")[0])
    return changed


def nested(values: Mapping[str, Any], params: Mapping[str, Any]) -> dict[str, Any]:
    """Declared values in the shape they have in mlo.yaml: `{"model.depth": 3}` as `{"model": {"depth": 3}}`.

    What stands in a file keeps the shape that it has there, without the file's name. Where two have one name,
    mlo.yaml's own wins.
    """
    result: dict[str, Any] = {}
    for name, value in sorted(values.items(), key=lambda pair: split(pair[0]) is None):
        inner = result
        _, key = in_file = split(name) or ("", name)
        if in_file[0] and not key:
            result.update(value)
            continue
        *outer, last = key.split(".") if in_file[0] else _path(params, name)
        for part in outer:
            if not isinstance(inner.get(part), dict):
                inner[part] = {}
            inner = inner[part]
        if isinstance(value, dict) and isinstance(inner.get(last), dict):
            value = {**inner[last], **value}  # noqa: PLW2901 - `model.depth` and `model` are both declared
        inner[last] = value
    return result


def flat(params: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Every leaf with its dotted name. An empty mapping is a leaf; of a whole file, `more.yaml:`, the leaves follow."""
    for key, value in params.items():
        if isinstance(value, Mapping) and value:
            yield from flat(value, f"{prefix}{key}" if key.endswith(":") else f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _path(params: Mapping[str, Any], name: str) -> list[str]:
    """The keys that lead to a dotted name; a key that holds dots itself is found first."""
    if name in params:
        return [name]
    head, dot, rest = name.partition(".")
    while dot:
        inner = params.get(head)
        if isinstance(inner, Mapping):
            try:
                return [head, *_path(inner, rest)]
            except KeyError:
                pass
        more, dot, rest = rest.partition(".")
        head = f"{head}.{more}"
    raise KeyError(name)


def _place(params: Any, name: str) -> tuple[Any, str] | None:
    try:
        *outer, last = _path(params, name)
    except KeyError:
        return None
    for part in outer:
        params = params[part]
    return params, last


def _typed(name: str, text: str, default: Any) -> Any:
    if isinstance(default, str):
        return text
    value = yaml12.parse_scalar(text)
    if isinstance(default, float) and type(value) is int:
        value = float(value)
    wanted = type(default)
    if default is not None and type(value) is not wanted:
        hint = f"its default is {default!r}"
        if wanted is int and isinstance(value, float):
            hint += f"; write the default as {default}.0 in mlo.yaml if fractions are meant"
        if "," in text and wanted not in (list, dict):
            hint += f"; to run once for each value: mlo run -P {name}={text} --sweep"
        raise UsageError(f"-P {name}={text}: {name} is {_KINDS.get(wanted, wanted.__name__)}", hint=hint)
    if (found := yaml12.not_json(value)) is not None:
        raise UsageError(f"-P {name}={text}: it holds {found[1]}", hint="parameters are JSON; quote the key or number")
    if not _finite(value):
        raise UsageError(f"-P {name}={text}: NaN and infinities are no parameters", hint="give a finite value")
    return value


def _suggest(name: str, params: Mapping[str, Any]) -> str:
    names = [known for known, _ in flat(params)]
    near = difflib.get_close_matches(name, names, n=1)
    if near:
        return f"did you mean {near[0]}?"
    return f"the parameters are {', '.join(names)}" if names else "mlo.yaml has no params; add them there first"


def _finite(value: Any) -> bool:
    if isinstance(value, float):
        return math.isfinite(value)
    if isinstance(value, Mapping):
        return all(map(_finite, value.values()))
    if isinstance(value, list | tuple):
        return all(map(_finite, value))
    return True


def _copy(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _copy(item) for key, item in value.items()}
    return [_copy(item) for item in value] if isinstance(value, list) else value
