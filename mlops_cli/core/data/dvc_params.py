"""Files that a DVC project keeps values in: YAML, JSON, TOML and Python, read as DVC reads them."""

from __future__ import annotations

import ast
import json
import math
import tomllib
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from mlops_cli.core.errors import IntegrityError, ProjectError
from mlops_cli.core.project import yaml12

MAX_BYTES = 64 << 20  # a parameter or pipeline file larger than that is something else
_MEND = "mend the file; dvc status names the same mistake"


def read_text(path: Path, name: str) -> str:
    """A text file of the project. `name` is for messages. Raises ProjectError, IntegrityError, FileNotFoundError."""
    if path.stat().st_size > MAX_BYTES:
        raise IntegrityError(
            f"{name} is {path.stat().st_size:,} bytes; mlo reads up to {MAX_BYTES:,}", hint="is it the file you mean?"
        )
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ProjectError(f"{name} is not UTF-8: {error}", hint="save it as UTF-8") from None


def read_mapping(path: Path, name: str) -> dict[str, Any]:
    """A YAML file that holds a mapping; {} for an empty one."""
    document = yaml12.read(read_text(path, name), name)[0]
    if document is None:
        return {}
    if not isinstance(document, dict):
        raise ProjectError(f"{name} holds no mapping", hint=_MEND)
    return document


def read_values(path: Path, name: str) -> dict[str, Any]:
    """A parameter file, by the ending of its name: .json, .toml, .py, anything else is YAML."""
    suffix = PurePosixPath(name).suffix.lower()
    if suffix not in (".json", ".toml", ".py"):
        return read_mapping(path, name)
    text = read_text(path, name)
    try:
        if suffix == ".json":
            document = json.loads(text)
        elif suffix == ".toml":
            document = tomllib.loads(text)
        else:
            document = _python_values(ast.parse(text).body)
    except (ValueError, SyntaxError, RecursionError) as error:
        raise ProjectError(f"{name} does not read: {error}", hint=_MEND) from None
    if not isinstance(document, dict):
        raise ProjectError(f"{name} holds no mapping", hint=_MEND)
    return document


def _python_values(body: list[ast.stmt]) -> dict[str, Any]:
    """`NAME = literal` at the top, in classes, and `self.name = literal` in their __init__; nothing is executed."""
    values: dict[str, Any] = {}
    for statement in body:
        if isinstance(statement, ast.ClassDef):
            values[statement.name] = _python_values(statement.body)
        elif isinstance(statement, ast.FunctionDef) and statement.name == "__init__":
            values.update(_python_values(statement.body))
        elif isinstance(statement, ast.Assign | ast.AnnAssign) and statement.value is not None:
            target = statement.target if isinstance(statement, ast.AnnAssign) else statement.targets[0]
            name = getattr(target, "id", None) or getattr(target, "attr", None)
            try:
                value = ast.literal_eval(statement.value)
            except (ValueError, TypeError, RecursionError):
                continue
            if name:
                values[name] = list(value) if isinstance(value, tuple | set) else value
    return values


def select(values: Mapping[str, Any], key: str) -> Any:
    """The value of a dotted name, with numbers as places in lists: `model.layers[0].size`. Raises KeyError."""
    found: Any = values
    for part in key.replace("[", ".").replace("]", "").split("."):
        if isinstance(found, Mapping) and part in found:
            found = found[part]
        elif isinstance(found, list) and part.lstrip("-").isdigit() and -len(found) <= int(part) < len(found):
            found = found[int(part)]
        else:
            raise KeyError(key)
    return found


def nameable(path: Path, file: str, keys: list[str]) -> bool:
    """Whether mlo.yaml can name these values (all of them, if there are no keys) as `file:key` and means the same."""
    if PurePosixPath(file).suffix not in (".yaml", ".yml", ".json", ".toml") or ":" in file:
        return False
    try:
        values = read_values(path, file)
        found = [_walked(values, key) for key in keys] if keys else [values]
    except (ProjectError, IntegrityError, KeyError, OSError):
        return False
    return all(yaml12.not_json(value, ()) is None and _is_finite(value) for value in found)


def _walked(values: Any, key: str) -> Any:
    """By dots alone, where no other reading is possible. Raises KeyError."""
    for part in key.split("."):
        if not isinstance(values, Mapping) or part not in values or any("." in str(name) for name in values):
            raise KeyError(key)
        values = values[part]
    return values


def _is_finite(value: Any) -> bool:
    if isinstance(value, Mapping):
        return all(map(_is_finite, value.values()))
    if isinstance(value, list):
        return all(map(_is_finite, value))
    return not isinstance(value, float) or math.isfinite(value)
