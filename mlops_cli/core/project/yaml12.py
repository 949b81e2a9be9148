"""YAML with 1.2 scalars: `1e-3` is a number, `on` and `2013-01-01` are strings. PyYAML alone speaks 1.1.

`read` also returns where each key stands, so that an error can name line and column.
"""

from __future__ import annotations

import re
from typing import Any

import yaml

from mlops_cli.core.errors import IntegrityError, ProjectError

_SafeLoader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_SafeDumper: Any = getattr(yaml, "CSafeDumper", yaml.SafeDumper)

KeyPath = tuple[str | int, ...]
Position = tuple[int, int]  # line and column, from 1

MAX_DEPTH = 50
_SHALLOW_TEXT, _SHALLOW_OPENERS = 1_000_000, 1000  # a text below both cannot nest deep enough to do harm
_ALIAS_GROWTH, _ALIAS_FREE = 20, 100_000  # aliases may repeat that much of a document; more is made to do harm

_SCALARS = [
    ("tag:yaml.org,2002:bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("tag:yaml.org,2002:null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("tag:yaml.org,2002:int", r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+", "-+0123456789"),
    (
        "tag:yaml.org,2002:float",
        r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)",
        "-+.0123456789",
    ),
    ("tag:yaml.org,2002:merge", r"<<", "<"),
]


class _Loader(_SafeLoader):  # type: ignore[misc]
    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012 - PyYAML fills a class attribute


class _Dumper(_SafeDumper):  # type: ignore[misc]
    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _construct_int(loader: Any, node: Any) -> int:
    text = loader.construct_scalar(node)
    return int(text, 8 if text.startswith("0o") else 16 if text.startswith("0x") else 10)


for _class in (_Loader, _Dumper):
    for _tag, _pattern, _first in _SCALARS:
        _class.add_implicit_resolver(_tag, re.compile(f"(?:{_pattern})\\Z"), list(_first))
_Loader.add_constructor("tag:yaml.org,2002:int", _construct_int)


def read(text: str, source: str) -> tuple[Any, dict[KeyPath, Position]]:
    """The document and where each key and item stands. Raises ProjectError with line and column, and IntegrityError
    for aliases that repeat a small text into a huge document."""
    loader = _Loader(text)
    try:
        _refuse_deep(text, source)
        node = loader.get_single_node()
        positions: dict[KeyPath, Position] = {}
        if node is None:
            return None, positions
        if "*" in text:  # without aliases a document is as long as its text
            _refuse_bomb(node, source)
        _survey(node, (), positions, source)
        return loader.construct_document(node), positions
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f":{mark.line + 1}:{mark.column + 1}" if mark else ""
        line = text.split("\n")[mark.line] if mark and mark.line < text.count("\n") + 1 else ""
        hint = "mend the YAML there"
        if "<<<<<<<" in text and ">>>>>>>" in text:
            hint = "the file holds the markers of a merge conflict; resolve it"
        elif "${" in line and "[" in line:
            hint = 'between [ and ], put it in quotes: ["model-${item}"]'
        raise ProjectError(f"{source}{where}: {error.problem or 'this is not YAML'}", hint=hint) from None
    except (yaml.YAMLError, ValueError) as error:
        raise ProjectError(f"{source}: {error}", hint="mend the YAML there") from None
    finally:
        loader.dispose()


def _refuse_deep(text: str, source: str) -> None:
    """Refuse nesting that would exhaust the stack of the composer, which calls itself for each level."""
    if len(text) < _SHALLOW_TEXT and sum(text.count(opener) for opener in ("[", "{", "- ", "? ")) < _SHALLOW_OPENERS:
        return
    depth = 0
    for event in yaml.parse(text, Loader=_Loader):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            if depth > MAX_DEPTH:
                raise _too_deep(source)
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1


def _too_deep(source: str) -> ProjectError:
    return ProjectError(f"{source}: nested deeper than {MAX_DEPTH}", hint="no mlo file needs that; check the YAML")


def _refuse_bomb(root: Any, source: str) -> None:
    """Count every node as often as aliases repeat it, without walking it as often."""
    sizes: dict[int, int] = {}
    waiting: dict[int, Any] = {}
    stack = [root]
    while stack:
        node = stack[-1]
        children = _children(node)
        if id(node) not in sizes and id(node) not in waiting:
            waiting[id(node)] = node
            for child in children:
                if id(child) in waiting:
                    raise IntegrityError(f"{source}: an alias stands inside what it names", hint="mend the YAML there")
                if id(child) not in sizes:
                    stack.append(child)
            continue
        stack.pop()
        if waiting.pop(id(node), None) is not None:
            sizes[id(node)] = 1 + sum(sizes[id(child)] for child in children)
    if sizes[id(root)] > _ALIAS_GROWTH * len(sizes) + _ALIAS_FREE:
        raise IntegrityError(
            f"{source}: its aliases make {sizes[id(root)]:,} values of {len(sizes):,}", hint="it was made to do harm"
        )


def _children(node: Any) -> list[Any]:
    if isinstance(node, yaml.MappingNode):
        return [part for pair in node.value for part in pair]
    return list(node.value) if isinstance(node, yaml.SequenceNode) else []


def _survey(node: Any, path: KeyPath, positions: dict[KeyPath, Position], source: str) -> None:
    """Note every position; refuse doubled keys, which PyYAML lets the last one win, and endless nesting."""
    if len(path) > MAX_DEPTH:
        raise _too_deep(source)
    positions.setdefault(path, (node.start_mark.line + 1, node.start_mark.column + 1))
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            name = str(key.value)
            here = (key.start_mark.line + 1, key.start_mark.column + 1)
            if (*path, name) in positions and name != "<<":
                first = positions[(*path, name)][0]
                raise ProjectError(
                    f"{source}:{here[0]}:{here[1]}: {name} stands twice (first on line {first})",
                    hint="keep one of the two",
                )
            positions[(*path, name)] = here
            _survey(value, (*path, name), positions, source)
    elif isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):
            _survey(item, (*path, index), positions, source)


def parse_scalar(text: str) -> Any:
    """One value as YAML 1.2 reads it: `0.5` a number, `[1, 2]` a list, anything unreadable the text itself."""
    try:
        return read(text, "value")[0]
    except ProjectError:
        return text


def not_json(value: Any, path: KeyPath = ()) -> tuple[KeyPath, str] | None:
    """The first thing in a document that JSON cannot say: where it stands, and what it is. None if there is none."""
    if isinstance(value, dict):
        for key, item in value.items():
            here = (*path, str(key))
            if not isinstance(key, str):
                return here, f"the key {key!r}, which is no text"
            if (found := not_json(item, here)) is not None:
                return found
        return None
    if isinstance(value, list):
        return next((found for at, item in enumerate(value) if (found := not_json(item, (*path, at)))), None)
    if isinstance(value, int):
        return None if -(2**63) <= value < 2**63 else (path, f"{value}, which does not fit into 64 bits")
    return (
        None
        if value is None or isinstance(value, float | str)
        else (path, f"a value of the type {type(value).__name__}")
    )


def dump(document: Any, *, ordered: bool = True) -> str:
    """Block style, keys sorted, or as they stand if not `ordered`; what `read` returns unchanged."""
    return str(
        yaml.dump(document, Dumper=_Dumper, sort_keys=ordered, allow_unicode=True, default_flow_style=False, width=4096)
    )
