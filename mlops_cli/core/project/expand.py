"""Stages that stand for many: `foreach` and `matrix` written out, and `${...}` filled in.

`train` with `foreach: [a, b]` gives `train@a` and `train@b`; with `matrix: {depth: [3, 5], seed: [1, 2]}` it gives
`train@3-1`, `train@3-2` and so on. In them `${item}` (or `${item.key}` of a mapping) is the one at hand, and `${key}`
what it is called: the key in a mapping that foreach goes through, `3-1` of a matrix. `${params.name}` is a parameter,
in every stage. Any other `${...}` is the shell's.
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec

from mlops_cli.core.errors import ProjectError
from mlops_cli.core.project.stages import Stage

MAX_STAGES = 10_000
_REFERENCE = re.compile(r"\$\{\s*(?P<root>item|key|params)(?P<path>(?:\.[\w-]+)*)\s*\}")
_UNSAFE = re.compile(r"[^A-Za-z0-9._-]+")
_KEPT = frozenset({"matrix", "foreach"})


def expand(stages: Mapping[str, Stage], params: Mapping[str, Any]) -> dict[str, Stage]:
    """Every stage by its own name, with `params` in force. Raises ProjectError, naming the stage."""
    expanded: dict[str, Stage] = {}
    for name, stage in stages.items():
        for own_name, known in _members(name, stage, params):
            if own_name in expanded or (own_name != name and own_name in stages):
                raise ProjectError(
                    f"two stages are called {own_name}", hint="give the items of foreach or matrix names of their own"
                )
            if len(expanded) == MAX_STAGES:
                raise ProjectError(f"with {name} there are more than {MAX_STAGES:,} stages", hint="narrow its matrix")
            expanded[own_name] = _filled(own_name, stage, {"params": params, **known})
    return expanded


def group_of(name: str) -> str:
    """The stage of mlo.yaml that a stage comes from: `train` of `train@a`."""
    return name.partition("@")[0]


def _members(name: str, stage: Stage, params: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    if stage.foreach is not None and stage.matrix is not None:
        raise ProjectError(f"stage {name} has both foreach and matrix", hint="a matrix of one name is a foreach")
    if stage.foreach is not None:
        yield from _each(name, _values(name, "foreach", stage.foreach, params))
    elif stage.matrix is not None:
        yield from _product(name, stage.matrix, params)
    else:
        yield name, {}


def _each(name: str, items: Any) -> Iterator[tuple[str, dict[str, Any]]]:
    if isinstance(items, Mapping):
        for key, item in items.items():
            yield f"{name}@{_label(key)}", {"key": key, "item": item}
        return
    for place, item in enumerate(items):
        # Two mappings have no short names of their own; their places are.
        label = str(place) if isinstance(item, list | dict) else _label(item)
        yield f"{name}@{label}", {"item": item}


def _product(name: str, matrix: Mapping[str, Any], params: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    axes = {axis: _values(name, f"matrix.{axis}", values, params) for axis, values in matrix.items()}
    if not axes:
        raise ProjectError(
            f"stage {name}: matrix goes through nothing", hint="give it a name with a list: depth: [3, 5]"
        )
    for axis, values in axes.items():
        if not isinstance(values, list):
            raise ProjectError(f"stage {name}: matrix.{axis} is not a list", hint=f"write {axis}: [1, 2, 3]")
    choices = [list(enumerate(values)) for values in axes.values()]
    for chosen in itertools.product(*choices):
        labels = [
            f"{axis}{place}" if isinstance(value, list | dict) else _label(value)
            for axis, (place, value) in zip(axes, chosen, strict=True)
        ]
        item = {axis: value for axis, (_, value) in zip(axes, chosen, strict=True)}
        label = "-".join(labels)
        yield f"{name}@{label}", {"item": item, "key": label}


def _values(name: str, where: str, given: Any, params: Mapping[str, Any]) -> Any:
    """What is gone through: as it stands, or a parameter that holds it."""
    if isinstance(given, str):
        match = _REFERENCE.fullmatch(given.strip())
        if match is None or match["root"] != "params":
            raise ProjectError(
                f"stage {name}: {where} is {given!r}, which is no list",
                hint="write a list, or ${params.name} for a parameter that is one",
            )
        given = _found(name, match, {"params": params})
    if not isinstance(given, list | Mapping) or not given:
        raise ProjectError(f"stage {name}: {where} goes through nothing", hint="give it at least one item")
    return given


def _label(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    return _UNSAFE.sub("_", text)[:64] or "_"


def _filled(name: str, stage: Stage, known: Mapping[str, Any]) -> Stage:
    document = msgspec.to_builtins(stage)
    if "${" not in repr(document):
        if not _KEPT & document.keys():
            return stage
        return msgspec.structs.replace(stage, matrix=None, foreach=None)
    plain = {key: _fill(name, value, known) for key, value in document.items() if key not in _KEPT}
    try:
        return msgspec.convert(plain, Stage)
    except msgspec.ValidationError as error:
        raise ProjectError(f"stage {name}, with its values filled in: {error}", hint="mend the stage") from None


def _fill(name: str, value: Any, known: Mapping[str, Any]) -> Any:
    if isinstance(value, str):
        return _REFERENCE.sub(lambda match: _text(name, match, known), value)
    if isinstance(value, list):
        return [_fill(name, item, known) for item in value]
    if isinstance(value, dict):
        return {key: _fill(name, item, known) for key, item in value.items()}
    return value


def _text(name: str, match: re.Match[str], known: Mapping[str, Any]) -> str:
    if match["root"] not in known:
        return match[0]  # ${item} outside a foreach is a variable of the shell
    value = _found(name, match, known)
    if value is None and match["root"] == "params":
        return match[0]  # of a parameter that is still to be given; the stage is refused when it would run
    if isinstance(value, list | Mapping):
        raise ProjectError(
            f"stage {name}: {match[0]} is {_shown(value)}, which is not a text or a number",
            hint="name what is in it, as in ${item.depth}",
        )
    return value if isinstance(value, str) else json.dumps(value)


def _found(name: str, match: re.Match[str], known: Mapping[str, Any]) -> Any:
    value: Any = known[match["root"]]
    keys: Sequence[str] = match["path"].split(".")[1:]
    for key in keys:
        if isinstance(value, Mapping) and key in value:
            value = value[key]
        elif isinstance(value, list) and key.isdigit() and int(key) < len(value):
            value = value[int(key)]
        else:
            there = f"; there is {', '.join(map(str, value))}" if isinstance(value, Mapping) and value else ""
            raise ProjectError(f"stage {name}: {match[0]}: there is no {key}{there}", hint="mend it in mlo.yaml")
    return value


def _shown(value: Any) -> str:
    text = json.dumps(value, default=str)
    return text if len(text) <= 60 else f"{text[:60]}…"
